"""Jensen-Shannon divergence: teacher text against the mixture, student text against it too.

    on the teacher's completions   L_t = temperature^2 * KL(p(.|s_t) || m(.|s_t)),    weight 1 - b
    on the student's               L_t = temperature^2 * KL(pi(.|s_t) || m(.|s_t)),   weight b

The two published forms differ in m. `conditional` mixes next-token distributions in every state
alike, m = (1 - b) p + b pi; over whole completions it bounds the divergence from above. `exact`
mixes whole completions, m(y) = (1 - b) p(y) + b pi(y), and takes m(y_t|y_<t) from it: a state's
mixture leans to whoever is more likely to have written the prefix, and the sum over steps is the
divergence of completions itself. As that is at most the entropy of (b, 1 - b) for the whole
completion, little of it is left late in a long one.

Sampling is not differentiated, and neither is the weight of a prefix: what would flow through it
cancels between the two halves.

Source: Wen et al. 2023, arXiv 2307.15190, eq. 8; its code has the share b, mixes conditionals, and
multiplies by the square of the temperature. Differs: `exact`, for which that code stands in with
the other; references may stand for the teacher's completions (`prefixes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives.base import (
    LIVE_SAMPLES,
    Objective,
    check_range,
    compare,
    teacher_of,
)
from ketchup_cli.signals import Inputs, Needs, Prefixes, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Js(Objective):
    """One half of the divergence, which one the source of the completions says."""

    beta: float = 0.5
    """Share of the student in the mixture, and of its completions in the loss."""
    mixture: Literal["conditional", "exact"] = "conditional"
    """What is mixed: next-token distributions, or whole completions."""
    temperature: float = 1.0
    """Both sets of logits are divided by it, and the loss is multiplied by its square."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": LIVE_SAMPLES}

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "hidden": "exact to the precision of the stored states",
        "top": "short by at most p_tail log(1 + q_tail beta / (p_tail (1 - beta))), with both tails'"
        " masses; for whole completions, with the odds of the prefix for beta / (1 - beta)",
    }

    def __post_init__(self) -> None:
        check_range("beta", self.beta, low=0.01, high=0.99)
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return the teacher's top entries; mixing completions takes its word on each token too."""
        return Needs(
            prefixes=("teacher", "student", "data"),
            teacher="top",
            statistics=self.mixture == "exact",
            temperature=self.temperature,
        )

    @property
    def shares(self) -> Mapping[Prefixes, float]:
        """Return the student's share for its completions, and the rest for teacher text."""
        return {"teacher": 1 - self.beta, "student": self.beta}

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return how far this side is from the mixture, times the square of the temperature."""
        if self.mixture == "exact":
            js_BT, metrics = self._exact(inputs)
        else:
            js_BT, metrics = self._conditional(inputs), {}
        metrics["js"] = js_BT.detach()
        return TokenLoss(loss_BT=self.temperature**2 * js_BT, metrics=metrics)

    def _conditional(self, inputs: Inputs) -> Tensor:
        if inputs.batch.source == "student":
            measure = partial(F.skew_reverse_kl, alpha=self.beta)
        else:
            measure = partial(F.skew_kl, alpha=1 - self.beta)
        return compare(inputs, measure, temperature=self.temperature)[0]

    def _exact(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        odds_BT = self._log_odds(inputs)
        side: Literal["teacher", "student"] = (
            "student" if inputs.batch.source == "student" else "teacher"
        )
        measure = partial(F.kl_to_mixture, side=side)
        (js_BT,) = compare(inputs, measure, temperature=self.temperature, beside=(odds_BT,))
        return js_BT, {"teacher_weight": odds_BT.sigmoid()}

    def _log_odds(self, inputs: Inputs) -> Tensor:
        """Return the log-odds, before every token, that the teacher wrote the prefix."""
        teacher, student, batch = teacher_of(inputs), inputs.student, inputs.batch
        if teacher.temperature != self.temperature:
            raise MismatchError(
                f"the teacher's log-sum-exp is for temperature {teacher.temperature:g}; the"
                f" objective asks for {self.temperature:g}"
            )
        logp_BT = teacher.taken_BT / self.temperature - teacher.lse_BT
        logq_BT = student.logp_taken_BT
        if self.temperature != 1:
            softened_BTV = F.tempered(student.logits_BTV.detach(), self.temperature)
            logq_BT = F.log_probs_of(softened_BTV, batch.tokens_BT)
        odds_BT = F.prefix_log_odds(logp_BT, logq_BT, batch.mask_BT, student_share=self.beta)
        return odds_BT.detach()
