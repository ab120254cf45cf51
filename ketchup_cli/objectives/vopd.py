"""vOPD: sampled reverse KL at every token, less the exact divergence as a control variate.

    A_t = log p(a_t|s_t) - log pi(a_t|s_t) + KL(pi(.|s_t) || p(.|s_t))
    L_t = -stop_gradient(A_t) log pi(a_t|s_t)

A token earns what the teacher thinks of it against what the student does; what it is expected to
earn in that state is minus the reverse KL, known in closed form, and is taken off. No later token
counts. In expectation the gradient is that of the reverse KL at every step on the student's own
completions, with or without the control variate. Its weights are the smallest a baseline of the
state can leave, in mean square; the gradient's covariance mostly falls with them, though not for
every student: there the best baseline weighs tokens by the size of their gradients.

The whole control variate costs no second look at the teacher: it is put together from statistics
that are kept anyway, E_pi[f] - lse, and the student's entropy. Over the student's likeliest tokens
alone it takes all logits of the teacher.

Source: Oh et al. 2026, arXiv 2605.07865. Of its top-k form only this is taken over, that the terms
of the student's k likeliest tokens stand for the sum; they are not scaled up here. Any control
variate of the state leaves the expected gradient as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, given, teacher_of
from ketchup_cli.objectives.ketchup import Ketchup
from ketchup_cli.signals import Inputs, Needs, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Vopd(Objective):
    """Policy gradient of the token-level reverse KL with a closed-form control variate.

    Metrics: `reward` log p - log pi of the sampled token; `return`, its sum over a completion;
    `advantage`, the weight before clipping; `reverse_kl`, the control variate with its sign turned;
    `entropy`; `ratio` where importance weights are on.
    """

    support: Literal["full", "top-k", "none"] = "full"
    """What the control variate sums over: all tokens, the student's likeliest, or none at all, which
    is plain on-policy distillation."""
    kept: int = 32
    """Likeliest tokens of `top-k`; as many as the vocabulary has is `full`."""
    clip: float = 0.0
    """Largest magnitude of a weight; 0 is none."""
    importance: Literal["none", "step"] = "none"
    """step multiplies by pi / behaviour of each token, for rollouts used more than once."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # ancestral samples: the control variate is an expectation under the whole distribution
        "default": {**Ketchup.presets["default"], "rollout": {"prompts": 48, "samples": 4}},
    }
    fits: ClassVar[Mapping[str, str]] = {
        "stats": "exact for support=full and support=none",
        "dense": "exact",
    }

    def __post_init__(self) -> None:
        check_range("kept", self.kept, low=1)
        check_range("clip", self.clip, low=0.0)

    @property
    def needs(self) -> Needs:
        """Return the student's completions and what of the teacher's logits on them is read."""
        return Needs(
            prefixes=("student",),
            teacher="dense" if self.support == "top-k" else "stats",
            student_expected=self.support == "full",
        )

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the policy-gradient loss of every token."""
        teacher, batch = teacher_of(inputs), inputs.batch
        logp_BT = inputs.student.logp_taken_BT
        entropy_BT = F.entropy(inputs.student.logits_BTV.detach())
        reward_BT = (teacher.taken_BT - teacher.lse_BT - logp_BT).detach()
        metrics = {
            "reward": reward_BT,
            "return": F.zero_padding(reward_BT, batch.mask_BT).sum(dim=1),
            "entropy": entropy_BT,
        }
        advantage_BT = reward_BT
        if self.support != "none":
            metrics["reverse_kl"] = self._reverse_kl(inputs, entropy_BT)
            advantage_BT = reward_BT + metrics["reverse_kl"]
        weight_BT = F.clip(advantage_BT, self.clip)
        if self.importance == "step":
            behaviour_BT = given(batch.behaviour_logp_BT, "behaviour_logp_BT")
            metrics["ratio"] = F.importance_ratio(logp_BT, behaviour_BT)
            weight_BT = weight_BT * metrics["ratio"]
        return TokenLoss(
            loss_BT=F.policy_gradient(logp_BT, weight_BT),
            metrics={**metrics, "advantage": advantage_BT},
        )

    def _reverse_kl(self, inputs: Inputs, entropy_BT: Tensor) -> Tensor:
        """Return the divergence KL(pi || p) at every step, or the part of it that is summed."""
        teacher, batch = teacher_of(inputs), inputs.batch
        if self.support == "full":
            expected_BT = given(teacher.student_expected_BT, "teacher.student_expected_BT")
            return (teacher.lse_BT - expected_BT - entropy_BT).detach()
        (found_BT,) = F.at_steps(
            partial(F.likeliest_reverse_kl, k=self.kept),
            given(teacher.dense, "teacher.dense"),
            inputs.student.logits_BTV.detach(),
            batch.mask_BT,
        )
        return found_BT
