"""KETCHUP: policy gradient with K-step returns of the reward a teacher induces.

The student writes; the teacher's logits of what it wrote are read as action values q, and a value
v of every state is taken from the same logits. Bellman's equation, applied K steps at a time,
gives the return (see `functional/returns.py`):

    g_t = q_t - v_{t+K} + g_{t+K}
    L_t = -[(g_t - b_t) / scale] log pi(a_t|s_t) - entropy * H(pi(.|s_t))

K = 1 is LLMR. A larger K keeps one later term in K: less variance, less pressure to stop early,
some bias. For K beyond the end each token earns its own q only, and with entropy 1 the gradient
is that of the reverse KL at every step.

Source: Fan et al. 2025, arXiv 2504.19024. Differs by default: the softmax value, the student's own
expectation as baseline, weights of unit size. The presets `paper` and `released` give the paper's
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
from ketchup_cli.signals import Inputs, Needs, TeacherSignal, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor

_ROLLOUTS: Mapping[str, Any] = {
    "updates": 400,
    "dropout": 0.0,
    "checkpoint_every": 50,
    "optimizer": {"learning_rate": 5e-5, "warmup": 20},
    "rollout": {"prompts": 48, "samples": 4},
    "validation": {"every": 50},
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

    Invariant: every baseline but `batch` leaves the expected gradient as it is; clipping does not.

    Metrics: `reward` r_t; `return`, the sum of q_t - v_t over a completion; `k_step_advantage`, the
    K-step return less the value of its state; `advantage`, the weight before scale, normalisation
    and clipping of it; `entropy`; `ratio` where importance weights are on.
    """

    value: Literal["max", "softmax", "lse"] = "softmax"
    """Value of a state: the largest teacher logit, its expectation, or the log-sum-exp."""
    form: Literal["q", "adv"] = "adv"
    """Weight: the return itself, or the return less the value of its own state."""
    baseline: Literal["none", "batch", "leave-one-out", "teacher-mean", "expected"] = "expected"
    """Taken off the weight: nothing, the batch's mean, the mean of the prompt's other samples at
    that step, or what teacher or student expect of q in that state."""
    normalise: Literal["none", "rms"] = "rms"
    """rms divides the weights of a batch by their root mean square."""
    scale: float = 1.0
    """Weights are divided by it, before normalisation."""
    clip: float = 5.0
    """Largest magnitude at `clip_stage`; 0 is none."""
    clip_stage: Literal["return", "advantage", "product"] = "advantage"
    """What is clipped: the weight before the baseline, after all of it, or times the ratio."""
    entropy: float = 0.0
    """Coefficient of the bonus for the entropy of the student's distribution."""
    importance: Literal["none", "step"] = "none"
    """step multiplies by pi / behaviour of each token, for rollouts used more than once."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": _ROLLOUTS}

    def __post_init__(self) -> None:
        check_range("scale", self.scale, low=1e-6)
        check_range("clip", self.clip, low=0.0)
        check_range("entropy", self.entropy, low=0.0)

    @property
    def needs(self) -> Needs:
        """Return the student's completions and the teacher's statistics on them."""
        return Needs(
            prefixes=("student",),
            teacher="stats",
            student_expected=self.baseline == "expected",
        )

    @abstractmethod
    def advantages(self, q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the return at every step, less the value of its own state."""

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the policy-gradient loss of every token: returns, advantages, gradient."""
        teacher, mask_BT = teacher_of(inputs), inputs.batch.mask_BT
        q_BT, v_BT = teacher.taken_BT.detach(), self._value(teacher).detach()
        own_BT = self.advantages(q_BT, v_BT, mask_BT)
        advantage_BT = self._advantage(own_BT, v_BT, inputs)
        weight_BT, ratio = self._weight(advantage_BT, inputs)
        loss_BT = F.policy_gradient(inputs.student.logp_taken_BT, weight_BT)
        loss_BT, entropy_BT = self._with_entropy(loss_BT, inputs.student.logits_BTV)
        metrics = {
            "reward": F.induced_rewards(q_BT, v_BT, mask_BT),
            "return": F.zero_padding(q_BT - v_BT, mask_BT).sum(dim=1),
            "k_step_advantage": own_BT,
            "advantage": advantage_BT,
            "entropy": entropy_BT,
            **ratio,
        }
        return TokenLoss(loss_BT=loss_BT, metrics=metrics)

    def _value(self, teacher: TeacherSignal) -> Tensor:
        if self.value == "max":
            return teacher.best_BT
        return teacher.expected_BT if self.value == "softmax" else teacher.lse_BT

    def _advantage(self, own_BT: Tensor, v_BT: Tensor, inputs: Inputs) -> Tensor:
        """Return the weight less its baseline; both forms agree where the baseline knows q."""
        batch = inputs.batch
        w_BT = own_BT if self.form == "adv" else own_BT + v_BT
        if self.clip_stage == "return":
            w_BT = F.clip(w_BT, self.clip)
        if self.baseline == "batch":
            w_BT = w_BT - F.batch_mean(w_BT, batch.mask_BT)
        elif self.baseline == "leave-one-out":
            w_BT = w_BT - F.leave_one_out(w_BT, batch.mask_BT, given(batch.group_B, "group_B"))
        elif self.baseline != "none":
            expected_BT = self._expected(teacher_of(inputs))
            w_BT = w_BT - (expected_BT - v_BT if self.form == "adv" else expected_BT)
        return F.zero_padding(w_BT, batch.mask_BT)

    def _expected(self, teacher: TeacherSignal) -> Tensor:
        """Return what the teacher, or the student, expects of q in every state."""
        if self.baseline == "teacher-mean":
            return teacher.expected_BT.detach()
        return given(teacher.student_expected_BT, "teacher.student_expected_BT").detach()

    def _weight(self, advantage_BT: Tensor, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weight of every log-probability, and the importance ratio as a metric."""
        batch = inputs.batch
        w_BT = advantage_BT / self.scale
        if self.normalise == "rms":
            w_BT = F.rms_normalise(w_BT, batch.mask_BT)
        if self.clip_stage == "advantage":
            w_BT = F.clip(w_BT, self.clip)
        ratio: dict[str, Tensor] = {}
        if self.importance == "step":
            behaviour_BT = given(batch.behaviour_logp_BT, "behaviour_logp_BT")
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
