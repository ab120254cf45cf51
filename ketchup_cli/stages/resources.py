"""How many bytes a run of `distill` holds and writes, roughly: by the sizes of its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketchup_cli import objectives

if TYPE_CHECKING:
    from ketchup_cli.stages.bench import Bench

FLOAT_BYTES = 4

MOMENTS = {"adamw": 2, "adafactor": 0}
"""Numbers an optimiser keeps a weight; the rows and columns adafactor keeps are next to none."""

LOGIT_COPIES = 3
"""Tensors of the size of the student's logits at once: they, their gradient, what makes it."""

LIBRARY_BYTES = 600 * 2**20
"""What a process on the CPU holds beside tensors: measured, `docs/doctor.md`."""

CHECKPOINTS = 3
"""Files of the weights at once: two checkpoints, and the one that is being written."""


def memory_plan(bench: Bench) -> dict[str, int]:
    """Return the bytes a run of `distill` holds, by what they are for."""
    spec = bench.case.spec
    weights = FLOAT_BYTES * bench.student.model.num_parameters()
    plan = {
        "student": weights,
        "gradients": weights,
        "optimiser": weights * MOMENTS[spec.optimizer.name],
        "logits": FLOAT_BYTES * LOGIT_COPIES * _tokens(bench) * bench.student.vocabulary,
    }
    if bench.student.device.type == "cpu":
        plan["libraries"] = LIBRARY_BYTES
    if "teacher" in bench.case.inputs:
        plan["teacher"] = FLOAT_BYTES * bench.teacher.model.num_parameters()
    return {name: size for name, size in plan.items() if size}


def disk_plan(bench: Bench) -> dict[str, int]:
    """Return the bytes a run of `distill` writes, and those of a cache that is still to be made."""
    from ketchup_cli.stages.cache_teacher import sizes

    spec, case = bench.case.spec, bench.case
    weights = FLOAT_BYTES * bench.student.model.num_parameters()
    plan = {"student": weights, "best weights": weights}
    if spec.checkpoint_every:
        plan["checkpoints"] = CHECKPOINTS * weights * (1 + MOMENTS[spec.optimizer.name])
    if case.cache_spec is not None and {"teacher", "corpus"} <= set(case.inputs):
        layout, _, tokens = sizes(case.cache_spec, case.inputs)
        plan["teacher cache"] = tokens * layout.bytes_per_token
    return plan


def _tokens(bench: Bench) -> int:
    """Return the completion tokens whose logits exist at once."""
    spec = bench.case.spec
    sizes = [spec.tokens_per_batch]
    if any(term.new_text for term in objectives.terms(spec.objective)):
        sizes.append(spec.rollout.prompts * spec.rollout.samples * spec.rollout.max_new_tokens)
    return max(sizes)
