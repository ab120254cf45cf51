"""Sinkhorn distillation: optimal transport between the distributions of a batch.

    D_ij = || p(.|s_i) - pi(.|s_j) ||_1,   softened by the temperature
    P = softmin of D with entropy `smoothing`, all rows and columns of equal weight
    L = (1/N) sum_ij P_ij D_ij

i and j run over all real tokens of a group, not over the pairs i = j alone: what a token's
distribution costs depends on the others around it. The gradient goes through D and through every
sweep that makes P. Alone it does not see which token is which: a student with its teacher's
distributions in another order has the same loss. The method mixes it with `nll` and `kl`, for which
`[[distill.objective]]` holds a list, and the preset `released` the weights of the released code.
That code sums over the points of a batch where this is a mean: its weight times the points is ours.

Source: Cui et al. 2024, arXiv 2402.17110. Differs: points are tokens, the plan is found in
logarithms, the loss is a mean; the debiased form is after Genevay et al. 2018, arXiv 1706.00292.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives.base import Objective, check_range, given, teacher_of
from ketchup_cli.signals import BatchLoss, Inputs, LogitRows, Needs, TeacherSignal

if TYPE_CHECKING:
    from ketchup_cli.signals import TopEntries

_POINTS = 32
"""Points of one plan in the released code, its batch."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sinkd(Objective):
    """Entropic transport cost a token, over groups of tokens.

    Metrics: `transport`, the loss; `row_error`, how far the plans' rows are from a sum of 1: where
    it is not small, more sweeps change the loss.
    """

    form: Literal["plain", "debiased"] = "plain"
    """debiased takes off what smoothing costs between equal distributions, so that a student like
    its teacher has loss 0; it needs all of the teacher's logits."""
    smoothing: float = 0.1
    """Weight of the plan's entropy, in the unit of a cost, which is 0 to 2."""
    sweeps: int = 20
    """Normalisations of the plan's rows and columns."""
    temperature: float = 1.0
    """Both sets of logits are divided by it; a cache must hold statistics for it."""
    max_tokens: int = 128
    """Tokens of one plan; a batch of more is cut into groups of like size, in its own order. The
    work grows with tokens times `max_tokens` times the vocabulary, or the entries of a cache."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "released": {
            "objective": {
                "weight": 0.8 * 0.001 * _POINTS,
                "temperature": 2.0,
                "max_tokens": _POINTS,
            },
            # its divergence is not multiplied by the square of the temperature
            "beside": (
                {"name": "kl", "weight": 0.9 / 2.0**2, "temperature": 2.0},
                {"name": "nll", "weight": 0.1},
            ),
        },
    }

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "top": "each cost too small by at most twice the smaller of the two tail masses",
    }

    def __post_init__(self) -> None:
        check_range("smoothing", self.smoothing, low=1e-6)
        check_range("sweeps", self.sweeps, low=1)
        check_range("temperature", self.temperature, low=0.01)
        check_range("max_tokens", self.max_tokens, low=1)

    @property
    def needs(self) -> Needs:
        """Return the teacher's top entries, or all its logits to take the bias off."""
        return Needs(
            prefixes=("data", "teacher", "student"),
            teacher="dense" if self.form == "debiased" else "top",
            temperature=self.temperature,
        )

    def __call__(self, inputs: Inputs) -> BatchLoss:
        """Return the mean cost of the batch's tokens."""
        loss, row_error = F.transport_loss(
            self._distributions(teacher_of(inputs)),
            inputs.student.logits_BTV,
            inputs.batch.mask_BT,
            how=F.Transport(
                smoothing=self.smoothing,
                sweeps=self.sweeps,
                temperature=self.temperature,
                debiased=self.form == "debiased",
                max_points=self.max_tokens,
            ),
        )
        return BatchLoss(loss=loss, metrics={"transport": loss.detach(), "row_error": row_error})

    def _distributions(self, teacher: TeacherSignal) -> LogitRows | TopEntries:
        if teacher.dense is not None:
            return teacher.dense
        if teacher.temperature != self.temperature:
            raise MismatchError(
                f"the teacher's tail is for temperature {teacher.temperature:g}; the objective asks"
                f" for {self.temperature:g}"
            )
        return given(teacher.top, "teacher.top")
