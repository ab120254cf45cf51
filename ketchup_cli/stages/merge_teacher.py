"""Make a model of a teacher and of what it learnt beside a student.

What learnt is saved beside the student as `parts.safetensors` and is no part of the student's model.
Merged into the teacher's weights it is a teacher like any other: for `generate`, `cache-teacher`,
`distill` and the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives import Term
from ketchup_cli.reporting import Reporter, human_count
from ketchup_cli.signals import TeacherPart
from ketchup_cli.specs import MergeTeacherSpec
from ketchup_cli.stages.learning import EXTRA, PARTS, part_of
from ketchup_cli.store import manifest
from ketchup_cli.store.build import Build
from ketchup_cli.store.digest import MANIFEST
from ketchup_cli.store.find import Input


def plan(spec: MergeTeacherSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's line: what is merged into whom.

    Raises:
        MismatchError: no teacher learnt in the student's run, or another one did.
        ModelError: what learnt has no place in a model.
    """
    from ketchup_cli.models.taught import check_place

    del spec
    part = learnt_part(inputs)
    check_place(part)
    own = f"{part.kind} of rank {part.rank}" if part.kind == "lora" else part.kind
    return (
        ("plan", f"{own}, learnt beside {inputs['student'].label}, into its teacher's weights"),
    )


def run(
    spec: MergeTeacherSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write the taught teacher's folder: configs, weights and tokenizer.

    Raises:
        MismatchError: no teacher learnt in the student's run, or another one did.
        ModelError: what learnt has no place in a model, or the teacher cannot be loaded.
        Damaged: the file of what was learnt cannot be read.
    """
    from ketchup_cli.models.load import load_policy, quiet, save_policy
    from ketchup_cli.models.taught import read_part, teach

    quiet()
    part = learnt_part(inputs)
    tensors = read_part(inputs["student"].path / PARTS, under=EXTRA)
    policy = load_policy(inputs["teacher"].path, device="cpu")
    teach(policy, part, tensors)
    size = sum(tensor.numel() for tensor in tensors.values())
    reporter.note("merge", f"{part.kind}, {human_count(size)} numbers that were learnt")
    folder = build.scratch()
    save_policy(policy, folder, dtype=spec.save_dtype)
    build.adopt(folder)
    return {
        "parameters": policy.model.num_parameters(),
        "model_type": policy.model.config.model_type,
        "part": part.kind,
        "learnt": size,
    }


def learnt_part(inputs: Mapping[str, Input]) -> TeacherPart:
    """Return what of the teacher learnt in the student's run, by the run's manifest.

    Raises:
        MismatchError: nothing did, the student is no artifact, or its run had another teacher, or
            none by name.
    """
    student, teacher = inputs["student"], inputs["teacher"]
    hint = "name a student of `okd` or `bd_kd`"
    if not (student.path / MANIFEST).is_file():
        raise MismatchError(
            f"`{student.label}` does not tell which teacher learnt beside it: it is no artifact",
            hint=hint,
        )
    found = manifest.read(student.path)
    part = part_of(_terms(found.spec))
    if part is None or not (student.path / PARTS).is_file():
        raise MismatchError(f"no teacher learnt beside `{student.label}`", hint=hint)
    teachers = [item for item in found.inputs if item.role == "teacher"]
    if not teachers:
        raise MismatchError(
            f"the run that made `{student.label}` names no teacher, only a cache of one",
            hint="ketchup distill with --teacher NAME beside the cache",
        )
    if teachers[0].digest != teacher.digest:
        raise MismatchError(
            f"beside `{student.label}` learnt teacher `{teachers[0].label}`, and"
            f" `{teacher.label}` is another",
            hint=f"--teacher {teachers[0].label}",
        )
    return part


def _terms(spec: Mapping[str, Any]) -> tuple[Term, ...]:
    """Return the terms of a run; none where it had no objective to choose."""
    return objectives.terms(spec["objective"]) if "objective" in spec else ()
