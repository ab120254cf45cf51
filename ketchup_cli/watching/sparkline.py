"""A curve in one line of text."""

import itertools
from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"
GAP = " "
"""Stands where nothing was measured, or what was is not a number."""


def sparkline(values: Sequence[float | None], *, width: int) -> str:
    """Return the curve of `values` in at most `width` characters.

    Where there are more values than characters, each character is the mean of its share. The
    lowest is the bottom of the line and the highest its top; a curve without a slope lies in the
    middle.

    Args:
        values: in order; None is a gap.
        width: characters, at least 1.
    """
    shares = _shares(values, min(width, len(values)))
    known = [value for value in shares if value is not None]
    if not known:
        return GAP * len(shares)
    low, high = min(known), max(known)
    return "".join(GAP if value is None else _level(value, low, high) for value in shares)


def _shares(values: Sequence[float | None], count: int) -> list[float | None]:
    """Return the means of `count` consecutive shares, as equal in size as can be."""
    edges = [index * len(values) // count for index in range(count + 1)] if count else []
    return [_mean(values[start:end]) for start, end in itertools.pairwise(edges)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _level(value: float, low: float, high: float) -> str:
    if high <= low:
        return LEVELS[len(LEVELS) // 2 - 1]
    # halved, so that the difference of two huge numbers is finite
    share = (value / 2 - low / 2) / (high / 2 - low / 2)
    return LEVELS[min(len(LEVELS) - 1, int(share * len(LEVELS)))]
