"""A mean over items, some of which may have been drawn together: its error and its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ketchup_cli.statistics.claims import ITEMS_ASKED
from ketchup_cli.statistics.quantiles import student_quantile
from ketchup_cli.statistics.resampling import LEVEL, Summed, percentile_interval, resampled

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered:
    """Values of items, added up over each cluster: what was drawn together, or one item alone."""

    sums_C: Floats
    """[C] sums of the values."""
    counts_C: Floats
    """[C] items."""

    @property
    def mean(self) -> float:
        """The mean over items."""
        return float(self.sums_C.sum() / self.counts_C.sum())

    @property
    def error(self) -> float:
        """Standard error of the mean: of one cluster, 0.

        se = sqrt(C / (C - 1) sum_c (sum_{i in c} (x_i - mean))^2) / N

        Source: clustered errors as in Miller 2024, arXiv 2411.00640. Differs: C / (C - 1), so that of
        clusters of one it is that of independent items.
        """
        count = len(self.sums_C)
        if count < 2:
            return 0.0
        apart_C = self.sums_C - self.mean * self.counts_C
        spread = math.sqrt(count / (count - 1) * float((apart_C**2).sum()))
        return spread / float(self.counts_C.sum())


def clustered(values: Mapping[str, float], clusters: Mapping[str, str]) -> Clustered:
    """Return the values of items by cluster; an item that `clusters` does not name stands alone."""
    import numpy

    named = [clusters.get(item, item) for item in values]
    place = {name: number for number, name in enumerate(dict.fromkeys(named))}
    numbers = [place[name] for name in named]
    return Clustered(
        sums_C=numpy.bincount(numbers, weights=list(values.values())),
        counts_C=numpy.bincount(numbers).astype(numpy.float64),
    )


def mean_interval(
    found: Clustered, *, within: tuple[float, float], resamples: int, seed: int
) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean: bootstrap of clusters, or Student's t below 30 of them.

        mean -+ t_{0.975, C - 1} se      for C < 30, cut at the ends of `within`

    Args:
        found: values by cluster.
        within: the least and the largest a value can be.
        resamples: B, draws of C clusters with replacement.
        seed: decides the draws.

    Returns:
        None for fewer than two clusters.
    """
    import numpy

    count = len(found.sums_C)
    if count < 2:
        return None
    if count < ITEMS_ASKED:
        half = student_quantile((1 + LEVEL) / 2, count - 1) * found.error
        return max(within[0], found.mean - half), min(within[1], found.mean + half)
    mean_of = Summed(
        statistics_NK=numpy.stack([found.sums_C, found.counts_C], axis=1),
        combine=lambda sums_BK: sums_BK[:, 0] / sums_BK[:, 1],
    )
    return percentile_interval(resampled([mean_of], resamples=resamples, seed=seed)[0])
