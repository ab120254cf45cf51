"""Layer matching: the states of the student's layers are pulled to those of its teacher's.

    L_t = mean over l of (1/W) || N(P_l h_l,t) - N(f_g(l),t) ||^2

h and f are states of student and teacher at step t, g says which layer of the teacher a layer of
the student is held against, N normalises (see `functional/layers.py`). P_l is a matrix without
bias, there only where widths differ or where it is asked for; it learns with the student, is saved
beside it and is no part of it. Embeddings are not matched. States alone teach the head nothing:
use it in a mix, as the preset `paper` does with `nll` and `kl`.

The choice of g matters little: in the source a reversed map is within a few points of an even one,
where matching at all is worth up to ten, the most where the student begins with random weights (and
on one task it hurts there). Leave `map` as it is.

Source: Yu et al. 2025, arXiv 2502.04499. Differs: the mean is over real tokens alone, and
projections are trained; in the released code padding has a part in it, and for one task the
projections keep their random start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from ketchup_cli import functional as F
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.base import Objective, given, teacher_of
from ketchup_cli.signals import Inputs, Needs, Part, Sizes, TokenLoss

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMatch(Objective):
    """Distance between states of decoder layers, the same step of the same completion."""

    map: Literal["forward", "reverse", "all-to-one", "random"] = "forward"
    """Which layer of the teacher for each of the student: evenly spaced, those from the end, one
    for all, or those evenly spaced in another order."""
    teacher_layers: tuple[int, ...] = ()
    """Layers of the teacher, counted from 1: one for each of the student's in place of an even
    map, or the one of all-to-one; none takes the middle one there."""
    map_seed: int = 0
    """Decides the order of a random map, once for the whole run."""
    norm: Literal["none", "token-l2", "layernorm"] = "none"
    """What is done to every state before: nothing, unit length, or mean 0 and variance 1."""
    projection: Literal["auto", "always"] = "auto"
    """Where states of the student are projected: where widths differ, or on every layer."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "paper": {"objective": {"weight": 3.0}, "beside": [{"name": "nll"}, {"name": "kl"}]},
    }

    fits: ClassVar[Mapping[str, str]] = {"hidden": "exact"}

    def __post_init__(self) -> None:
        if self.teacher_layers and self.map in {"reverse", "random"}:
            raise SpecError(
                f"`teacher_layers` is a map already, and `map` is `{self.map}`",
                hint="--set objective.map=forward",
            )

    @property
    def needs(self) -> Needs:
        """Return the states of both models on anyone's completions."""
        return Needs(prefixes=("data", "teacher", "student"), hidden=True)

    def parts(self, sizes: Sizes) -> Mapping[str, Part]:
        """Return a projection for every layer of the student, or none; checks the map."""
        self._layers(sizes.student_layers, sizes.teacher_layers)
        same = sizes.student_width == sizes.teacher_width
        if same and self.projection == "auto":
            return {}
        shape = (sizes.teacher_width, sizes.student_width)
        part = Part(shape=shape, start="identity" if same else "normal")
        return {_name(layer): part for layer in range(1, sizes.student_layers + 1)}

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the mean distance over the student's layers, at every step."""
        student_LBTH = given(inputs.student.hidden_LBTH, "student.hidden_LBTH")
        teacher_KBTW = given(teacher_of(inputs).hidden_LBTH, "teacher.hidden_LBTH").detach()
        layers = self._layers(student_LBTH.shape[0] - 1, teacher_KBTW.shape[0] - 1)
        distance_LBT = F.layer_distances(
            student_LBTH,
            teacher_KBTW,
            layers=layers,
            norm=self.norm,
            projections=self._projections(inputs, len(layers)),
        )
        loss_BT = distance_LBT.mean(dim=0)
        return TokenLoss(loss_BT=loss_BT, metrics={"layer_distance": loss_BT.detach()})

    def _layers(self, student: int, teacher: int) -> tuple[int, ...]:
        kind: F.LayerMap = self.map
        if self.teacher_layers and self.map == "forward":
            kind = "given"
        return F.layer_map(
            kind,
            student=student,
            teacher=teacher,
            given=self.teacher_layers,
            seed=self.map_seed,
        )

    def _projections(self, inputs: Inputs, count: int) -> list[Tensor]:
        if not inputs.parts and self.projection == "auto":
            return []
        return [given(inputs.parts.get(_name(n)), _name(n)) for n in range(1, count + 1)]


def _name(layer: int) -> str:
    return f"projection_{layer}"
