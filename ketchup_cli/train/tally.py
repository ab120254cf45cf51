"""The figures of one update, whatever batches and processes it was spread over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Literal, final

import torch
from accelerate import Accelerator
from torch import Tensor

from ketchup_cli.signals import Batch
from ketchup_cli.train.processes import summed

Kind = Literal["sum", "mean"]

VARIANCE = "_variance"
"""What the name of a variance ends in, after the name of its mean."""


@final
class Tally:
    """The figures of one update, gathered over its batches and all processes.

    Invariant: mean and variance are those of all tokens (or sequences) together, whatever batch
    or process they were in.
    """

    def __init__(self) -> None:
        self._names: list[tuple[str, Kind]] = []
        self._values: list[Tensor] = []

    def add_part(self, name: str, value: Tensor) -> None:
        """Add one summand of a figure."""
        self._add(name, "sum", value, torch.ones_like(value))

    def add_mean(self, name: str, value: Tensor, *, weight: Tensor) -> None:
        """Add a mean over `weight` tokens or sequences; a variance is named after its mean."""
        self._add(name, "mean", value, weight)

    def _add(self, name: str, kind: Kind, value: Tensor, weight: Tensor) -> None:
        self._names.append((name, kind))
        self._values.append(torch.stack([value.detach().float(), weight.to(value).float()]))

    def figures(self, accelerator: Accelerator) -> dict[str, float]:
        """Return every figure over all processes, which must have the same names."""
        if not self._names:
            return {}
        # figures of batches that never left the CPU join the others: one transfer for all
        there = [value.to(accelerator.device) for value in self._values]
        rows = torch.stack(there).cpu().double().tolist()
        sums: dict[str, float] = defaultdict(float)
        weights: dict[str, float] = defaultdict(float)
        squares: dict[str, float] = defaultdict(float)
        for (name, kind), (value, weight) in zip(self._names, rows, strict=True):
            factor = 1.0 if kind == "sum" else weight
            sums[name] += value * factor
            weights[name] += weight
            squares[name] += value * value * factor
        names = sorted(sums)
        table = [number[name] for number in (sums, weights, squares) for name in names]
        totals = summed(accelerator, table)
        found = [totals[start : start + len(names)] for start in range(0, len(table), len(names))]
        return _figures(names, *found, parts={name for name, kind in self._names if kind == "sum"})


def describe(batch: Batch, tally: Tally) -> None:
    """Add lengths, rewards, and for sampled completions the share that ended by themselves."""
    sizes_B = batch.mask_BT.sum(dim=1)
    count = torch.tensor(float(len(batch.ids)))
    tally.add_mean(f"{batch.source}_length", sizes_B.mean(), weight=count)
    if batch.forced_BT is not None:
        share = batch.forced_BT.sum() / batch.mask_BT.sum().clamp(min=1)
        tally.add_mean(f"{batch.source}_forced", share, weight=batch.mask_BT.sum())
    for name, value_B in (("reward", batch.reward_B), ("correct", batch.correct_B)):
        if value_B is not None:
            tally.add_mean(f"{batch.source}_{name}", value_B.mean(), weight=count)
    if batch.finished is not None:
        tally.add_mean("finished", torch.tensor(batch.finished), weight=torch.ones(()))
    if batch.unrewarded is not None:
        tally.add_mean("unrewarded", torch.tensor(batch.unrewarded), weight=torch.ones(()))


def _figures(
    names: Sequence[str],
    sums: Sequence[float],
    weights: Sequence[float],
    squares: Sequence[float],
    *,
    parts: Collection[str],
) -> dict[str, float]:
    """Return sums of parts, weighted means, and variances around the mean of all."""
    shares = [
        1.0 if name in parts else max(w, 1e-12) for name, w in zip(names, weights, strict=True)
    ]
    means = {name: total / share for name, total, share in zip(names, sums, shares, strict=True)}
    spread = {name: q / share for name, q, share in zip(names, squares, shares, strict=True)}
    for name in means:
        mean = name.removesuffix(VARIANCE)
        if mean != name:  # within the batches, and between their means
            means[name] += max(0.0, spread[mean] - means[mean] ** 2)
    return means
