"""Bootstrap over items for any value that is a function of sums over them.

The draws are those of sacrebleu's paired test with the same seed, so its p can be had from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[Any]

LEVEL = 0.95
"""Share of the bootstrap values inside an interval."""
DRAWS_AT_ONCE = 500_000
"""Drawn item numbers that exist at a time: 4 MB, and as much again where they are counted."""
_ALIGNED = 32
"""Rows of random bits come in multiples of it: bits are drawn 32 at a time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """A value known by a row of sufficient statistics per item and a function of their sums."""

    statistics_NK: Floats
    """[N, K] sufficient statistics per item."""
    combine: Callable[[Floats], Floats]
    """From sums [B, K] to values [B]."""


def whole(summed: Summed) -> float:
    """Return the value over all items."""
    return float(summed.combine(summed.statistics_NK.sum(axis=0, keepdims=True))[0])


def resampled(several: Sequence[Summed], *, resamples: int, seed: int) -> tuple[Floats, ...]:
    """Return each value over B resamples of the items, all values on the same draws.

        value_b = combine(sum_i c_bi s_i),   c_b ~ Multinomial(N; 1/N, ..., 1/N)

    Args:
        several: values over the same N items, N >= 1.
        resamples: B, draws of N items with replacement.
        seed: decides the draws.

    Returns:
        [B] values, for each.

    Source: Efron 1979; for corpus-level BLEU, Koehn 2004. Differs: sums of statistics, not texts.
    """
    import numpy

    count = len(several[0].statistics_NK)
    random = generator(seed)
    values: list[list[Floats]] = [[] for _ in several]
    for rows in _chunks(resamples, count):
        times_BN = _times_drawn(random.integers(count, size=(rows, count)))
        for column, summed in zip(values, several, strict=True):
            column.append(summed.combine(times_BN @ summed.statistics_NK))
    return tuple(numpy.concatenate(column) for column in values)


def shuffled_differences(one: Summed, other: Summed, *, trials: int, seed: int) -> Floats:
    """Return [B] differences, other minus one, where items changed sides by the toss of a coin.

    Args:
        one: a system.
        other: another on the same N items; its `combine` is the same function.
        trials: B.
        seed: decides the tosses.

    Source: Noreen 1989; Riezler and Maxwell 2005, aclanthology W05-0908.
    """
    apart_NK = one.statistics_NK - other.statistics_NK
    moved_BK = tossed_sums(apart_NK, trials=trials, seed=seed)
    mixed_BK = other.statistics_NK.sum(axis=0) + moved_BK
    return one.combine(one.statistics_NK.sum(axis=0) - moved_BK) - one.combine(mixed_BK)


def tossed_sums(rows_NK: Floats, *, trials: int, seed: int) -> Floats:
    """Return [B, K] sums over the items for which a fair coin fell right, a new toss for each b."""
    import numpy

    random = generator(seed)
    found: list[Floats] = []
    for rows in _chunks(trials, len(rows_NK)):
        kept_BN = random.integers(2, size=(rows, len(rows_NK)), dtype=bool)
        found.append(kept_BN.astype(numpy.float64) @ rows_NK)
    return numpy.concatenate(found)


def percentile_interval(values_B: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentiles between which `level` of the values lie, as much below as above."""
    import numpy

    tail = 100 * (1 - level) / 2
    low, high = numpy.percentile(values_B, [tail, 100 - tail])
    return float(low), float(high)


def generator(seed: int) -> Generator:
    """Return the random numbers of a seed; a negative one is a seed too."""
    import numpy

    return numpy.random.Generator(numpy.random.PCG64(seed % 2**64))


def _chunks(total: int, count: int) -> Iterator[int]:
    """Yield how many rows to draw at a time; whole multiples of 32 but for the last."""
    chunk = max(1, DRAWS_AT_ONCE // (count * _ALIGNED)) * _ALIGNED
    for start in range(0, total, chunk):
        yield min(chunk, total - start)


def _times_drawn(draws_BN: Floats) -> Floats:
    """Return how often each item was drawn in each resample; the draws are used up."""
    import numpy

    rows, count = draws_BN.shape
    draws_BN += count * numpy.arange(rows)[:, None]
    times = numpy.bincount(draws_BN.ravel(), minlength=rows * count).reshape(rows, count)
    return times.astype(numpy.float64)
