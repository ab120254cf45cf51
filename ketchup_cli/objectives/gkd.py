"""GKD: a generalised Jensen-Shannon divergence on data and on the student's own completions.

    L_t = JSD_b(p(.|s_t), pi(.|s_t)),   m = b p + (1 - b) pi
    published    b KL(p || m) + (1 - b) KL(pi || m)
    continuous   (1 - b) KL(p || m) + b KL(pi || m)

Under both, b = 0 is forward and b = 1 reverse KL. The published weights vanish on the way to
either end: close to one, b is little but a factor on the loss, and the end itself jumps. The
continuous weights arrive there. Sampling is not differentiated.

Source: Agarwal et al. 2023, arXiv 2306.13649. Differs: both kinds of completions stand in every
update, each with its share of the loss; the mean runs over the tokens of an update, so a long
completion weighs more, unless `reduction = completion` takes it first over those of a completion, as
the paper's formula does. The continuous weights are not the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import LIVE_SAMPLES, Objective, check_range, compare
from ketchup_cli.signals import Inputs, Needs, Prefixes, SequenceLoss, TokenLoss


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gkd(Objective):
    """Generalised Jensen-Shannon divergence between teacher and student at every step."""

    student_share: float = 0.5
    """Share of the student's own completions in the loss (lambda); the rest is data."""
    beta: float = 0.5
    """Share of the teacher in the mixture: 0 is forward KL, 1 is reverse KL."""
    mixture: Literal["published", "continuous"] = "published"
    """Weights of the two halves: the paper's, or those that reach both ends without a jump."""
    temperature: float = 1.0
    """Both sets of logits are divided by it; the loss is not multiplied by its square."""
    reduction: Literal["token", "completion"] = "token"
    """Mean over all tokens, or over completions of the mean over their tokens."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": LIVE_SAMPLES}

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "hidden": "exact to the precision of the stored states",
        "top": "published: short by at most (beta p_tail + (1 - beta) q_tail) ln 2, with both tails'"
        " masses; continuous: by as much as skew_kl with beta and skew_rkl with 1 - beta, weighed;"
        " at beta 0 as kl; at beta 1 all logits are asked for",
    }

    def __post_init__(self) -> None:
        check_range("student_share", self.student_share, low=0.0, high=1.0)
        check_range("beta", self.beta, low=0.0, high=1.0)
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return the teacher's top entries on anyone's completions, or all for reverse KL."""
        return Needs(
            prefixes=("data", "teacher", "student"),
            teacher="dense" if self.beta == 1 else "top",
            temperature=self.temperature,
        )

    @property
    def shares(self) -> Mapping[Prefixes, float]:
        """Return the share of data and that of the student's completions."""
        return {"data": 1 - self.student_share, "student": self.student_share}

    def __call__(self, inputs: Inputs) -> TokenLoss | SequenceLoss:
        """Return the divergence of every step, or its mean over every completion."""
        measure = partial(F.generalised_js, beta=self.beta, weighting=self.mixture)
        (jsd_BT,) = compare(inputs, measure, temperature=self.temperature)
        metrics = {"jsd": jsd_BT.detach()}
        if self.reduction == "completion":
            return SequenceLoss(loss_B=F.row_means(jsd_BT, inputs.batch.mask_BT), metrics=metrics)
        return TokenLoss(loss_BT=jsd_BT, metrics=metrics)
