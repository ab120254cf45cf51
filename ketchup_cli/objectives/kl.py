"""Forward Kullback-Leibler divergence, word level: the student covers the teacher.

    L_t = temperature^2 * KL(p(.|s_t) || pi(.|s_t)),   both softened by the temperature

The square keeps the gradient's size as the temperature changes. With the whole of the teacher's
distribution at hand the divergence is exact; from its top entries it takes a rule for the tail;
from tokens drawn from the teacher it is estimated without bias.

Source: Kim and Rush 2016, arXiv 1606.07947; the square of the temperature after Hinton et al. 2015,
arXiv 1503.02531; drawn entries as in arXiv 2503.16870.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives.base import Objective, check_range, compare, given, teacher_of
from ketchup_cli.signals import Inputs, Needs, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kl(Objective):
    """Forward KL from the teacher, dense, truncated or drawn."""

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "hidden": "exact to the precision of the stored states",
        "top": "bucket: short by the tail's mass times the divergence inside it, and the gradient off"
        " by at most twice that mass in all; renormalise: the teacher cut to its largest entries",
        "sampled": "unbiased; from n draws the gradient's variance at a step is (1 - sum p^2) /"
        " (n temperature^2)",
    }

    temperature: float = 1.0
    """Both sets of logits are divided by it; a cache must hold statistics for it."""
    tail: Literal["bucket", "renormalise"] = "bucket"
    """What the teacher's tail is taken for: one more token, or nothing (the rest is scaled up)."""

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return the teacher's top entries on anyone's completions."""
        return Needs(
            prefixes=("data", "teacher", "student", "reversed"),
            teacher="top",
            sampled=True,
            temperature=self.temperature,
        )

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the divergence of every step, times the square of the temperature."""
        kl_BT = self._divergence(inputs)
        return TokenLoss(loss_BT=self.temperature**2 * kl_BT, metrics={"kl": kl_BT.detach()})

    def _divergence(self, inputs: Inputs) -> Tensor:
        teacher, logits_BTV = teacher_of(inputs), inputs.student.logits_BTV
        if teacher.dense is not None:
            return compare(inputs, F.kl, temperature=self.temperature)[0]
        if teacher.temperature != self.temperature:
            raise MismatchError(
                f"the teacher's tail is for temperature {teacher.temperature:g}; "
                f"the objective asks for {self.temperature:g}"
            )
        top = given(teacher.top, "teacher.top")
        if top.weights_BTM is not None:
            return F.kl_sampled(
                top,
                logits_BTV,
                lse_BT=teacher.lse_BT,
                expected_BT=teacher.expected_BT,
                temperature=self.temperature,
            )
        return F.kl_truncated(top, logits_BTV, tail=self.tail, temperature=self.temperature)
