"""AKL: forward and reverse KL, weighed in every state by where the student errs.

    L_t = w KL(p || pi) + (1 - w) KL(pi || p),   w = g_head / (g_head + g_tail)

The head is the smallest set of the teacher's likeliest tokens whose mass reaches mu, the token that
crosses mu included; g is the sum of |p - pi| over it or over the rest. Where the student errs on
what is likely it is taught by forward KL, where it errs on the rest by reverse KL. The weight is a
constant to the gradient.

From a truncated teacher the head is known where the kept entries reach mu. A state where they do
not is taught by forward KL alone and counted (`short_head`); with more of them in a batch than
`short_heads` the loss is refused.

Source: Wu et al. 2024, arXiv 2404.02657. Differs: from the released code, which leaves the crossing
token to the tail; 0/0 where both agree is 1/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, final

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives.base import Objective, check_range, compare, given, teacher_of
from ketchup_cli.signals import Inputs, Needs, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-3
"""Of a tail's mass, from a log-sum-exp in float32: equal entries may reach mu exactly."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveKl(Objective):
    """Forward and reverse KL with a weight of the state's own."""

    mu: float = 0.5
    """Mass of the teacher's head; 0 is its likeliest token alone, 1 every token (forward KL)."""
    short_heads: float = 0.05
    """Largest share of a batch's states in which a truncated teacher may fall short of mu."""
    temperature: float = 1.0
    """Both sets of logits are divided by it; the loss is not multiplied by its square."""

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "hidden": "exact to the precision of the stored states",
        "top": "head exact where the kept entries reach mu, else forward KL, counted and at most"
        " `short_heads` of a batch; the tail's gap is a lower bound, and the part of reverse KL is"
        " short without a bound",
    }

    def __post_init__(self) -> None:
        check_range("mu", self.mu, low=0.0, high=1.0)
        check_range("short_heads", self.short_heads, low=0.0, high=1.0)
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return the teacher's top entries on anyone's completions."""
        return Needs(
            prefixes=("data", "teacher", "student"), teacher="top", temperature=self.temperature
        )

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the weighed divergence of every step."""
        truncated = teacher_of(inputs).dense is None
        metrics = self._short(inputs) if truncated else {}
        measure = partial(F.adaptive_kl, mu=self.mu, bucket=truncated)
        loss_BT, weight_BT = compare(inputs, measure, temperature=self.temperature)
        metrics |= {"adaptive_kl": loss_BT.detach(), "head_weight": weight_BT}
        return TokenLoss(loss_BT=loss_BT, metrics=metrics)

    def _short(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return where the kept entries fall short of mu; refuse a batch with too many."""
        top = given(teacher_of(inputs).top, "teacher.top")
        short_BT = (1 - top.tail_BT < self.mu - _ROUNDING).to(top.tail_BT.dtype)
        share = float(F.masked_mean(short_BT, inputs.batch.mask_BT))
        if share > self.short_heads:
            raise MismatchError(
                f"in {share:.1%} of the states the teacher's kept entries hold less than"
                f" mu = {self.mu:g} of its mass; `short_heads` allows {self.short_heads:.1%}",
                hint="--set teacher=live, a larger `top` for cache-teacher, or a lower"
                " --set objective.mu",
            )
        return {"short_head": short_BT}
