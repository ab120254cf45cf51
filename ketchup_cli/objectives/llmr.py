"""LLMR: policy gradient with the one-step reward a language model induces.

    r_t = q_t - v_{t+1},   g_t = r_t + g_{t+1}

KETCHUP with K = 1: every later step counts in the return, so its variance grows with the length,
and with the maximum as value each further token costs, which presses students to stop early.

Source: Li et al. 2024, arXiv 2409.12500; Hao et al. 2022, arXiv 2210.08708. The preset `paper` is
LLMR as KETCHUP's authors compare with it; `released` is the code of 2210.08708 as far as it can be
meant: its entropy term (a cross-entropy to the uniform distribution) and its ratios by a product
of earlier probabilities are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from ketchup_cli import functional as F
from ketchup_cli.objectives.ketchup import Ketchup, StepReturn

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Llmr(StepReturn):
    """Policy gradient with the sum of all rewards to come."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": Ketchup.presets["default"],
        "paper": Ketchup.presets["paper"],
        "released": {
            "dropout": 0.1,
            "optimizer": {"learning_rate": 1e-5, "warmup": 4000, "schedule": "constant"},
            "rollout": {"samples": 1, "top_k": 2},
            "objective": {
                "value": "softmax",
                "form": "q",
                "baseline": "teacher-mean",
                "normalise": "none",
                "scale": 100.0,
                "clip": 1.0,
                "clip_stage": "product",
                "importance": "step",
            },
        },
    }

    def advantages(self, q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the sum of all rewards to come, less the value of the state."""
        return F.k_step_advantages(q_BT, v_BT, mask_BT, k=1)

    def futures(self, q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the sum of all rewards to come, less what the step's own token earns."""
        return F.k_step_futures(q_BT, v_BT, mask_BT, k=1)
