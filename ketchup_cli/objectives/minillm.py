"""MiniLLM: policy gradient of the reverse KL between whole texts, one step of it exact.

With r_t = log p(a_t|s_t) - log pi(a_t|s_t) and R_t = r_t + r_{t+1} + ..., the gradient of
KL(pi || p) over texts comes in two parts, the next token's summed over the vocabulary and only
what follows it left to the sample:

    L_t = w_t KL(pi(.|s_t) || p(.|s_t)) - clipped[rho_t R_{t+1}],   rho_t = pi(a_t|s_t) / b(a_t|s_t)

b is the distribution the token was drawn from: the student's, or its mixture with the teacher's
(`rollout.teacher_share`), which keeps the student from texts that the teacher only seems to like.
w_t is rho_t without a gradient. The clip is PPO's, for completions used more than once. R_{t+1} is
divided by the number of tokens it sums over, lest short texts be preferred; with `lengths=summed`,
no discount and the student's own samples the expected gradient is exactly that of KL(pi || p).

Source: Gu et al. 2024, arXiv 2306.08543. Differs: R_{t+1} is divided by its T - t terms, where the
paper prints T - t - 1; rewards are those of the student as it is, not as it was when it sampled. The
paper's term on plain text is a mix with `nll`. Of the released code, its discount (0.95), its
single-step part without w_t and its whitening of returns over the batch can be set; it whitens with
the padding and with the reward of the step itself in the return, which is not done here.
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
class MiniLlm(Objective):
    """Sequence-level reverse KL as a single-step part and a long part.

    Metrics: `reward` r_t; `return`, its sum over a completion, minus an estimate of the divergence;
    `future`, the R_{t+1} of the long part, not whitened; `reverse_kl` of the single-step part; `ratio`
    rho_t; `entropy`.
    """

    part: Literal["both", "single", "long"] = "both"
    """single is the next token alone, the reverse KL at every step; long what follows it alone."""
    single: Literal["weighted", "plain"] = "weighted"
    """weighted multiplies the single-step part by w_t as the paper does; plain does not, like its
    released code."""
    lengths: Literal["normalised", "summed"] = "normalised"
    """normalised divides what follows by the number of its tokens; summed does not."""
    discount: float = 1.0
    """A token further off counts that much less, 0 to 1; 1 is the paper's."""
    returns: Literal["plain", "whitened"] = "plain"
    """whitened gives what follows mean 0 and variance 1 over the tokens of a batch, like the released
    code; the paper does not."""
    epsilon: float = 0.2
    """How far the ratio may move before it earns no more, 0 to 1; 0 clips nothing."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {
            "updates": 400,
            "dropout": 0.0,
            "checkpoint_every": 50,
            "optimizer": {"learning_rate": 5e-5, "warmup": 20},
            "rollout": {"prompts": 48, "samples": 4, "teacher_share": 0.2},
            "validation": {"every": 50},
        },
        "paper": {
            "dropout": 0.0,
            "optimizer": {
                "learning_rate": 5e-6,
                "warmup": 100,
                "schedule": "constant",
                "betas": (0.9, 0.95),
                "weight_decay": 1e-6,
            },
            "rollout": {"prompts": 256, "samples": 1, "reuse": 4, "teacher_share": 0.2},
            "validation": {"metric": "rougeL"},
        },
    }
    fits: ClassVar[Mapping[str, str]] = {
        "stats": "exact for part=long",
        "dense": "exact",
    }

    def __post_init__(self) -> None:
        check_range("discount", self.discount, low=0.0, high=1.0)
        check_range("epsilon", self.epsilon, low=0.0, high=1.0)

    @property
    def needs(self) -> Needs:
        """Return the student's completions and the teacher's logits on them."""
        return Needs(prefixes=("student",), teacher="stats" if self.part == "long" else "dense")

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the loss of every token: single-step part, long part, or both."""
        batch, logp_BT = inputs.batch, inputs.student.logp_taken_BT
        teacher = teacher_of(inputs)
        behaviour_BT = given(batch.behaviour_logp_BT, "behaviour_logp_BT")
        if self.part != "long":
            # log-probabilities from the same sweep: both parts then have one gradient
            single_BT, logp_BT = self._reverse_kl(inputs)
        ratio_BT = F.importance_ratio(logp_BT, behaviour_BT)
        reward_BT = (teacher.taken_BT - teacher.lse_BT - logp_BT).detach()
        metrics = {
            "reward": reward_BT,
            "return": F.zero_padding(reward_BT, batch.mask_BT).sum(dim=1),
            "entropy": F.entropy(inputs.student.logits_BTV.detach()),
            "ratio": ratio_BT,
        }
        parts = []
        if self.part != "long":
            metrics["reverse_kl"] = single_BT.detach()
            parts.append(single_BT * ratio_BT if self.single == "weighted" else single_BT)
        if self.part != "single":
            weight_BT = metrics["future"] = self._future(reward_BT, batch.mask_BT)
            if self.returns == "whitened":
                weight_BT = F.whiten(weight_BT, batch.mask_BT)
            parts.append(
                F.clipped_surrogate(logp_BT, behaviour_BT, weight_BT, epsilon=self.epsilon)
            )
        return TokenLoss(loss_BT=sum(parts[1:], start=parts[0]), metrics=metrics)

    def _reverse_kl(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Return the reverse KL of every step and the log-probability of its token."""
        batch, rows = inputs.batch, given(teacher_of(inputs).dense, "teacher.dense")
        return F.at_steps(
            F.reverse_kl,
            rows,
            inputs.student.logits_BTV,
            batch.mask_BT,
            tokens_BT=batch.tokens_BT,
        )

    def _future(self, reward_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return what the tokens after each step earn, R_{t+1}; 0 at the last."""
        total = F.discounted_means if self.lengths == "normalised" else F.discounted_returns
        return F.of_next_step(total(reward_BT, mask_BT, discount=self.discount), mask_BT)
