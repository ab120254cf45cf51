from pathlib import Path

import pytest
import tiny
import torch

from ketchup_cli.errors import SpecError
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import ShrinkSpec
from ketchup_cli.stages import shrink
from ketchup_cli.stages.shrink import evenly_spaced
from ketchup_cli.store.layout import Store


def make_inputs(folder: Path, architecture: str) -> dict:
    return tiny.inputs(teacher=tiny.make_policy_folder(folder / "teacher", architecture, layers=4))


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [
        (2, 6, (0, 5)),
        (1, 6, (5,)),
        (3, 6, (0, 3, 5)),
        (3, 12, (0, 6, 11)),
        (4, 12, (0, 4, 7, 11)),
        (6, 12, (0, 2, 4, 7, 9, 11)),
        (4, 4, (0, 1, 2, 3)),
        (1, 1, (0,)),
    ],
)
def test_evenly_spaced_layers_hold_first_and_last(
    count: int, total: int, expected: tuple[int, ...]
) -> None:
    assert evenly_spaced(count, total) == expected


def test_evenly_spaced_layers_are_different_and_in_order() -> None:
    for total in range(1, 30):
        for count in range(1, total + 1):
            layers = evenly_spaced(count, total)
            assert len(layers) == count
            assert list(layers) == sorted(set(layers))
            assert layers[-1] == total - 1


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_student_loads_from_its_artifact_and_answers(architecture: str, tmp_path: Path) -> None:
    artifact = tiny.run_stage(
        Store.open(tmp_path / "runs"), "shrink", ShrinkSpec(), make_inputs(tmp_path, architecture)
    )
    student = load_policy(artifact.path, device="cpu")
    teacher = load_policy(tmp_path / "teacher", device="cpu")
    inputs = {"input_ids": torch.tensor([[5, 6, 1]])}
    if student.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = inputs["input_ids"]

    with torch.no_grad():
        assert bool(torch.isfinite(student.model(**inputs).logits).all())
    assert student.fingerprint == teacher.fingerprint
    assert student.model.num_parameters() < teacher.model.num_parameters()


def test_the_summary_names_the_layers(tmp_path: Path) -> None:
    artifact = tiny.run_stage(
        Store.open(tmp_path / "runs"),
        "shrink",
        ShrinkSpec(encoder=(0, 3), decoder=1),
        make_inputs(tmp_path, "t5"),
    )

    assert artifact.manifest.summary["layers"] == {"encoder": [0, 3], "decoder": [3]}


def test_the_same_recipe_gives_the_same_digest(tmp_path: Path) -> None:
    given = make_inputs(tmp_path, "t5")
    digests = {
        tiny.run_stage(Store.open(tmp_path / name), "shrink", ShrinkSpec(), given).digest
        for name in ("one", "two")
    }

    assert len(digests) == 1


def test_the_plan_names_the_layers(tmp_path: Path) -> None:
    lines = dict(shrink.plan(ShrinkSpec(), make_inputs(tmp_path, "marian")))

    assert lines["plan"].startswith("copy layers encoder 0 3 of 4, decoder 3 of 4")


@pytest.mark.parametrize(
    "spec",
    [
        ShrinkSpec(encoder=5),
        ShrinkSpec(decoder=(4,)),
        ShrinkSpec(encoder=()),
        ShrinkSpec(decoder=0),
    ],
    ids=["too many", "not there", "an empty list", "none"],
)
def test_layers_the_teacher_does_not_have_are_refused(spec: ShrinkSpec, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the teacher has layers 0 to 3"):
        shrink.plan(spec, make_inputs(tmp_path, "t5"))
