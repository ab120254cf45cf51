"""Whether data and the student's own completions take turns, and what of it cannot be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ketchup_cli.errors import SpecError
from ketchup_cli.objectives import Term
from ketchup_cli.specs import DistillSpec

if TYPE_CHECKING:
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.train.replay import Replay


def replay_of(
    spec: DistillSpec, terms: Sequence[Term], *, student: Policy, processes: int
) -> Replay | None:
    """Return what takes turns between data and the student's completions, if it is asked for.

    Raises:
        SpecError: there is nothing to take turns between, or it cannot be done.
    """
    from ketchup_cli.train.replay import Replay

    if not spec.replay.capacity:
        return None
    sources = {term.prefixes for term in terms}
    if "student" not in sources or len(sources) > 2:
        raise SpecError(
            "a replay takes turns between the student's completions and at most one other source;"
            f" the objective learns from {', '.join(sorted(sources))}",
            hint="--preset distillm, or --set replay.capacity=0",
        )
    if spec.rollout.reuse > 1 or processes > 1:
        raise SpecError(
            "a replay keeps completions itself, in one process",
            hint="--set rollout.reuse=1, one process, or --set replay.capacity=0",
        )
    return Replay(
        spec.replay,
        batch=spec.rollout.prompts * spec.rollout.samples,
        updates=spec.updates,
        seed=spec.seed,
        pad_id=student.pad_id,
    )
