"""Online distillation: a small part of the teacher learns with the student.

    L_t = a CE(y_t, pi) + (1 - a) tau^2 D_s(p, pi)  +  c CE(y_t, p) + g tau^2 D_t(p, pi)

p is the teacher with its part: low-rank matrices in its attention, or a small network beside its
output layer, either without effect at the start; all other weights of the teacher stay as they
are. Under `alternate` D_s moves the student alone and D_t the part alone; under `joint` each moves
both. No text is sampled: y is the reference.

What nothing holds walks to the student: with c = 0 the part closes the divergence by itself and
nobody learns. Such a setting is refused, and drift and loss of the teacher are logged: those of a
live teacher on dev; from a cache of states, which knows no other rows, the drift on rows it was made
of and the loss on the batches.

Source: Rao et al. 2024, arXiv 2409.12512, for the idea: modules inside the teacher, trained online
with the student, without the student's own text. Reconstructed: module, both losses, both couplings
and every constant are ours; the part, its start and the slower rate follow Rao et al. 2022,
arXiv 2205.15308.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.base import Objective, check_range, given, teacher_of
from ketchup_cli.signals import Inputs, Needs, TeacherPart, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor

_RANKS: Mapping[str, int] = {"lora": 8, "head": 64}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Okd(Objective):
    """Divergence from a teacher that adapts, anchored by its own loss on the references."""

    nll: float = 0.5
    """Share of the student's negative log-likelihood, a; the divergence has the rest."""
    divergence: Literal["kl", "reverse_kl", "js"] = "kl"
    """What the student is to close, D_s; reverse_kl is KL of the student from the teacher."""
    gamma: float = 1.0
    """Weight of what the teacher's part is to close, g."""
    teacher_divergence: Literal["kl", "reverse_kl"] = "reverse_kl"
    """What the teacher's part is to close, D_t."""
    teacher_nll: float = 1.0
    """Weight of the teacher's own negative log-likelihood, c: what holds it."""
    coupling: Literal["alternate", "joint"] = "alternate"
    """Whether a divergence moves the model it is meant for, or both."""
    temperature: float = 1.0
    """Both sets of logits are divided by it in the divergences, which are multiplied by its square."""
    module: Literal["lora", "head"] = "lora"
    """Low-rank matrices in the teacher's attention, or a small network beside its output layer."""
    rank: int = 0
    """Rank of the matrices, or width of the network; 0 takes 8 or 64."""
    teacher_rate: float = 0.2
    """Learning rate of the part, in parts of the student's; 0 leaves the teacher as it is."""
    allow_collapse: bool = False
    """Whether the teacher may be trained towards the student with nothing that holds it."""

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact, from a live teacher",
        "hidden": "exact for `module = head`; no other part can be trained behind kept states",
    }

    def __post_init__(self) -> None:
        check_range("nll", self.nll, low=0.0, high=1.0)
        for name in ("gamma", "teacher_nll", "teacher_rate", "rank"):
            check_range(name, getattr(self, name), low=0.0)
        check_range("temperature", self.temperature, low=0.01)
        pulled = self.gamma > 0 or (self.coupling == "joint" and self.nll < 1)
        if pulled and self.teacher_nll == 0 and not self.allow_collapse:
            raise SpecError(
                "`teacher_nll` is 0: the teacher would walk to the student, and the divergence"
                " between them would vanish with nothing learnt",
                hint="--set objective.teacher_nll=1, or --set objective.allow_collapse=true",
            )

    @property
    def needs(self) -> Needs:
        """Return a teacher with a trainable part, on references."""
        return Needs(prefixes=("data",), trainable_teacher=True)

    @property
    def teacher_part(self) -> TeacherPart:
        """Return the module, its size and its learning rate."""
        rank = self.rank or _RANKS[self.module]
        return TeacherPart(kind=self.module, rank=rank, rate=self.teacher_rate)

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the losses of both models, in one number for every token."""
        batch, student = inputs.batch, inputs.student
        own_BTV = given(teacher_of(inputs).own_BTV, "teacher.own_BTV")
        nll_BT = -student.logp_taken_BT
        teacher_nll_BT = -F.log_probs_of(own_BTV, batch.tokens_BT)
        both_BT, divergence_BT, teacher_divergence_BT = F.at_pairs(
            self._divergences, own_BTV, student.logits_BTV, batch.mask_BT
        )
        return TokenLoss(
            loss_BT=self.nll * nll_BT + self.teacher_nll * teacher_nll_BT + both_BT,
            metrics={
                "nll": nll_BT.detach(),
                "divergence": divergence_BT,
                "teacher_nll": teacher_nll_BT.detach(),
                "teacher_divergence": teacher_divergence_BT,
            },
        )

    def _divergences(self, p_logits_BTV: Tensor, q_logits_BTV: Tensor) -> tuple[Tensor, ...]:
        """Return the weighted sum, which has the gradients, and both divergences."""
        student_BT, teacher_BT = F.mutual(
            p_logits_BTV,
            q_logits_BTV,
            student=self.divergence,
            teacher=self.teacher_divergence,
            coupling=self.coupling,
            temperature=self.temperature,
        )
        square = self.temperature**2
        total_BT = (1 - self.nll) * square * student_BT + self.gamma * square * teacher_BT
        return total_BT, student_BT, teacher_BT
