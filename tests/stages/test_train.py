import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import storing
import tiny
import torch

from ketchup_cli.errors import DataError, NonFiniteError, SpecError
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import OptimizerSpec, TrainSpec, ValidationSpec
from ketchup_cli.stages import train
from ketchup_cli.stages.training import make_accelerator
from ketchup_cli.store.find import Input
from ketchup_cli.store.layout import Store
from ketchup_cli.train.metrics import read_metrics

KILLED = """
import sys
from pathlib import Path
import tiny
from test_train import make_inputs, make_spec
from ketchup_cli.store.layout import Store

folder = Path(sys.argv[1])
tiny.run_stage(Store.open(folder / "killed"), "train", make_spec(updates=80), make_inputs(folder))
"""


def make_inputs(folder: Path, architecture: str = "t5") -> dict[str, Input]:
    """Return the toy corpus and a model; made once, so that a resumed run finds the same."""
    if not (folder / "student").exists():
        tiny.make_corpus(folder / "corpus")
        tiny.make_policy_folder(folder / "student", architecture)
    return tiny.inputs(corpus=folder / "corpus", student=folder / "student")


def make_spec(**changes: object) -> TrainSpec:
    settings = {
        "updates": 6,
        "tokens_per_batch": 200,
        "dropout": 0.1,
        "checkpoint_every": 2,
        "optimizer": OptimizerSpec(learning_rate=1e-2, warmup=2),
        "validation": ValidationSpec(metric="loss", every=3),
        "device": "cpu",
    }
    return TrainSpec(**(settings | changes))


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_trained_model_answers_better_than_before(architecture: str, tmp_path: Path) -> None:
    given = make_inputs(tmp_path, architecture)
    spec = make_spec(updates=40, validation=ValidationSpec(metric="loss", every=10))
    artifact = tiny.run_stage(Store.open(tmp_path / "runs"), "train", spec, given)
    summary = artifact.manifest.summary

    assert summary["last"]["loss"] < 0.9 * summary["first"]["loss"]
    assert summary["best"] <= summary["last"]["loss"] + 1e-4
    assert (summary["ended"], summary["updates"], summary["metric"]) == ("finished", 40, "loss")


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_the_artifact_is_a_model_folder_with_its_log(architecture: str, tmp_path: Path) -> None:
    given = make_inputs(tmp_path, architecture)
    artifact = tiny.run_stage(Store.open(tmp_path / "runs"), "train", make_spec(), given)
    before = load_policy(tmp_path / "student", device="cpu")
    after = load_policy(artifact.path, device="cpu")
    files = {entry.path for entry in artifact.manifest.files}

    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
    assert [entry.path for entry in artifact.manifest.logs] == ["logs/metrics.jsonl"]
    assert after.fingerprint == before.fingerprint
    assert not torch.equal(
        after.model.get_input_embeddings().weight, before.model.get_input_embeddings().weight
    )


def test_the_dropout_of_the_run_is_not_the_dropout_of_the_artifact(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    artifact = tiny.run_stage(Store.open(tmp_path / "runs"), "train", make_spec(), given)
    settings = json.loads((artifact.path / "config.json").read_text())

    assert settings["dropout_rate"] == 0.0


def test_the_weights_have_the_type_asked_for(tmp_path: Path) -> None:
    spec = make_spec(save_dtype="bfloat16")
    store = Store.open(tmp_path / "runs")
    half = tiny.run_stage(store, "train", spec, make_inputs(tmp_path))
    whole = tiny.run_stage(store, "train", make_spec(), make_inputs(tmp_path))
    sizes = [(item.path / "model.safetensors").stat().st_size for item in (half, whole)]

    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.1)


def test_text_figures_of_the_dev_split_are_logged(tmp_path: Path) -> None:
    spec = make_spec(validation=ValidationSpec(metric="chrf", every=3, max_new_tokens=8))
    artifact = tiny.run_stage(Store.open(tmp_path / "runs"), "train", spec, make_inputs(tmp_path))
    lines = read_metrics(artifact.path / "logs" / "metrics.jsonl")
    judged = [line for line in lines if line.get("event") == "validation"]

    assert [line["update"] for line in judged] == [0, 3, 6]
    assert {"bleu", "chrf", "length_ratio", "brevity_penalty", "finished", "loss"} <= (
        judged[0].keys()
    )


