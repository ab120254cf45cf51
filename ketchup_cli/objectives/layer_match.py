"""Layer matching: the states of the student's layers are pulled to those of its teacher's.

    L_t = mean over l of d_l,t;   d_l,t = (1/W) || N(P_l h_l,t) - N(f_g(l),t) ||^2

h and f are states of student and teacher at step t; for a layer of an encoder d_l is the mean over
the prompt's tokens, the same at every step. g says which layer of the teacher a layer of
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


_Side = Literal["decoder", "encoder"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMatch(Objective):
    """Distance between states of layers, the same token of the same text."""

    sides: Literal["decoder", "both"] = "decoder"
    """Whose layers are matched: the decoder's, or those of encoder and decoder alike."""
    map: Literal["forward", "reverse", "all-to-one", "random"] = "forward"
    """Which layer of the teacher for each of the student: evenly spaced, those from the end, one
    for all, or those evenly spaced in another order."""
    teacher_layers: tuple[int, ...] = ()
    """Layers of the teacher's decoder, counted from 1: one for each of the student's in place of an
    even map, or the one of all-to-one; none takes the middle one there."""
    teacher_encoder_layers: tuple[int, ...] = ()
    """The same for the encoder."""
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

    def __post_init__(self) -> None:
        for name in ("teacher_layers", "teacher_encoder_layers"):
            if getattr(self, name) and self.map in {"reverse", "random"}:
                raise SpecError(
                    f"`{name}` is a map already, and `map` is `{self.map}`",
                    hint="--set objective.map=forward",
                )

    @property
    def needs(self) -> Needs:
        """Return the states of both models on anyone's completions."""
        return Needs(prefixes=("data", "teacher", "student"), hidden=True)

    def parts(self, sizes: Sizes) -> Mapping[str, Part]:
        """Return a projection for every matched layer of the student, or none; checks the maps.

        Raises:
            SpecError: an encoder is to be matched and one of the models has none.
            ShapeError: a map to layers the teacher does not have.
        """
        self._layers("decoder", sizes.student_layers, sizes.teacher_layers)
        names = _names("decoder", sizes.student_layers)
        if self.sides == "both":
            if not min(sizes.student_encoder_layers, sizes.teacher_encoder_layers):
                raise SpecError(
                    "`sides` is `both`, and there is no encoder",
                    hint="--set objective.sides=decoder",
                )
            self._layers("encoder", sizes.student_encoder_layers, sizes.teacher_encoder_layers)
            names += _names("encoder", sizes.student_encoder_layers)
        same = sizes.student_width == sizes.teacher_width
        if same and self.projection == "auto":
            return {}
        shape = (sizes.teacher_width, sizes.student_width)
        return dict.fromkeys(names, Part(shape=shape, start="identity" if same else "normal"))

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the mean distance over the student's matched layers, at every step."""
        student, teacher = inputs.student, teacher_of(inputs)
        distance_LBT = self._distances(
            "decoder",
            given(student.hidden_LBTH, "student.hidden_LBTH"),
            given(teacher.hidden_LBTH, "teacher.hidden_LBTH"),
            inputs.parts,
        )
        loss_BT = distance_LBT.mean(dim=0)
        metrics = {"layer_distance": loss_BT.detach()}
        if self.sides == "both":
            distance_LBS = self._distances(
                "encoder",
                given(student.encoder_LBSH, "student.encoder_LBSH"),
                given(teacher.encoder_LBSH, "teacher.encoder_LBSH"),
                inputs.parts,
            )
            encoder_B = F.row_means(distance_LBS.mean(dim=0), inputs.batch.prompt_mask_BS)
            metrics["encoder_distance"] = encoder_B.detach()
            share = distance_LBT.shape[0] / (distance_LBT.shape[0] + distance_LBS.shape[0])
            loss_BT = share * loss_BT + (1 - share) * encoder_B[:, None]
        return TokenLoss(loss_BT=loss_BT, metrics=metrics)

    def _distances(
        self,
        side: _Side,
        student_LBTH: Tensor,
        teacher_KBTW: Tensor,
        parts: Mapping[str, Tensor],
    ) -> Tensor:
        layers = self._layers(side, student_LBTH.shape[0] - 1, teacher_KBTW.shape[0] - 1)
        names = _names(side, len(layers))
        plain = not parts and self.projection == "auto"
        return F.layer_distances(
            student_LBTH,
            teacher_KBTW.detach(),
            layers=layers,
            norm=self.norm,
            projections=() if plain else [given(parts.get(name), name) for name in names],
        )

    def _layers(self, side: _Side, student: int, teacher: int) -> tuple[int, ...]:
        own = self.teacher_layers if side == "decoder" else self.teacher_encoder_layers
        kind: F.LayerMap = "given" if own and self.map == "forward" else self.map
        return F.layer_map(kind, student=student, teacher=teacher, given=own, seed=self.map_seed)


def _names(side: _Side, count: int) -> list[str]:
    return [f"{side}_{layer}" for layer in range(1, count + 1)]
