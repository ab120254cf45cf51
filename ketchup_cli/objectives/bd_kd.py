"""Balanced divergences online: teacher and student learn, weighed by a gate of entropies.

    student   a CE(y_t, pi) + b tau^2 [nu_t KL(sg[p] || pi) + delta_t KL(pi || sg[p])]
    teacher   CE(y_t, p) + c tau^2 KL(sg[pi] || p)
    gate      nu, delta from H(pi) - H(p) at temperature 1, without a gradient

Where the student is flatter than the teacher the reverse divergence counts w times, which sharpens;
where it is sharper, the forward one, which spreads. No gradient crosses from one model's loss to
the other model. The teacher is trained whole, or through a small part of it. Calibration is told
for both models as `ece` and `teacher_ece` of the first, the last and the kept validation; `ketchup
score --calibration` tells it by the frequency of tokens.

Source: Amara et al. 2022, arXiv 2212.12965, for image classifiers: both divergences weighed sample
by sample by the gap of the entropies, the reverse divergence as a regulariser of the teacher.
Reconstructed: the gate's side, its weights and the other constants; the step from images to tokens
is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, given, teacher_of
from ketchup_cli.signals import Inputs, Needs, TeacherPart, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor

_RANKS: Mapping[str, int] = {"lora": 8, "head": 64, "full": 0}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BdKd(Objective):
    """Forward and reverse KL, weighed by who is surer, between two models that both learn."""

    nll: float = 1.0
    """Weight of the student's negative log-likelihood, a."""
    student_weight: float = 1.0
    """Weight of the balanced divergence in the student's loss, b."""
    teacher_weight: float = 1.0
    """Weight of the divergence in the teacher's loss, c."""
    emphasis: float = 2.0
    """Weight w of the divergence the gate chooses, the other having 1; 1 weighs both alike."""
    gate: Literal["hard", "sigmoid"] = "hard"
    """Whether the emphasis jumps where the entropies are equal, or slides."""
    steepness: float = 1.0
    """How fast the sigmoid slides, per nat of the entropies' gap."""
    temperature: float = 1.0
    """Both sets of logits are divided by it in the divergences, which are multiplied by its square."""
    module: Literal["lora", "head", "full"] = "lora"
    """What of the teacher is trained: low-rank matrices in its attention, a small network beside its
    output layer, or all of it."""
    rank: int = 0
    """Rank of the matrices, or width of the network; 0 takes 8 or 64."""
    teacher_rate: float = 0.2
    """Learning rate of the teacher, in parts of the student's; 0 leaves it as it is."""

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact, from a live teacher",
        "hidden": "exact for `module = head`; no other part can be trained behind kept states",
    }

    def __post_init__(self) -> None:
        names = ("nll", "student_weight", "teacher_weight", "emphasis", "steepness", "rank")
        for name in (*names, "teacher_rate"):
            check_range(name, getattr(self, name), low=0.0)
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return a teacher that can be trained, on references."""
        return Needs(prefixes=("data",), trainable_teacher=True)

    @property
    def teacher_part(self) -> TeacherPart:
        """Return what is trained, its size and its learning rate."""
        rank = self.rank or _RANKS[self.module]
        return TeacherPart(kind=self.module, rank=rank, rate=self.teacher_rate)

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the losses of both models, in one number for every token."""
        batch, student = inputs.batch, inputs.student
        own_BTV = given(teacher_of(inputs).own_BTV, "teacher.own_BTV")
        nll_BT = -student.logp_taken_BT
        teacher_nll_BT = -F.log_probs_of(own_BTV, batch.tokens_BT)
        both_BT, balanced_BT, teacher_BT, gap_BT = F.at_pairs(
            self._divergences, own_BTV, student.logits_BTV, batch.mask_BT
        )
        flatter_BT = (gap_BT >= 0).to(gap_BT.dtype)
        return TokenLoss(
            loss_BT=self.nll * nll_BT + teacher_nll_BT + both_BT,
            metrics={
                "nll": nll_BT.detach(),
                "balanced": balanced_BT,
                "teacher_nll": teacher_nll_BT.detach(),
                "teacher_divergence": teacher_BT,
                "entropy_gap": gap_BT,
                "student_flatter": flatter_BT,
            },
        )

    def _divergences(self, p_logits_BTV: Tensor, q_logits_BTV: Tensor) -> tuple[Tensor, ...]:
        """Return the weighted sum, which has the gradients, both divergences, and the gap."""
        balanced_BT, gap_BT = F.balanced(
            p_logits_BTV.detach(),
            q_logits_BTV,
            emphasis=self.emphasis,
            gate=self.gate,
            steepness=self.steepness,
            temperature=self.temperature,
        )
        teacher_BT = F.reverse_kl(p_logits_BTV, q_logits_BTV.detach(), temperature=self.temperature)
        square = self.temperature**2
        total_BT = square * (self.student_weight * balanced_BT + self.teacher_weight * teacher_BT)
        return total_BT, balanced_BT, teacher_BT, gap_BT
