"""When a run keeps its weights, and when it ends early."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

from ketchup_cli.specs import ValidationSpec

Ended = Literal["", "patience", "reward hacking"]

LOWER_IS_BETTER = ("loss",)


@final
@dataclass(slots=True, kw_only=True)
class Watch:
    """Remembers validations and judges them.

    Invariant: `best_update` is the earliest validation with the best metric so far, and of equal
    metrics the least loss: BLEU is 0 until four words in a row are right, and always where no
    reference has four.
    Example: `watch.observe(50, 27.1, gain=-3.8)` is "" while the run should go on.
    """

    spec: ValidationSpec
    best: float | None = None
    best_loss: float | None = None
    best_update: int = 0
    since_best: int = 0
    history: list[tuple[int, float, float | None]] = field(default_factory=list)
    """(update, metric, mean return since the validation before)."""

    def improves(self, metric: float, *, loss: float | None = None) -> bool:
        """Return whether the metric beats all before, or equals the best with a smaller loss."""
        if self.best is None:
            return True
        if metric == self.best and loss is not None and self.best_loss is not None:
            return loss < self.best_loss
        return metric < self.best if self.spec.metric in LOWER_IS_BETTER else metric > self.best

    def observe(
        self, update: int, metric: float, *, gain: float | None, loss: float | None = None
    ) -> Ended:
        """Take in one validation and return why the run should end, or "".

        Args:
            update: updates done.
            metric: on the dev split.
            gain: mean return of the student's completions since the last validation, if any.
            loss: on the dev split, which decides between equal metrics.
        """
        self.history.append((update, metric, gain))
        if self.improves(metric, loss=loss):
            self.best, self.best_update, self.since_best = metric, update, 0
            self.best_loss = loss
        else:
            self.since_best += 1
        if self._hacked():
            return "reward hacking"
        if self.spec.patience and self.since_best >= self.spec.patience:
            return "patience"
        return ""

    def _hacked(self) -> bool:
        """Return whether the return rose and the metric fell `guard` validations in a row."""
        count = self.spec.guard
        if not count or len(self.history) < count + 1:
            return False
        recent = self.history[-count - 1 :]
        sign = -1 if self.spec.metric in LOWER_IS_BETTER else 1
        for (_, metric, gain), (_, metric_next, gain_next) in itertools.pairwise(recent):
            if gain is None or gain_next is None:
                return False
            if gain_next <= gain or sign * (metric_next - metric) >= 0:
                return False
        return True

    def sentence(self, ended: Ended) -> str:
        """Return what a person should know about the end of the run."""
        last_update, last, gain = self.history[-1]
        name = self.spec.metric
        if ended == "reward hacking":
            _, first, first_gain = self.history[-self.spec.guard - 1]
            worse = "rose" if name in LOWER_IS_BETTER else "fell"
            return (
                f"stopped at update {last_update}: the return rose from {first_gain:.3g} to"
                f" {gain:.3g} while dev {name} {worse} from {first:.2f} to {last:.2f}; the student"
                f" exploits the reward. kept update {self.best_update} ({name} {self.best:.2f})."
                " try objective.value=softmax, a larger k, or a lower learning rate"
            )
        if ended == "patience":
            return (
                f"stopped at update {last_update}: no better dev {name} in"
                f" {self.since_best} validations; kept update {self.best_update}"
                f" ({name} {self.best:.2f})"
            )
        kept = f"kept update {self.best_update} (dev {name} {self.best:.2f})"
        if self.best_update or not last_update:
            return kept
        return f"{kept}: no validation was better than the start, so the student is as it was"

    def to_facts(self) -> dict[str, Any]:
        """Return everything but the spec, for a checkpoint."""
        facts = asdict(self)
        facts.pop("spec")
        return facts

    def restore(self, facts: dict[str, Any]) -> None:
        """Put back what `to_facts` gave."""
        for name, value in facts.items():
            setattr(self, name, value)
        self.history = [(int(u), float(m), g) for u, m, g in facts["history"]]
