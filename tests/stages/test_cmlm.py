"""A student that fills in, through the stages: made, trained, distilled from text, asked."""

from pathlib import Path

import distilling
import pytest
import tiny
import torch

from ketchup_cli import corpora
from ketchup_cli.errors import ModelError, SpecError
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import (
    DecodingSpec,
    GenerateSpec,
    NewModelSpec,
    OptimizerSpec,
    ShrinkSpec,
    TokenizerSpec,
    TrainSpec,
    ValidationSpec,
)
from ketchup_cli.store.artifact import Artifact
from ketchup_cli.store.layout import Store

SMALL = {
    "tokens_per_batch": 200,
    "dropout": 0.0,
    "checkpoint_every": 0,
    "optimizer": OptimizerSpec(learning_rate=1e-2, warmup=2),
    "validation": ValidationSpec(metric="loss", every=0, probe=0),
    "device": "cpu",
}


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cmlm")
    tiny.make_corpus(folder / "corpus")
    tiny.make_policy_folder(folder / "student", "cmlm")
    tiny.make_policy_folder(folder / "teacher", "t5")
    return folder


@pytest.fixture(scope="module", name="trained")
def _trained(folder: Path) -> Artifact:
    given = tiny.inputs(corpus=folder / "corpus", student=folder / "student")
    spec = TrainSpec(updates=30, **SMALL)
    return tiny.run_stage(Store.open(folder / "runs"), "train", spec, given)


def test_training_lowers_the_loss_of_hidden_tokens(trained: Artifact) -> None:
    summary = trained.manifest.summary

    assert summary["model_type"] == "cmlm"
    assert summary["last"]["loss"] < 0.9 * summary["first"]["loss"]


def test_the_next_stage_begins_with_the_weights_of_the_last(
    trained: Artifact, folder: Path
) -> None:
    given = tiny.inputs(corpus=folder / "corpus", student=trained.path)
    spec = TrainSpec(updates=1, **SMALL)
    after = tiny.run_stage(Store.open(folder / "runs"), "train", spec, given)

    assert after.manifest.summary["first"]["loss"] == trained.manifest.summary["kept"]["loss"]


def test_a_trained_model_answers_a_split(trained: Artifact, folder: Path) -> None:
    given = tiny.inputs(corpus=folder / "corpus", model=trained.path)
    decoding = DecodingSpec(method="mask-predict", iterations=3, max_new_tokens=12)
    spec = GenerateSpec(decoding=decoding, device="cpu")
    artifact = tiny.run_stage(Store.open(folder / "runs"), "generate", spec, given)

    texts = corpora.read_generations(artifact.path / "generations.jsonl")
    assert len(texts) == 8
    assert artifact.manifest.summary["unfinished"] == 0
    assert artifact.manifest.summary["decoding"] == "mask-predict, 3 passes, 4 lengths"


@pytest.mark.parametrize(
    ("student", "objective", "hint"),
    [("student", "nll", "--objective cmlm"), ("teacher", "cmlm", "architecture=cmlm")],
)
def test_a_loss_the_student_cannot_learn_from_is_refused(
    folder: Path, student: str, objective: str, hint: str
) -> None:
    given = tiny.inputs(corpus=folder / "corpus", student=folder / student)
    spec = distilling.make_spec({"name": objective, "prefixes": "data"})

    with pytest.raises(SpecError, match=f"`{objective}` is about") as refused:
        tiny.run_stage(Store.open(folder / "refused"), "distill", spec, given)
    assert hint in str(refused.value.hint)


def test_a_student_can_begin_with_the_weights_of_a_t5(folder: Path) -> None:
    given = tiny.inputs(teacher=folder / "teacher")
    spec = ShrinkSpec(encoder=1, decoder=(1,), architecture="cmlm")
    artifact = tiny.run_stage(Store.open(folder / "runs"), "shrink", spec, given)
    student, teacher = (
        load_policy(path, device="cpu") for path in (artifact.path, folder / "teacher")
    )
    ours, theirs = student.model.state_dict(), teacher.model.state_dict()

    assert student.fills_in
    assert student.fingerprint == teacher.fingerprint
    for name in ("SelfAttention.q", "EncDecAttention.k"):
        place = "0" if name.startswith("Self") else "1"
        end = f"layer.{place}.{name}.weight"
        assert torch.equal(ours[f"decoder.block.0.{end}"], theirs[f"decoder.block.1.{end}"])
    assert torch.equal(ours["hidden.weight"][0], theirs["shared.weight"][teacher.start_id])


def test_only_a_t5_has_the_weights_of_a_student_that_fills_in(tmp_path: Path) -> None:
    given = tiny.inputs(teacher=tiny.make_policy_folder(tmp_path / "teacher", "bart"))
    spec = ShrinkSpec(encoder=1, decoder=1, architecture="cmlm")

    with pytest.raises(ModelError, match="`bart` model has no T5 weights"):
        tiny.run_stage(Store.open(tmp_path / "runs"), "shrink", spec, given)


def test_a_new_model_of_random_weights_fills_in(folder: Path) -> None:
    spec = NewModelSpec(
        architecture="cmlm",
        layers=1,
        width=16,
        heads=2,
        inner=16,
        positions=32,
        tokenizer=TokenizerSpec(vocabulary=90),
    )
    given = tiny.inputs(corpus=folder / "corpus")
    artifact = tiny.run_stage(Store.open(folder / "runs"), "new-model", spec, given)

    assert load_policy(artifact.path, device="cpu").fills_in
    assert artifact.manifest.summary["layers"] == "1+1"
