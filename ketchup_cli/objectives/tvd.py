"""Total variation distance, half on the teacher's completions and half on the student's.

    L_t = temperature^2 * 1/2 sum_v |p(v|s_t) - pi(v|s_t)|,   both softened by the temperature

The mean over both kinds of prefixes bounds the distance of whole completions from above. It is
bounded, at most 1 a step at temperature 1, and flat where teacher and student share no token.

Source: Wen et al. 2023, arXiv 2307.15190, eq. 10; its code multiplies by the square of the
temperature. Differs: references may stand for the teacher's completions (`prefixes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import LIVE_SAMPLES, Objective, check_range, compare
from ketchup_cli.signals import Inputs, Needs, Prefixes, TokenLoss


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tvd(Objective):
    """Total variation distance between teacher and student at every step."""

    temperature: float = 1.0
    """Both sets of logits are divided by it, and the loss is multiplied by its square."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": LIVE_SAMPLES}

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "hidden": "exact to the precision of the stored states",
        "top": "short by at most the smaller of both tails' masses",
    }

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return the teacher's top entries on anyone's completions."""
        return Needs(
            prefixes=("teacher", "student", "data"), teacher="top", temperature=self.temperature
        )

    @property
    def shares(self) -> Mapping[Prefixes, float]:
        """Return one half each of the teacher's and of the student's completions."""
        return {"teacher": 0.5, "student": 0.5}

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the distance at every step, times the square of the temperature."""
        (tvd_BT,) = compare(inputs, F.tvd, temperature=self.temperature)
        return TokenLoss(loss_BT=self.temperature**2 * tvd_BT, metrics={"tvd": tvd_BT.detach()})
