"""ENGINE: the teacher's energy of what the student writes, reverse KL without the entropy.

    L_t = -temperature^2 * sum_v pi(v|s_t) log p(v|s_t),   both softened by the temperature

Nothing rewards spread: the optimum is the teacher's likeliest token in every state. Watch the
metric `entropy`; where it falls to nothing too early, `reverse_kl` is the same with it.

Source: Tu et al. 2020, arXiv 2005.00850; as a token loss on the student's completions, and beside
reverse KL, in Wen et al. 2023, arXiv 2307.15190. Differs: the student is autoregressive, and
sampling is not relaxed but left out of the gradient.
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
class Engine(Objective):
    """Cross-entropy from student to teacher, from all of the teacher's logits."""

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
        """Return the energy of every step, times the square of the temperature."""
        (energy_BT,) = compare(inputs, F.engine, temperature=self.temperature)
        entropy_BT = F.entropy(inputs.student.logits_BTV.detach())
        metrics = {"energy": energy_BT.detach(), "entropy": entropy_BT}
        return TokenLoss(loss_BT=self.temperature**2 * energy_BT, metrics=metrics)
