from pathlib import Path
from typing import Any

import distilling
import pytest
import runs
import tiny
import torch

from ketchup_cli.errors import MismatchError, ModelError
from ketchup_cli.models.adapters import Adapter
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import GenerateSpec, MergeTeacherSpec
from ketchup_cli.stages import distill, merge_teacher
from ketchup_cli.store.artifact import Artifact, Input, as_input
from ketchup_cli.store.layout import Store

SPEC = MergeTeacherSpec()
TABLES: dict[str, dict[str, Any]] = {
    "okd lora": {"name": "okd", "rank": 2, "teacher_rate": 1.0},
    "bd_kd full": {"name": "bd_kd", "module": "full", "teacher_rate": 1.0},
}
TOLERANCE = 1e-5
"""A product of matrices added to a weight is rounded once more than beside it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merging")


@pytest.fixture(scope="module")
def inputs(folder: Path) -> dict[str, Input]:
    return distilling.make_inputs(folder)


class Run:
    """A finished run, and its teacher with what it had learnt at the end."""

    def __init__(self, folder: Path, inputs: dict[str, Input], table: dict[str, Any]) -> None:
        self.adapters: list[Adapter] = []
        give_part = distill.give_part

        def remember(*given: Any, **settings: Any) -> Any:
            learner = give_part(*given, **settings)
            assert learner is not None
            self.adapters.append(learner.adapter)
            return learner

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distill, "give_part", remember)
            self.artifact = distilling.run(folder, distilling.make_spec(table), inputs)

    @property
    def student(self) -> Input:
        return as_input(self.artifact, "student")


@pytest.fixture(scope="module", params=TABLES)
def taught(
    folder: Path, inputs: dict[str, Input], request: pytest.FixtureRequest
) -> tuple[Run, Artifact]:
    run = Run(folder, inputs, TABLES[request.param])
    own = {"student": run.student, "teacher": inputs["teacher"]}
    return run, tiny.run_stage(Store.open(folder / "merged"), "merge-teacher", SPEC, own)


def test_the_merged_teacher_says_what_the_teacher_said_at_the_end_of_the_run(
    taught: tuple[Run, Artifact], inputs: dict[str, Input]
) -> None:
    run, merged = taught
    policy = load_policy(merged.path, device="cpu")
    batch = runs.make_batch(policy, range(6))
    real_BT = batch.mask_BT.bool()

    with torch.no_grad():
        loaded = policy.logits(batch)[real_BT]
        (adapter,) = run.adapters
        at_the_end = adapter.logits(batch)[real_BT]
        as_it_came = load_policy(inputs["teacher"].path, device="cpu").logits(batch)[real_BT]

    torch.testing.assert_close(loaded, at_the_end, atol=TOLERANCE, rtol=TOLERANCE)
    assert float((loaded - as_it_came).abs().max()) > 1e-3


def test_a_merged_teacher_writes_and_is_cached_like_any_other(
    folder: Path, taught: tuple[Run, Artifact], inputs: dict[str, Input]
) -> None:
    _, merged = taught
    used = {"corpus": inputs["corpus"], "model": as_input(merged, "model")}
    spec = GenerateSpec(split="dev", device="cpu")

    texts = tiny.run_stage(Store.open(folder / "texts"), "generate", spec, used)
    cache = distilling.make_cache(
        folder, {"corpus": inputs["corpus"], "teacher": as_input(merged, "teacher")}
    )

    assert texts.manifest.summary["texts"] > 0
    assert cache.kind


def test_the_plan_names_the_part_and_the_student(
    taught: tuple[Run, Artifact], inputs: dict[str, Input]
) -> None:
    run, _ = taught
    own = {"student": run.student, "teacher": inputs["teacher"]}

    ((_, line),) = merge_teacher.plan(SPEC, own)

    assert line.startswith(("lora of rank 2, learnt beside", "full, learnt beside"))


def test_another_teacher_than_the_run_s_is_refused(
    taught: tuple[Run, Artifact], inputs: dict[str, Input]
) -> None:
    run, _ = taught
    other = tiny.inputs(teacher=inputs["student"].path)

    with pytest.raises(MismatchError, match="and `student` is another"):
        merge_teacher.plan(SPEC, {"student": run.student, **other})


def test_a_student_beside_whom_nobody_learnt_is_refused(
    folder: Path, inputs: dict[str, Input]
) -> None:
    plain = distilling.run(folder, distilling.make_spec({"name": "nll"}), inputs, "plain")
    own = {"student": as_input(plain, "student"), "teacher": inputs["teacher"]}

    with pytest.raises(MismatchError, match="no teacher learnt beside"):
        merge_teacher.plan(SPEC, own)


def test_a_folder_without_a_manifest_is_refused(inputs: dict[str, Input]) -> None:
    own = {role: inputs[role] for role in ("student", "teacher")}

    with pytest.raises(MismatchError, match="it is no artifact"):
        merge_teacher.plan(SPEC, own)


def test_a_network_beside_the_head_is_refused_and_leaves_nothing(
    folder: Path, inputs: dict[str, Input]
) -> None:
    table = {"name": "okd", "module": "head", "rank": 4}
    made = distilling.run(folder, distilling.make_spec(table), inputs, "heads")
    own = {"student": as_input(made, "student"), "teacher": inputs["teacher"]}

    with pytest.raises(ModelError, match="has no place in a model's folder"):
        tiny.run_stage(Store.open(folder / "refused"), "merge-teacher", SPEC, own)
    assert not list((folder / "refused").glob("objects/model/*"))


def test_a_run_behind_a_cache_alone_does_not_tell_its_teacher(
    folder: Path, inputs: dict[str, Input]
) -> None:
    states = distilling.make_cache(folder, inputs, keep="hidden", top=0)
    own = {role: item for role, item in inputs.items() if role != "teacher"} | {"cache": states}
    table = {"name": "okd", "module": "head", "rank": 4}
    made = distilling.run(folder, distilling.make_spec(table), own, "cached")

    with pytest.raises(MismatchError, match="names no teacher, only a cache of one"):
        merge_teacher.plan(
            SPEC, {"student": as_input(made, "student"), "teacher": inputs["teacher"]}
        )
