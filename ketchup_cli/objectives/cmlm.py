"""Masked-token loss of a student that fills in, and of the lengths it predicts.

    L = mean over hidden tokens of L_t + w mean over completions of -log p(N|x)
    L_t = -(1 - e) log pi(y_t|x, shown) - e (1/V) sum_v log pi(v|x, shown)

Source: Ghazvininejad et al. 2019, arXiv 1904.09324; e and w as in Ding et al. 2021, arXiv
2106.00903.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, given
from ketchup_cli.signals import BatchLoss, Inputs, Needs, SequenceLoss, TokenLoss


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cmlm(Objective):
    """Hidden tokens and lengths of completions, for a student of the architecture cmlm."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"validation": {"probe": 0}},
    }

    label_smoothing: float = 0.1
    """Mass spread evenly over the vocabulary, 0 to 1."""
    length_weight: float = 0.1
    """Weight w of the loss of lengths."""

    def __post_init__(self) -> None:
        check_range("label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        check_range("length_weight", self.length_weight, low=0.0)

    @property
    def needs(self) -> Needs:
        """Return completions of the corpus, of the teacher, or of a second corpus."""
        return Needs(prefixes=("data", "teacher", "extra"), lengths=True)

    def __call__(self, inputs: Inputs) -> BatchLoss:
        """Return the mean loss of hidden tokens and that of lengths, weighed."""
        student, batch = inputs.student, inputs.batch
        nll_BT = -student.logp_taken_BT
        uniform_BT = -F.mean_log_prob(student.logits_BTV, batch.tokens_BT, student.logp_taken_BT)
        smooth = self.label_smoothing
        tokens = TokenLoss(loss_BT=(1 - smooth) * nll_BT + smooth * uniform_BT, metrics={})
        length_B = -given(student.length_logp_B, "student.length_logp_B")
        lengths = SequenceLoss(loss_B=length_B.to(nll_BT.dtype), metrics={})
        loss = F.reduce(tokens, batch.mask_BT) + self.length_weight * F.reduce(
            lengths, batch.mask_BT
        )
        return BatchLoss(
            loss=loss, metrics={"nll": nll_BT.detach(), "length_nll": length_B.detach()}
        )
