"""The interval of a mean over items."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ketchup_cli.statistics.claims import ITEMS_ASKED
from ketchup_cli.statistics.quantiles import student_quantile
from ketchup_cli.statistics.resampling import LEVEL, Summed, percentile_interval, resampled

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats


def mean_interval(
    values_N: Floats, *, within: tuple[float, float], resamples: int, seed: int
) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean: bootstrap, or Student's t below 30 items.

        mean -+ t_{0.975, N - 1} s / sqrt(N)      for N < 30, cut at the ends of `within`

    Args:
        values_N: [N] values, one an item.
        within: the least and the largest a value can be.
        resamples: B, draws of N items with replacement.
        seed: decides the draws.

    Returns:
        None for fewer than two items.
    """
    import numpy

    count = len(values_N)
    if count < 2:
        return None
    if count < ITEMS_ASKED:
        quantile = student_quantile((1 + LEVEL) / 2, count - 1)
        half = quantile * float(values_N.std(ddof=1)) / math.sqrt(count)
        mean = float(values_N.mean())
        return max(within[0], mean - half), min(within[1], mean + half)
    statistics_N2 = numpy.stack([values_N, numpy.ones(count)], axis=1)
    mean_of = Summed(
        statistics_NK=statistics_N2, combine=lambda sums_BK: sums_BK[:, 0] / sums_BK[:, 1]
    )
    return percentile_interval(resampled([mean_of], resamples=resamples, seed=seed)[0])
