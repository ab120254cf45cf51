"""KETCHUP: policy gradient with K-step returns of the reward a teacher induces.

The student writes; the teacher's logits of what it wrote are read as action values q, and a value
v of every state is taken from the same logits. Bellman's equation, applied K steps at a time,
gives the return (see `functional/returns.py`):

    g_t = q_t - v_{t+K} + g_{t+K}
    L_t = -[(g_t - b_t) / scale] log pi(a_t|s_t) - entropy * H(pi(.|s_t))

K = 1 is LLMR. A larger K keeps one later term in K: less variance, less pressure to stop early,
some bias. For K beyond the end each token earns its own q only, and with entropy 1 the gradient
is that of the reverse KL at every step.

With `immediate = "exact"` the part a token earns by itself is summed over all tokens, and only what
later tokens add to it, F_t = g_t - q_t, is left to the sample:

    L_t = -sum_a pi(a|s_t) [q(s_t, a) / scale] - [(F_t - b_t) / scale] log pi(a_t|s_t) - entropy * H

The same gradient in expectation; for K beyond the end nothing of it depends on the tokens drawn but
the states they lead to. Its variance is lower for a large K, and mostly for a small one; not always
for K = 1, where a token's own part may happen to cancel some of the noise of what follows.

Source: Fan et al. 2025, arXiv 2504.19024. Differs by default: the softmax value, the student's own
expectation as baseline, weights of unit size. The exact form is ours. The presets `paper` and `released` give the paper's
settings and those of its released code. Two things that code does are not offered, for they change
what is optimised: the weight by the bare probability of the token (no behaviour policy below it),
and greedy rollouts made random by dropout alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, given, teacher_of
from ketchup_cli.signals import Batch, Inputs, Needs, TeacherSignal, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor

_ROLLOUTS: Mapping[str, Any] = {
    "updates": 120,
    "dropout": 0.0,
    "checkpoint_every": 20,
    "optimizer": {"learning_rate": 2e-4, "warmup": 10},
    "rollout": {"prompts": 48, "samples": 4, "top_k": 2},
    "validation": {"every": 20},
}

_PUBLISHED: Mapping[str, Any] = {
    "dropout": 0.0,
    "optimizer": {
        "learning_rate": 1e-5,
        "warmup": 0,
        "schedule": "linear",
        "floor": 0.0,
        "betas": (0.9, 0.999),
        "max_norm": 0.0,
    },
    "rollout": {"prompts": 8, "samples": 1},
    "validation": {"every": 8},
}

_PLAIN: Mapping[str, Any] = {
    "value": "max",
    "form": "q",
    "baseline": "none",
    "normalise": "none",
    "clip": 100.0,
    "clip_stage": "return",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReturn(Objective):
    """Policy gradient whose return only the subclass knows.

    Invariant: every baseline but `batch` leaves the expected gradient as it is, and so does the
    exact form; clipping does not.

    Metrics: `reward` r_t; `return`, the sum of q_t - v_t over a completion; `k_step_advantage`, the
    K-step return less the value of its state; `advantage`, the weight of the sampled token (in the
    exact form, the one it would have) before scale, normalisation and clipping of it; `entropy`;
    `future`, F_t less its baseline, in the exact form; `ratio` where importance weights are on.
    """

    immediate: Literal["sampled", "exact"] = "sampled"
    """How the gradient of a token's own q is found: from the token drawn, or summed over all tokens,
    which takes all logits of the teacher."""

    value: Literal["max", "softmax", "lse"] = "softmax"
    """Value of a state: the largest teacher logit, its expectation, or the log-sum-exp."""
    form: Literal["q", "adv"] = "adv"
    """Weight: the return itself, or the return less the value of its own state."""
    baseline: Literal["none", "batch", "step", "leave-one-out", "teacher-mean", "expected"] = (
        "expected"
    )
    """Taken off the weight: nothing, the batch's mean, the mean of its other completions at that
    step, the mean of the prompt's other samples at that step, or what teacher or student expect of
    q in that state. In the exact form the weight is that of the future, and the last two take
    nothing off it: they know q, which is not sampled there."""
    normalise: Literal["none", "rms"] = "rms"
    """rms divides the weights of a batch by their root mean square."""
    scale: float = 1.0
    """Weights are divided by it, before normalisation."""
    clip: float = 5.0
    """Largest magnitude at `clip_stage`; 0 is none. What is summed over all tokens is not clipped."""
    clip_stage: Literal["return", "advantage", "product"] = "advantage"
    """What is clipped: the weight before the baseline, after all of it, or times the ratio."""
    entropy: float = 0.0
    """Coefficient of the bonus for the entropy of the student's distribution."""
    importance: Literal["none", "step"] = "none"
    """step multiplies by pi / behaviour of each token, for rollouts used more than once."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": _ROLLOUTS}
    fits: ClassVar[Mapping[str, str]] = {
        "stats": "exact for immediate=sampled",
        "dense": "exact",
    }

    def __post_init__(self) -> None:
        check_range("scale", self.scale, low=1e-6)
        check_range("clip", self.clip, low=0.0)
        check_range("entropy", self.entropy, low=0.0)

    @property
    def needs(self) -> Needs:
        """Return the student's completions and what of the teacher's logits on them is read."""
        if self.immediate == "exact":
            return Needs(prefixes=("student",), teacher="dense")
        return Needs(
            prefixes=("student",),
            teacher="stats",
            student_expected=self.baseline == "expected",
        )

    @abstractmethod
    def advantages(self, q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the return at every step, less the value of its own state."""

    @abstractmethod
    def futures(self, q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the return at every step, less what the step's own token earns."""

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the policy-gradient loss of every token: returns, advantages, gradient."""
        teacher, mask_BT = teacher_of(inputs), inputs.batch.mask_BT
        q_BT, v_BT = teacher.taken_BT.detach(), self._value(teacher).detach()
        learn = self._exact if self.immediate == "exact" else self._sampled
        loss_BT, metrics = learn(q_BT, v_BT, inputs)
        loss_BT, entropy_BT = self._with_entropy(loss_BT, inputs.student.logits_BTV)
        metrics |= {
            "reward": F.induced_rewards(q_BT, v_BT, mask_BT),
            "return": F.zero_padding(q_BT - v_BT, mask_BT).sum(dim=1),
            "k_step_advantage": self.advantages(q_BT, v_BT, mask_BT),
            "entropy": entropy_BT,
        }
        return TokenLoss(loss_BT=loss_BT, metrics=metrics)

    def _value(self, teacher: TeacherSignal) -> Tensor:
        if self.value == "max":
            return teacher.best_BT
        return teacher.expected_BT if self.value == "softmax" else teacher.lse_BT

    def _sampled(
        self, q_BT: Tensor, v_BT: Tensor, inputs: Inputs
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return REINFORCE's loss with the whole return as weight, and its metrics."""
        batch = inputs.batch
        own_BT = self.advantages(q_BT, v_BT, batch.mask_BT)
        w_BT = own_BT if self.form == "adv" else own_BT + v_BT
        w_BT = self._less_baseline(w_BT, batch)
        if self.baseline in {"teacher-mean", "expected"}:
            expected_BT = self._expected(teacher_of(inputs))
            w_BT = w_BT - (expected_BT - v_BT if self.form == "adv" else expected_BT)
        advantage_BT = F.zero_padding(w_BT, batch.mask_BT)
        weight_BT, metrics = self._limited(advantage_BT / self._unit(advantage_BT, batch), inputs)
        loss_BT = F.policy_gradient(inputs.student.logp_taken_BT, weight_BT)
        return loss_BT, {"advantage": advantage_BT, **metrics}

    def _exact(
        self, q_BT: Tensor, v_BT: Tensor, inputs: Inputs
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss with what a token itself earns summed over all tokens, and its metrics."""
        batch = inputs.batch
        rows = given(teacher_of(inputs).dense, "teacher.dense")
        # log-probabilities from the same sweep: both parts then have one gradient
        expected_BT, logp_BT = F.at_steps(
            F.expected_logit,
            rows,
            inputs.student.logits_BTV,
            batch.mask_BT,
            tokens_BT=batch.tokens_BT,
        )
        future_BT = self._less_baseline(self.futures(q_BT, v_BT, batch.mask_BT), batch)
        future_BT = F.zero_padding(future_BT, batch.mask_BT)
        advantage_BT = F.zero_padding(q_BT - expected_BT.detach(), batch.mask_BT) + future_BT
        unit = self._unit(advantage_BT, batch)
        weight_BT, metrics = self._limited(future_BT / unit, inputs)
        # less the value: the loss then has the size of an advantage, whatever the logits' offset
        immediate_BT = F.zero_padding(expected_BT - v_BT, batch.mask_BT) / unit
        loss_BT = F.policy_gradient(logp_BT, weight_BT) - immediate_BT
        return loss_BT, {"advantage": advantage_BT, "future": future_BT, **metrics}

    def _less_baseline(self, w_BT: Tensor, batch: Batch) -> Tensor:
        """Return the weight, clipped if it is time, less a baseline that other samples give."""
        if self.clip_stage == "return":
            w_BT = F.clip(w_BT, self.clip)
        if self.baseline == "batch":
            return w_BT - F.batch_mean(w_BT, batch.mask_BT)
        if self.baseline == "step":
            return w_BT - F.step_mean(w_BT, batch.mask_BT)
        if self.baseline == "leave-one-out":
            return w_BT - F.leave_one_out(w_BT, batch.mask_BT, given(batch.group_B, "group_B"))
        return w_BT

    def _expected(self, teacher: TeacherSignal) -> Tensor:
        """Return what the teacher, or the student, expects of q in every state."""
        if self.baseline == "teacher-mean":
            return teacher.expected_BT.detach()
        return given(teacher.student_expected_BT, "teacher.student_expected_BT").detach()

    def _unit(self, advantage_BT: Tensor, batch: Batch) -> Tensor | float:
        """Return what weights are divided by: their own size, in which a scale would cancel."""
        if self.normalise == "rms":
            return F.root_mean_square(advantage_BT, batch.mask_BT)
        return self.scale

    def _limited(self, w_BT: Tensor, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weight of every log-probability, and the importance ratio as a metric."""
        if self.clip_stage == "advantage":
            w_BT = F.clip(w_BT, self.clip)
        ratio: dict[str, Tensor] = {}
        if self.importance == "step":
            behaviour_BT = given(inputs.batch.behaviour_logp_BT, "behaviour_logp_BT")
            ratio["ratio"] = F.importance_ratio(inputs.student.logp_taken_BT, behaviour_BT)
            w_BT = w_BT * ratio["ratio"]
        return F.clip(w_BT, self.clip) if self.clip_stage == "product" else w_BT, ratio

    def _with_entropy(self, loss_BT: Tensor, logits_BTV: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss less the entropy bonus, and the entropy."""
        if self.entropy == 0:
            return loss_BT, F.entropy(logits_BTV.detach())
        entropy_BT = F.entropy(logits_BTV)
        return loss_BT - self.entropy * entropy_BT, entropy_BT.detach()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ketchup(StepReturn):
    """Policy gradient with K-step returns."""

    k: int = 4
    """Steps between bootstraps; 1 is LLMR."""
    ending: Literal["paper", "released"] = "paper"
    """paper stops at the last token; released adds the last token's advantage to every step."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": _ROLLOUTS,
        "paper": {**_PUBLISHED, "objective": _PLAIN},
        "released": {
            **_PUBLISHED,
            "dropout": 0.1,
            "objective": {**_PLAIN, "ending": "released", "clip": 50.0, "clip_stage": "product"},
        },
    }

    def __post_init__(self) -> None:
        StepReturn.__post_init__(self)
        check_range("k", self.k, low=1)

    def advantages(self, q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the K-step return at every step, less the value of its own state."""
        return F.k_step_advantages(q_BT, v_BT, mask_BT, k=self.k, ending=self.ending)

    def futures(self, q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the K-step return at every step, less what the step's own token earns."""
        return F.k_step_futures(q_BT, v_BT, mask_BT, k=self.k, ending=self.ending)
