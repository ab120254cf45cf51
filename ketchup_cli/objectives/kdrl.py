"""KDRL: group-relative policy gradient of a reward, and the reverse KL to a teacher.

    A_i = (r_i - mean r) / std r          over the samples of one prompt
    L_t = -min(rho_t A_i, clip(rho_t, 1 - epsilon, 1 + epsilon_high) A_i) + beta_u m_i D_t
    R_t = log p(a_t|s_t) - log pi(a_t|s_t)

D_t is an estimate of KL(pi || p) from the token drawn, `estimator`: half of R^2 (k2), whose expected
gradient is that of the divergence; e^R - R - 1 (k3), whose expected gradient is that of the forward
KL(p || pi) instead; k3 times the ratio, which has the reverse one again; the divergence itself
(exact); or none in the loss and beta R_t in the advantage (reward), which is the same in expectation.
-R alone in the loss has an expected gradient of 0 and is not offered. beta_u falls linearly with the
update u. The mask m leaves the teacher out where a completion is right, or where any of its prompt is.
The loss is a mean over all tokens, masked ones too: a mask does not change what the others count.

Other methods are the same sum with other weights, `mixer`, with d_t = R_t:

    kdrl A + beta m d        hdpo A + beta d where all are wrong        srpo c A + (1 - c) d
    opd-then-rl d, after `switch` updates A        rlsd A ((1 - s) + s clip(e^{sgn(A) d}, 1 - e, 1 + e))
    grpo A        kd d, and no reward

Source: KDRL, 2025, arXiv 2506.02208, eq. 8. Differs: |R| goes on as a tangent beyond `clip`, which is
counted; no epsilon beside a deviation. The weights of the other mixers are those of a comparison of
them, not of their papers' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, given, teacher_of
from ketchup_cli.signals import Inputs, Needs, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kdrl(Objective):
    """Reward and teacher in one advantage, or as two terms of one loss.

    Metrics: `return`, what a completion earned (for kd, the sum of R_t); `uneven`, the share
    of completions whose group has something to compare; `advantage`; `taught`, the share the teacher
    corrects; `teacher_reward` R_t; `clipped`, the share of tokens with |R_t| beyond `clip`;
    `reverse_kl`, the divergence itself, whatever the estimate; `ratio`; `entropy`.
    """

    mixer: Literal["kdrl", "hdpo", "srpo", "opd-then-rl", "rlsd", "grpo", "kd"] = "kdrl"
    """How reward and teacher become one."""
    estimator: Literal["k2", "k3", "k3-ratio", "exact", "reward"] = "k2"
    """How the divergence from the teacher enters; rlsd takes none."""
    mask: Literal["none", "response", "group"] = "none"
    """Whom the teacher corrects in kdrl: all, wrong completions, or those of prompts without a right
    one."""
    coefficient: float = 5e-3
    """beta at the first update, of kdrl and hdpo."""
    decay: float = 5e-5
    """How much beta falls an update."""
    floor: float = 0.2
    """Share of the first beta that it keeps, 0 to 1."""
    clip: float = 10.0
    """Magnitude of R beyond which its pull grows no more (nats); 0 is none, for k3 then 20."""
    spread: Literal["deviation", "none"] = "deviation"
    """Whether rewards are divided by the standard deviation of their group (G - 1 below)."""
    epsilon: float = 0.2
    """How far the ratio may fall before it earns no more, 0 to 1; 0 clips nothing."""
    epsilon_high: float = 0.2
    """How far it may rise."""
    switch: int = 60
    """Updates of the teacher alone in opd-then-rl."""
    share: float = 0.5
    """How much of the advantage the teacher modulates in rlsd, 0 to 1."""
    modulation: float = 0.2
    """How far rlsd's factor may be from 1, 0 to 1."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {
            "updates": 200,
            "dropout": 0.0,
            "checkpoint_every": 25,
            "optimizer": {"learning_rate": 5e-5, "warmup": 10},
            "rollout": {"prompts": 24, "samples": 8, "unfinished": "terminal"},
            "validation": {"every": 25},
        },
    }
    fits: ClassVar[Mapping[str, str]] = {
        "stats": "exact for every estimator but exact",
        "dense": "exact",
    }

    def __post_init__(self) -> None:
        for name in ("coefficient", "decay", "clip"):
            check_range(name, getattr(self, name), low=0.0)
        for name in ("floor", "epsilon", "share", "modulation"):
            check_range(name, getattr(self, name), low=0.0, high=1.0)
        check_range("epsilon_high", self.epsilon_high, low=0.0)
        check_range("switch", self.switch, low=0)

    @property
    def _exact(self) -> bool:
        return self.estimator == "exact" and self.mixer not in {"grpo", "rlsd"}

    @property
    def needs(self) -> Needs:
        """Return the student's completions, their rewards, and what of the teacher is read."""
        reward = self.mixer != "kd"
        if self.mixer == "grpo":
            return Needs(prefixes=("student",), reward=reward)
        if self._exact:
            return Needs(prefixes=("student",), reward=reward, teacher="dense")
        return Needs(prefixes=("student",), reward=reward, teacher="stats", student_expected=True)

    def coefficient_at(self, update: int) -> float:
        """Return beta at an update: a function of its number alone, so that a run can resume."""
        floor = self.floor * self.coefficient
        return F.linear_decay(update, start=self.coefficient, step=self.decay, floor=floor)

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the loss of every token."""
        behaviour_BT = given(inputs.batch.behaviour_logp_BT, "behaviour_logp_BT")
        logp_BT, exact_BT = self._log_probs(inputs)
        own_B, metrics = self._own(inputs)
        adv_BT, beside_BT = own_B[:, None].expand_as(logp_BT), None
        if self.mixer != "grpo":
            d_BT, told = self._told(inputs, exact_BT)
            metrics |= told
            if self.mixer == "rlsd":
                adv_BT = F.modulated(own_B, d_BT, share=self.share, epsilon=self.modulation)
            else:
                w_B, u_B = self._weights(inputs)
                metrics["taught"] = (u_B > 0).to(u_B.dtype)
                adv_BT = (w_B * own_B)[:, None].expand_as(logp_BT)
                if self.estimator == "reward":
                    adv_BT = adv_BT + u_B[:, None] * F.clip(d_BT, self.clip)
                else:
                    found_BT = self._divergence(inputs, logp_BT) if exact_BT is None else exact_BT
                    beside_BT = u_B[:, None] * found_BT
        loss_BT = F.clipped_surrogate(
            logp_BT, behaviour_BT, adv_BT, epsilon=self.epsilon, epsilon_high=self.epsilon_high
        )
        metrics |= {
            "advantage": adv_BT.detach(),
            "ratio": F.importance_ratio(logp_BT, behaviour_BT),
            "entropy": F.entropy(inputs.student.logits_BTV.detach()),
        }
        return TokenLoss(
            loss_BT=loss_BT if beside_BT is None else loss_BT + beside_BT, metrics=metrics
        )

    def _log_probs(self, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
        """Return the log-probability of every token, and the divergence itself where it is asked."""
        if not self._exact:
            return inputs.student.logp_taken_BT, None
        # from the same sweep: both parts then have one gradient
        kl_BT, logp_BT = F.at_steps(
            F.reverse_kl,
            given(teacher_of(inputs).dense, "teacher.dense"),
            inputs.student.logits_BTV,
            inputs.batch.mask_BT,
            tokens_BT=inputs.batch.tokens_BT,
        )
        return logp_BT, kl_BT

    def _own(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the advantage each completion has by its reward, and what is told of rewards."""
        batch = inputs.batch
        if self.mixer == "kd":
            return F.row_means(inputs.student.logp_taken_BT.detach(), batch.mask_BT) * 0, {}
        reward_B = given(batch.reward_B, "reward_B").detach()
        group_B = given(batch.group_B, "group_B")
        own_B = F.group_advantages(reward_B, group_B, spread=self.spread)
        return own_B, {
            "return": reward_B,
            "uneven": (own_B != 0).to(own_B.dtype),
        }

    def _told(self, inputs: Inputs, exact_BT: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return R of every token, and what is told of the teacher."""
        d_BT = self._teacher_logp(inputs) - inputs.student.logp_taken_BT.detach()
        metrics = {"teacher_reward": d_BT}
        if self.clip > 0:
            metrics["clipped"] = (d_BT.abs() > self.clip).to(d_BT.dtype)
        if self.mixer == "kd":
            metrics["return"] = F.zero_padding(d_BT, inputs.batch.mask_BT).sum(dim=1)
        if exact_BT is not None:
            return d_BT, {**metrics, "reverse_kl": exact_BT.detach()}
        teacher = teacher_of(inputs)
        expected_BT = given(teacher.student_expected_BT, "teacher.student_expected_BT")
        entropy_BT = F.entropy(inputs.student.logits_BTV.detach())
        return d_BT, {**metrics, "reverse_kl": (teacher.lse_BT - expected_BT - entropy_BT).detach()}

    def _teacher_logp(self, inputs: Inputs) -> Tensor:
        teacher = teacher_of(inputs)
        return (teacher.taken_BT - teacher.lse_BT).detach()

    def _weights(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return what reward and teacher count in every completion."""
        group_B = given(inputs.batch.group_B, "group_B")
        # kd asks nobody what is right
        judged = inputs.batch.correct_B if self.needs.reward else self._own(inputs)[0]
        return F.mixed_weights(
            self.mixer,
            given(judged, "correct_B").detach(),
            group_B,
            coefficient=self.coefficient_at(inputs.update),
            mask=self.mask,
            teaching=inputs.update < self.switch,
        )

    def _divergence(self, inputs: Inputs, logp_BT: Tensor) -> Tensor:
        """Return the estimate of the divergence at every token, with its gradient."""
        kind: F.Estimator = "k2" if self.estimator == "k2" else "k3"
        found_BT = F.sampled_kl(logp_BT, self._teacher_logp(inputs), kind=kind, limit=self.clip)
        if self.estimator != "k3-ratio":
            return found_BT
        behaviour_BT = given(inputs.batch.behaviour_logp_BT, "behaviour_logp_BT")
        return F.tangent_exp(logp_BT - behaviour_BT.detach()) * found_BT
