import json
from pathlib import Path
from typing import Any

import distilling
import msgspec
import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.models.encode import Limits
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.records import ItemScores, Score
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.specs import CalibrationSpec
from ketchup_cli.stages import calibration
from ketchup_cli.stages.measured_teacher import choose
from ketchup_cli.stages.training import mean_loss
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.layout import Store

SMALL: dict[str, Any] = {
    "split": "dev",
    "resamples": 100,
    "frequency_buckets": (5, 20),
    "tokens_per_batch": 300,
    "device": "cpu",
}


def make_spec(**changes: Any) -> CalibrationSpec:
    return CalibrationSpec(**(SMALL | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibration")


@pytest.fixture(scope="module")
def inputs(folder: Path) -> dict[str, Input]:
    """A model, its teacher and a corpus."""
    made = distilling.make_inputs(folder)
    return tiny.inputs(
        model=made["student"].path, teacher=made["teacher"].path, corpus=made["corpus"].path
    )


@pytest.fixture(scope="module")
def live(folder: Path, inputs: dict[str, Input]) -> Artifact:
    return tiny.run_stage(Store.open(folder / "live"), "calibration", make_spec(), inputs)


def scores_of(artifact: Artifact) -> dict[str, Score]:
    rows = msgspec.json.decode((artifact.path / "scores.json").read_bytes(), type=list[Score])
    return {row.metric: row for row in rows}


def test_every_figure_has_an_interval_a_signature_and_a_unit(live: Artifact) -> None:
    scores = scores_of(live)

    overall = {name: score for name, score in scores.items() if "[" not in name}
    assert list(overall) == [
        *("nll", "perplexity", "brier", "ece", "token-accuracy"),
        *("top1-agreement", "kl", "reverse-kl", "tvd"),
    ]
    for name, score in overall.items():
        assert score.interval is not None
        assert score.interval[0] <= score.interval[1]
        assert score.signature.startswith(f"{name}|")
    assert {name: score.unit for name, score in overall.items() if score.unit != "share"} == {
        "nll": "nats",
        "perplexity": "ratio",
        "kl": "nats",
        "reverse-kl": "nats",
    }


def test_the_likelihood_is_the_dev_loss_of_training(
    live: Artifact, inputs: dict[str, Input]
) -> None:
    policy = load_policy(inputs["model"].path, device="cpu")
    examples = corpora.read_split(inputs["corpus"].path, "dev")
    rows = reference_rows(policy, examples, Limits(prompt=512, completion=256)).rows

    loss = mean_loss(policy, rows, 300)

    assert scores_of(live)["nll"].value == pytest.approx(loss, abs=1e-5)


def test_signatures_say_what_was_binned_counted_and_compared(live: Artifact) -> None:
    scores = scores_of(live)

    assert "|bins:15,width|conf:largest|" in scores["ece"].signature
    assert "|tokens:first-reference+end|prefixes:reference|mean:tokens|" in scores["nll"].signature
    assert "|teacher:live|" in scores["kl"].signature
    assert "|counts:references of train of corpus " in scores["nll[20+]"].signature
    assert "|seen:20+|" in scores["nll[20+]"].signature
    assert "teacher:" not in scores["brier"].signature


def test_tokens_are_counted_in_the_training_references(
    live: Artifact, inputs: dict[str, Input]
) -> None:
    policy = load_policy(inputs["model"].path, device="cpu")
    train, dev = (corpora.read_split(inputs["corpus"].path, name) for name in ("train", "dev"))
    ids = [i for row in train for ids in policy.completion_ids(row.references) for i in ids]
    tokens = [i for row in dev for i in policy.completion_ids([row.references[0]])[0]]

    table = json.loads((live.path / "calibration.json").read_bytes())

    expected = {
        "0-4": sum(ids.count(token) < 5 for token in tokens),
        "5-19": sum(5 <= ids.count(token) < 20 for token in tokens),
        "20+": sum(ids.count(token) >= 20 for token in tokens),
    }
    counted = {name: sum(row["tokens"] for row in rows) for name, rows in table["seen"].items()}
    assert counted == expected
    assert sum(row["tokens"] for row in table["all"]) == len(tokens) == table["tokens"]


def test_every_example_has_its_own_means(live: Artifact, inputs: dict[str, Input]) -> None:
    lines = (live.path / "items.jsonl").read_bytes().splitlines()
    items = [msgspec.json.decode(line, type=ItemScores) for line in lines]

    examples = corpora.read_split(inputs["corpus"].path, "dev")
    assert [item.id for item in items] == [example.id for example in examples]
    assert "ece" not in items[0].values
    assert items[0].values["kl"] > 0


def test_the_same_inputs_give_the_same_bytes(
    folder: Path, inputs: dict[str, Input], live: Artifact
) -> None:
    again = tiny.run_stage(Store.open(folder / "again"), "calibration", make_spec(), inputs)

    assert again.digest == live.digest


def test_a_model_without_a_teacher_is_measured_by_itself(
    folder: Path, inputs: dict[str, Input]
) -> None:
    alone = {role: inputs[role] for role in ("model", "corpus")}
    spec = make_spec(frequency_split="", examples=3)

    artifact = tiny.run_stage(Store.open(folder / "alone"), "calibration", spec, alone)

    assert list(scores_of(artifact)) == ["nll", "perplexity", "brier", "ece", "token-accuracy"]
    assert artifact.manifest.summary["examples"] == 3
    assert artifact.manifest.summary["teacher"] == "none"
    assert artifact.manifest.summary["note"].endswith("3 examples of dev")


def test_a_cache_of_the_split_speaks_for_the_teacher(
    folder: Path, inputs: dict[str, Input], live: Artifact
) -> None:
    made = {role: item for role, item in inputs.items() if role != "model"}
    cache = distilling.make_cache(folder, made, split="dev", top=8)
    asked = {role: item for role, item in inputs.items() if role != "teacher"} | {"cache": cache}
    spec = make_spec(teacher="cache")

    artifact = tiny.run_stage(Store.open(folder / "cached"), "calibration", spec, asked)

    cached, exact = scores_of(artifact), scores_of(live)
    assert cached["top1-agreement"].value == exact["top1-agreement"].value
    assert 0 < cached["kl"].value <= exact["kl"].value + 1e-6
    assert "reverse-kl" not in cached
    assert "|teacher:top:8,float32,tail:bucket|" in cached["kl"].signature


def test_a_cache_of_another_split_is_refused_where_it_is_asked_for(
    folder: Path, inputs: dict[str, Input]
) -> None:
    made = {role: item for role, item in inputs.items() if role != "model"}
    cache = distilling.make_cache(folder, made)
    asked = {role: item for role, item in inputs.items() if role != "teacher"} | {"cache": cache}

    with pytest.raises(MismatchError, match="is about references of split `train`"):
        choose(make_spec(teacher="cache"), asked)
    assert "of split `train`" in choose(make_spec(), asked).reason
    assert choose(make_spec(), inputs | {"cache": cache}).role == "teacher"


def test_the_plan_names_split_bins_buckets_and_teacher(inputs: dict[str, Input]) -> None:
    plan = dict(calibration.plan(make_spec(examples=4), inputs))

    assert plan["plan"] == "4 references of dev, 15 bins of equal width"
    assert plan["frequency"].startswith("tokens seen 0-4, 5-19, 20+ times in ")
    assert plan["teacher"].endswith(", live")


def test_without_anyone_to_ask_the_plan_says_so(inputs: dict[str, Input]) -> None:
    alone = {role: inputs[role] for role in ("model", "corpus")}

    plan = dict(calibration.plan(make_spec(), alone))

    assert plan["teacher"] == "none: neither a teacher nor a cache is named"


@pytest.mark.parametrize("edges", [(10, 5), (5, 5)], ids=str)
def test_edges_that_do_not_rise_are_refused(
    inputs: dict[str, Input], edges: tuple[int, ...]
) -> None:
    with pytest.raises(SpecError, match="each must be above the one before"):
        calibration.plan(make_spec(frequency_buckets=edges), inputs)


def test_figures_are_told_with_a_line_a_bucket(folder: Path, inputs: dict[str, Input]) -> None:
    reporter = SilentReporter()
    alone = {role: inputs[role] for role in ("model", "corpus")}

    tiny.run_stage(
        Store.open(folder / "told"),
        "calibration",
        make_spec(frequency_buckets=(5, 100_000)),
        alone,
        reporter=reporter,
    )

    notes = dict(reporter.notes)
    assert notes["ece"].count("[") == 1
    assert notes["signature"].startswith("ece|bins:15,width|")
    assert notes["seen 5-99999"].startswith("nll ")
    assert notes["seen 100000+"] == "no such token"
