"""Negative log-likelihood of a text: supervised training, or SeqKD on teacher text.

    L_t = -(1 - e) log pi(a_t|s_t) - e (1/V) sum_v log pi(v|s_t)

Source: Kim and Rush 2016, arXiv 1606.07947, for sequence-level distillation; label smoothing
after Szegedy et al. 2016, arXiv 1512.00567.
"""

from dataclasses import dataclass
from typing import final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range
from ketchup_cli.signals import Inputs, Needs, TokenLoss


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Nll(Objective):
    """Negative log-likelihood of the completion; no teacher."""

    label_smoothing: float = 0.0
    """Mass spread evenly over the vocabulary, 0 to 1."""

    def __post_init__(self) -> None:
        check_range("label_smoothing", self.label_smoothing, low=0.0, high=1.0)

    @property
    def needs(self) -> Needs:
        """Return completions of the corpus, of the teacher, or of a second corpus."""
        return Needs(prefixes=("data", "teacher", "extra", "reversed"))

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the smoothed negative log-likelihood of every token."""
        student, tokens_BT = inputs.student, inputs.batch.tokens_BT
        nll_BT = -student.logp_taken_BT
        loss_BT = nll_BT
        if self.label_smoothing > 0:
            uniform_BT = -F.mean_log_prob(student.logits_BTV, tokens_BT, student.logp_taken_BT)
            loss_BT = (1 - self.label_smoothing) * nll_BT + self.label_smoothing * uniform_BT
        return TokenLoss(loss_BT=loss_BT, metrics={"nll": nll_BT.detach()})
