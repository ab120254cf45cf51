"""What becomes of the two sides of a preference, and a warning when both go down.

A preference fixes a difference only: its loss can fall while the student finds the teacher's side
less likely too, so long as its own falls faster. No single figure of the loss shows that.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

CHOSEN, REJECTED = "chosen_logp", "rejected_logp"
"""The metrics an objective reports the log-probability of a token of either side under (nats)."""


@final
@dataclass(slots=True, kw_only=True)
class Sides:
    """Remembers the log-probabilities of both sides from validation to validation.

    Example: `sides.note(figures)` after every update, `sides.judge(150, count=3)` after a
    validation; "" while nothing is wrong.
    """

    since: list[tuple[float, float]] = field(default_factory=list)
    """(chosen, rejected) of every update since the last validation."""
    history: list[tuple[float, float]] = field(default_factory=list)
    """Their means before each validation."""
    warned: bool = False
    """Whether the last judgement was a warning, so that one fall is told once."""

    def note(self, figures: Mapping[str, float]) -> None:
        """Take in the figures of an update, if they have both sides."""
        if CHOSEN in figures and REJECTED in figures:
            self.since.append((figures[CHOSEN], figures[REJECTED]))

    def judge(self, update: int, *, count: int) -> str:
        """Return a sentence if both sides have begun to fall, or "".

        Args:
            update: updates done.
            count: validations in a row at which both must have fallen; 0 never warns.
        """
        if not self.since:
            return ""
        chosen, rejected = (sum(side) / len(side) for side in zip(*self.since, strict=True))
        self.history.append((chosen, rejected))
        self.since.clear()
        before, self.warned = self.warned, self._fall(count)
        if before or not self.warned:
            return ""
        first = self.history[-count - 1]
        return (
            f"up to update {update} both log-probabilities fell {count} validations in a row: of the"
            f" teacher's side from {first[0]:.3g} to {chosen:.3g}, of the student's from"
            f" {first[1]:.3g} to {rejected:.3g} nats a token; the margin grows by making both less"
            " likely. try `nll` on teacher text in the mix, a smaller objective.beta, or a lower"
            " learning rate"
        )

    def _fall(self, count: int) -> bool:
        if not count or len(self.history) < count + 1:
            return False
        return all(
            chosen < chosen_before and rejected < rejected_before
            for (chosen_before, rejected_before), (chosen, rejected) in itertools.pairwise(
                self.history[-count - 1 :]
            )
        )

    def to_facts(self) -> dict[str, Any]:
        """Return everything, for a checkpoint."""
        return asdict(self)

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Put back what `to_facts` gave."""
        self.since, self.history = (
            [(float(one), float(other)) for one, other in facts[name]]
            for name in ("since", "history")
        )
        self.warned = bool(facts["warned"])
