"""Reverse Kullback-Leibler divergence on the student's own completions: it seeks the modes.

    L_t = temperature^2 * KL(pi(.|s_t) || p(.|s_t)),   both softened by the temperature

Summed over prefixes that the student samples, this is the reverse divergence of whole completions.
Sampling is not differentiated: of the gradient of that sum it is the part that every step earns by
itself.

Source: Wen et al. 2023, arXiv 2307.15190, eq. 7; its code multiplies by the square of the
temperature. Differs: plain sampling instead of beam sampling, unless the settings say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import LIVE_SAMPLES, Objective, check_range, compare
from ketchup_cli.signals import Inputs, Needs, TokenLoss


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseKl(Objective):
    """Reverse KL from all of the teacher's logits: from its largest ones the loss has no bound."""

    temperature: float = 1.0
    """Both sets of logits are divided by it, and the loss is multiplied by its square."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": LIVE_SAMPLES}

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "hidden": "exact to the precision of the stored states",
    }

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return all of the teacher's logits, on the student's completions by default."""
        return Needs(
            prefixes=("student", "teacher", "data"), teacher="dense", temperature=self.temperature
        )

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the divergence of every step, times the square of the temperature."""
        (kl_BT,) = compare(inputs, F.reverse_kl, temperature=self.temperature)
        metrics = {"reverse_kl": kl_BT.detach()}
        return TokenLoss(loss_BT=self.temperature**2 * kl_BT, metrics=metrics)
