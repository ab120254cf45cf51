"""Skew reverse KL: the student against a mixture with a little of itself, so bounded.

    L_t = KL(pi(.|s_t) || (1 - a) p(.|s_t) + a pi(.|s_t)),   both softened by the temperature

At most -log a, however unlikely the teacher finds a token the student gives mass to, and at most
(1 - a) KL(pi || p). Unlike plain reverse KL it can be had from the teacher's largest logits.

Source: Ko et al. 2024, arXiv 2402.03898. Differs: on data by default; `prefixes` takes
it to the student's own completions. The preset `distillm` learns from data and from the
student's own completions in turns, these kept for use again (`replay`); where the share of the
latter begins and how fast it rises are settings of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective, check_range, compare
from ketchup_cli.signals import Inputs, Needs, TokenLoss


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SkewRkl(Objective):
    """Skew reverse KL from the teacher, dense or truncated."""

    alpha: float = 0.1
    """Share of the student in the mixture; 0 is reverse KL."""
    temperature: float = 1.0
    """Both sets of logits are divided by it; the loss is not multiplied by its square."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "distillm": {
            "objective": {"prefixes": "data"},
            "beside": [{"name": "skew_rkl", "prefixes": "student"}],
            "dropout": 0.0,
            "rollout": {"prompts": 96, "samples": 1},
            "replay": {"capacity": 1000},
        },
    }

    fits: ClassVar[Mapping[str, str]] = {
        "dense": "exact",
        "hidden": "exact to the precision of the stored states",
        "top": "short by at most q_tail log(1 + p_tail (1 - alpha) / (q_tail alpha)), with both tails'"
        " masses; at alpha 0 all logits are asked for",
    }

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, low=0.0, high=0.99)
        check_range("temperature", self.temperature, low=0.01)

    @property
    def needs(self) -> Needs:
        """Return the teacher's top entries on anyone's completions, or all for reverse KL."""
        return Needs(
            prefixes=("data", "teacher", "student"),
            teacher="dense" if self.alpha == 0 else "top",
            temperature=self.temperature,
        )

    def __call__(self, inputs: Inputs) -> TokenLoss:
        """Return the divergence of every step."""
        measure = partial(F.skew_reverse_kl, alpha=self.alpha)
        (skew_BT,) = compare(inputs, measure, temperature=self.temperature)
        return TokenLoss(loss_BT=skew_BT, metrics={"skew_rkl": skew_BT.detach()})
