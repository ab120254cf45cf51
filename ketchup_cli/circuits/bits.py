"""From numbers to bits and from labels to codes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

Rule = Literal["midrange", "median"]
Code = Literal["binary", "one-hot"]


def thresholds(rows: Sequence[Sequence[float]], rule: Rule) -> list[float]:
    """Return a threshold for every feature: half way from least to largest, or the median."""
    columns = list(zip(*rows, strict=True))
    if rule == "median":
        return [statistics.median(column) for column in columns]
    return [(min(column) + max(column)) / 2 for column in columns]


def to_bits(row: Sequence[float], above: Sequence[float]) -> int:
    """Return a bit for every feature, 1 above its threshold; the first feature is the lowest."""
    return sum((x > t) << i for i, (x, t) in enumerate(zip(row, above, strict=True)))


def codes(labels: Sequence[str], code: Code) -> tuple[dict[str, int], int]:
    """Return the bits of every label in sorted order, and how many bits there are.

    binary counts from 0, so that what was never seen reads as the first label; one-hot has a bit a
    label, and what was never seen reads as none.
    """
    names = sorted(set(labels))
    if code == "one-hot":
        return {name: 1 << number for number, name in enumerate(names)}, len(names)
    return {name: number for number, name in enumerate(names)}, max(
        1, (len(names) - 1).bit_length()
    )
