"""What every metric comes back as, and the bootstrap interval over examples for any of them.

A metric is known by a row of sufficient statistics per item and a function from their sums to
its value. For BLEU, chrF and TER that is the corpus-level definition; for a mean over items the
statistics are the value and 1. Resampling items and summing their rows then resamples the
metric itself, and all metrics of a report on the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from ketchup_cli.statistics.resampling import Summed, percentile_interval, resampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

DIGITS = 6
"""Decimals of an interval's bounds, in percent."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One metric over a list of items; every value in percent."""

    metric: str
    value: float
    """Over the whole corpus, by the metric's own definition."""
    items: tuple[float | None, ...]
    """Per item; for BLEU, chrF and TER the sentence-level value, not comparable with `value`. None
    where an item has nothing to compute it from."""
    statistics_NK: Floats
    """[N, K] sufficient statistics per item."""
    combine: Callable[[Floats], Floats]
    """From sums [R, K] to values [R]; nan where the sums leave nothing to compute it from."""
    signature: str
    details: Mapping[str, float] = field(default_factory=dict)
    """Figures that explain the value, by name."""
    warnings: tuple[str, ...] = ()
    extracted: tuple[str | None, ...] | None = None
    """What was read out of each hypothesis, for metrics that read something out."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value of the whole corpus that is no function of sums over items, hence no interval."""

    metric: str
    value: float
    signature: str
    details: Mapping[str, float] = field(default_factory=dict)
    """Figures that explain the value, by name."""
    warnings: tuple[str, ...] = ()


def item_mean(sums_RK: Floats) -> Floats:
    """Return the mean over items from sums of value and 1."""
    return sums_RK[:, 0] / sums_RK[:, 1]


def mean_measurement(metric: str, values: Sequence[float], signature: str) -> Measurement:
    """Return the measurement of a metric that is the mean of its item values."""
    import numpy

    column_N = numpy.asarray(values, dtype=numpy.float64)
    return Measurement(
        metric=metric,
        value=float(column_N.mean()),
        items=tuple(values),
        statistics_NK=numpy.stack([column_N, numpy.ones_like(column_N)], axis=1),
        combine=item_mean,
        signature=signature,
    )


def ratio(sums_RK: Floats) -> Floats:
    """Return 100 a / b from sums of a and b; nan where b is 0."""
    import numpy

    above_R, below_R = sums_RK[:, 0], sums_RK[:, 1]
    return 100.0 * numpy.where(below_R > 0, above_R, numpy.nan) / numpy.maximum(below_R, 1.0)


def ratio_measurement(
    metric: str, above: Sequence[float], below: Sequence[float], *, signature: str
) -> Measurement:
    """Return the measurement of a metric that is 100 sum a / sum b, over items with a and b >= 0.

    Raises:
        ValueError: every b is 0.
    """
    import numpy

    statistics_NK = numpy.stack(
        [numpy.asarray(above, dtype=numpy.float64), numpy.asarray(below, dtype=numpy.float64)],
        axis=1,
    )
    value = float(ratio(statistics_NK.sum(axis=0, keepdims=True))[0])
    if value != value:
        raise ValueError(f"{metric} is nothing of nothing")
    return Measurement(
        metric=metric,
        value=value,
        items=tuple(100.0 * a / b if b else None for a, b in zip(above, below, strict=True)),
        statistics_NK=statistics_NK,
        combine=ratio,
        signature=signature,
    )


def intervals(
    measurements: Sequence[Measurement], *, resamples: int, seed: int
) -> tuple[tuple[float, float] | None, ...]:
    """Return the percentile bootstrap interval of each metric, or None.

    There is none for a single item, nor where some resample leaves nothing to compute it from.

        value_r = combine(sum_i c_ri s_i),   c_r ~ Multinomial(N; 1/N, ..., 1/N)

    Args:
        measurements: metrics over the same N items.
        resamples: R, draws of N items with replacement.
        seed: decides the draws.

    Returns:
        The 2.5 and 97.5 percentiles of the R values, per metric.

    Source: Efron 1979; for corpus-level BLEU, Koehn 2004. Differs: sums of statistics, not texts.
    """
    if not measurements or len(measurements[0].items) < 2:
        return tuple(None for _ in measurements)
    several = [summed(one) for one in measurements]
    return tuple(map(_bounds, resampled(several, resamples=resamples, seed=seed)))


def summed(one: Measurement) -> Summed:
    """Return a measurement as a value of sums over items, which can be resampled."""
    return Summed(statistics_NK=one.statistics_NK, combine=one.combine)


def _bounds(values_R: Floats) -> tuple[float, float] | None:
    import numpy

    if not numpy.isfinite(values_R).all():
        return None
    low, high = percentile_interval(values_R)
    # the order of a sum differs between processors; the digits it touches are no result
    return round(low, DIGITS), round(high, DIGITS)
