"""Direct preference: what the teacher writes is preferred to what the student writes.

    r(y) = log pi(y|x) - log p(y|x),   m = r(y_teacher) - r(y_student)
    L = -(1 - e) log sigma(beta m) - e log sigma(-beta m)

`form` tells two methods apart that share a name. "sequence" is the paper's: y_teacher is teacher
text (`ketchup seqkd`), y_student the student's own sample for the same prompt, and the teacher is
the reference of both. "token" is the released code's: after every prefix of a given text the
likeliest token of the teacher is preferred to that of the student,

    m_t = log [pi(a) / pi(b)] - log [p(a) / p(b)],   a = argmax p,  b = argmax pi

and where both name one token nothing is learnt. A margin can grow while both texts become less
likely. Both log-probabilities are metrics, and a run in which both fall says so; `nll` on teacher
text in the mix holds them up.

Source: Li et al. 2024, arXiv 2406.19774, and the code released with it. Differs by default: the
mean over a text's tokens, so that length alone decides nothing, and a beta for margins of a token.
The preset `released` is the token form with that code's beta and mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, given, teacher_of
from ketchup_cli.signals import Inputs, Needs, SequenceLoss, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor


_ROLLOUTS: Mapping[str, Any] = {
    "updates": 400,
    "dropout": 0.0,
    "checkpoint_every": 50,
    "optimizer": {"learning_rate": 5e-5, "warmup": 20},
    "rollout": {"prompts": 24, "samples": 1},
    "validation": {"every": 50},
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Dpkd(Objective):
    """Preference of the teacher's text, or token, over the student's.

    Metrics: `margin`; `preferred`, the share of margins above 0; `chosen_logp` and `rejected_logp`,
    what the student thinks of a token of the teacher's side and of its own (nats). In the sequence
    form also the lengths of both; in the token form `agreement`, the share of equal tokens.
    """

    form: Literal["sequence", "token"] = "sequence"
    """Pairs of texts, as in the paper, or pairs of tokens, as in the released code."""
    beta: float = 1.0
    """What a nat of margin counts."""
    length: Literal["sum", "mean"] = "mean"
    """Whether a text's log-ratio is summed or averaged over its tokens (sequence form)."""
    label_smoothing: float = 0.0
    """Share of preferences that are taken for wrong, 0 to 1."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": _ROLLOUTS,
        "released": {
            "objective": {"form": "token", "beta": 0.1, "weight": 0.5},
            "beside": ({"name": "nll", "weight": 0.5},),
        },
    }

    fits: ClassVar[Mapping[str, str]] = {
        "stats": "exact (sequence form; only a live teacher knows the student's samples)",
        "dense": "exact (token form)",
        "top": "a student's token that is not kept counts as the least of those kept (token form)",
    }

    def __post_init__(self) -> None:
        check_range("beta", self.beta, low=1e-6)
        check_range("label_smoothing", self.label_smoothing, low=0.0, high=1.0)

    @property
    def needs(self) -> Needs:
        """Return pairs with the teacher's statistics, or any text with its top entries."""
        if self.form == "sequence":
            return Needs(prefixes=("pairs",), teacher="stats")
        return Needs(prefixes=("data", "teacher", "student"), teacher="top")

    def __call__(self, inputs: Inputs) -> SequenceLoss | TokenLoss:
        """Return the loss of every pair, in both of its rows, or of every token."""
        return self._of_pairs(inputs) if self.form == "sequence" else self._of_tokens(inputs)

    def _of_pairs(self, inputs: Inputs) -> SequenceLoss:
        teacher, batch = teacher_of(inputs), inputs.batch
        logp_BT, mask_BT = inputs.student.logp_taken_BT, batch.mask_BT
        p_logp_BT = (teacher.taken_BT - teacher.lse_BT).detach()
        ratio_B = F.per_text(logp_BT - p_logp_BT, mask_BT, length=self.length)
        pairs = (given(batch.group_B, "group_B"), given(batch.chosen_B, "chosen_B"))
        chosen_B, rejected_B = F.by_pair(ratio_B, *pairs)
        margin_B = chosen_B - rejected_B
        of_token_B = F.per_text(logp_BT.detach(), mask_BT, length="mean")
        sides = {"logp": of_token_B, "length": F.lengths(mask_BT).to(of_token_B.dtype)}
        metrics = {"margin": margin_B.detach(), "preferred": _share(margin_B)}
        for name, value_B in sides.items():
            metrics[f"chosen_{name}"], metrics[f"rejected_{name}"] = F.by_pair(value_B, *pairs)
        return SequenceLoss(loss_B=self._loss(margin_B), metrics=metrics)

    def _of_tokens(self, inputs: Inputs) -> TokenLoss:
        teacher, logits_BTV = teacher_of(inputs), inputs.student.logits_BTV
        known = given(teacher.top, "teacher.top") if teacher.dense is None else teacher.dense
        margin_BT, chosen_BT, rejected_BT = F.token_margins(known, logits_BTV, inputs.batch.mask_BT)
        chosen_logp_BT = F.log_probs_of(logits_BTV.detach(), chosen_BT)
        metrics = {
            "margin": margin_BT.detach(),
            "preferred": _share(margin_BT),
            "chosen_logp": chosen_logp_BT,
            "rejected_logp": F.log_probs_of(logits_BTV.detach(), rejected_BT),
            "agreement": (chosen_BT == rejected_BT).to(chosen_logp_BT.dtype),
        }
        return TokenLoss(loss_BT=self._loss(margin_BT), metrics=metrics)

    def _loss(self, margin: Tensor) -> Tensor:
        return F.preference_loss(margin, beta=self.beta, label_smoothing=self.label_smoothing)


def _share(margin: Tensor) -> Tensor:
    """Return 1 where the teacher's side is preferred, 0 elsewhere."""
    return (margin.detach() > 0).to(margin.dtype)
