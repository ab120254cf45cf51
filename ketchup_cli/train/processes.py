"""What the processes of one run tell each other; alone, a process talks to nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list


def summed(accelerator: Accelerator, numbers: Sequence[float]) -> list[float]:
    """Return the sums of the processes' numbers, place by place."""
    if accelerator.num_processes == 1 or not numbers:
        return list(numbers)
    table = torch.tensor(numbers, dtype=torch.float64, device=accelerator.device)
    totals: list[float] = accelerator.reduce(table, reduction="sum").tolist()
    return totals


def of_first(accelerator: Accelerator, figures: Mapping[str, float]) -> dict[str, float]:
    """Return the first process's figures, so that all processes decide alike."""
    if accelerator.num_processes == 1:
        return dict(figures)
    told = [dict(figures)]
    broadcast_object_list(told)
    return told[0]
