"""DPH-RL: a reward for what is open, rehearsal of stored samples for what is known.

    L = L_explore + eta L_rehearse
    L_explore   -min(rho_t A_i, clip(rho_t, 1 - epsilon, 1 + epsilon_high) A_i),  no divergence, on the
                student's own samples for prompts that a reference did not know already
    L_rehearse  f(pi(a_t|s_t) / ref(a_t|s_t)) on right samples of the reference for the prompts it knew

The reference is the model that `ketchup rollout` sampled; of it the log-probability of every stored
token is left, and no model is in memory. `rehearsal.threshold` parts the prompts by the share of right
samples. f is that of the forward KL(ref || pi), of twice the Jensen-Shannon divergence, of an alpha
divergence between the two KL, or of the reverse KL(pi || ref). Each is an expectation over the reference's
tokens at the reference's prefixes, with the gradient of the divergence it is named after: e^R - R - 1 on the
student's samples, which is often called a reverse KL, has the gradient of the forward one. The reverse
KL on the student's own samples is `kdrl` with the reference as its teacher.

Each of both losses is a mean over its own tokens, so eta does not depend on how many completions stand on
either side. `prefixes=rehearsal` rehearses alone.

Source: DPH-RL, 2025, arXiv 2509.07430. Differs: nothing is clamped, which in the released code ends the
gradient where most was forgotten; the two losses are weighed by eta alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, given
from ketchup_cli.signals import Inputs, Needs, Prefixes, TokenLoss


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DphRl(Objective):
    """GRPO on what is not known yet, a divergence from stored samples on what is.

    Metrics of the student's samples: `return`, what each earned; `uneven`, the share whose group has
    something to compare; `advantage`; `ratio`; `entropy`. Of the stored ones: `divergence`, before eta;
    `forgotten`, log ref - log pi of the token.
    """

    divergence: Literal["forward", "js", "alpha", "reverse"] = "forward"
    """What is rehearsed by."""
    coefficient: float = 0.05
    """eta, what rehearsal counts beside the reward; 0 rehearses nothing."""
    alpha: float = 0.2
    """Of the alpha divergence: 0 is the reverse KL, 1 the forward."""
    spread: Literal["deviation", "none"] = "deviation"
    """Whether rewards are divided by the standard deviation of their group (G - 1 below)."""
    epsilon: float = 0.2
    """How far the ratio may fall before it earns no more, 0 to 1; 0 clips nothing."""
    epsilon_high: float = 0.28
    """How far it may rise."""

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

    def __post_init__(self) -> None:
        for name in ("alpha", "epsilon"):
            check_range(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("coefficient", "epsilon_high"):
            check_range(name, getattr(self, name), low=0.0)

    @property
    def needs(self) -> Needs:
        """Return rewarded completions of the student, or stored ones with their log-probabilities."""
        return Needs(prefixes=("student", "rehearsal"), reward=True)

    @property
    def shares(self) -> Mapping[Prefixes, float]:
        """Return both sides, without the second where nothing is rehearsed."""
        both: dict[Prefixes, float] = {"student": 1.0, "rehearsal": float(self.coefficient > 0)}
        return both

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the loss of every token, by who wrote the completions."""
        if inputs.batch.source == "rehearsal":
            return self._rehearse(inputs)
        return self._explore(inputs)

    def _explore(self, inputs: Inputs) -> TokenLoss:
        batch, logp_BT = inputs.batch, inputs.student.logp_taken_BT
        reward_B = given(batch.reward_B, "reward_B").detach()
        own_B = F.group_advantages(reward_B, given(batch.group_B, "group_B"), spread=self.spread)
        adv_BT = own_B[:, None].expand_as(logp_BT)
        behaviour_BT = given(batch.behaviour_logp_BT, "behaviour_logp_BT")
        loss_BT = F.clipped_surrogate(
            logp_BT, behaviour_BT, adv_BT, epsilon=self.epsilon, epsilon_high=self.epsilon_high
        )
        metrics = {
            "return": reward_B,
            "uneven": (own_B != 0).to(own_B.dtype),
            "advantage": adv_BT,
            "ratio": F.importance_ratio(logp_BT, behaviour_BT),
            "entropy": F.entropy(inputs.student.logits_BTV.detach()),
        }
        return TokenLoss(loss_BT=loss_BT, metrics=metrics)

    def _rehearse(self, inputs: Inputs) -> TokenLoss:
        logp_BT = inputs.student.logp_taken_BT
        reference_BT = given(inputs.batch.behaviour_logp_BT, "behaviour_logp_BT")
        found_BT = F.rehearsal_divergence(
            logp_BT, reference_BT, kind=self.divergence, alpha=self.alpha
        )
        metrics = {
            "divergence": found_BT.detach(),
            "forgotten": (reference_BT - logp_BT).detach(),
        }
        return TokenLoss(loss_BT=self.coefficient * found_BT, metrics=metrics)