def test_a_resumed_run_makes_the_same_bytes_as_a_straight_one(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    straight = tiny.run_stage(Store.open(tmp_path / "straight"), "train", make_spec(), given)
    store = Store.open(tmp_path / "resumed")
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "train", make_spec(), given, reporter=tiny.InterruptingReporter(4))
    resumed = tiny.run_stage(store, "train", make_spec(), given)

    assert resumed.digest == straight.digest
    assert storing.leftovers(store) == []


def test_a_run_that_was_killed_makes_the_same_bytes_as_a_straight_one(tmp_path: Path) -> None:
    given, spec = make_inputs(tmp_path), make_spec(updates=80)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    state = tmp_path / "killed" / "tmp"
    while not list(state.glob("*/state/checkpoint-0000001*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)

    assert process.wait() == -signal.SIGKILL
    straight = tiny.run_stage(Store.open(tmp_path / "straight"), "train", spec, given)
    resumed = tiny.run_stage(Store.open(tmp_path / "killed"), "train", spec, given)
    assert resumed.digest == straight.digest


def test_only_the_first_examples_are_trained_on_when_asked(tmp_path: Path) -> None:
    given, spec, reporter = make_inputs(tmp_path), make_spec(examples=5), tiny.SilentReporter()
    tiny.run_stage(Store.open(tmp_path / "runs"), "train", spec, given, reporter=reporter)

    assert dict(reporter.notes)["rows"].startswith("5 rows")
    assert dict(train.plan(spec, given))["plan"].endswith("5 examples")


def test_the_plan_tells_loss_size_and_judge(tmp_path: Path) -> None:
    lines = dict(train.plan(make_spec(), make_inputs(tmp_path)))

    assert lines == {
        "train": "objective nll(label_smoothing=0.1), float32",
        "plan": "6 updates x batches of 200 tokens, 24 examples",
        "dev": "loss on 400 of dev, every 3 updates",
    }


def assert_fails(folder: Path, spec: TrainSpec, error: type[Exception], match: str) -> Store:
    store = Store.open(folder / "runs")
    with pytest.raises(error, match=match):
        tiny.run_stage(store, "train", spec, make_inputs(folder))
    assert not store.object_path("model", "0").parent.exists()
    return store


def test_a_dev_split_that_is_not_there_is_named_before_training(tmp_path: Path) -> None:
    spec = make_spec(validation=ValidationSpec(split="valid"))
    store = assert_fails(tmp_path, spec, SpecError, "`valid` is not a split")

    assert storing.leftovers(store) == []


@pytest.mark.parametrize("side", ["max_prompt_tokens", "max_completion_tokens"])
def test_rows_that_are_too_long_are_named_before_training(side: str, tmp_path: Path) -> None:
    store = assert_fails(tmp_path, make_spec(**{side: 3}), DataError, "the limits are")

    assert storing.leftovers(store) == []


def test_rows_that_are_all_skipped_are_an_error(tmp_path: Path) -> None:
    spec = make_spec(max_completion_tokens=1, too_long="skip")

    assert_fails(tmp_path, spec, DataError, "no rows left: 24 were too long")


def test_truncated_rows_are_told(tmp_path: Path) -> None:
    reporter = tiny.SilentReporter()
    spec = make_spec(max_completion_tokens=5, too_long="truncate")
    tiny.run_stage(
        Store.open(tmp_path / "runs"), "train", spec, make_inputs(tmp_path), reporter=reporter
    )
    notes = dict(reporter.notes)

    assert "24 truncated, 0 skipped" in notes["rows"]
    assert "8 truncated, 0 skipped" in notes["dev rows"]


def test_training_that_leaves_the_numbers_is_not_finite(tmp_path: Path) -> None:
    spec = make_spec(
        updates=30,
        optimizer=OptimizerSpec(learning_rate=1e30, warmup=0, max_norm=0.0),
        validation=ValidationSpec(metric="loss", every=100),
    )
    assert_fails(tmp_path, spec, NonFiniteError, "is nan|not finite|is inf")

    assert NonFiniteError.exit_code == 7


def test_a_device_this_machine_lacks_is_refused_before_anything_is_loaded() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(SpecError, match="this machine has no cuda device"):
        make_accelerator(make_spec(device="cuda"))
