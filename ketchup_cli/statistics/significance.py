"""Tests of a difference, and Holm's correction for having made several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ketchup_cli.statistics.resampling import tossed_sums

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats

TIE = 1e-9
"""Relative difference up to which two sums of the same terms in another order are equal."""


def bootstrap_p(resampled_B: Floats, difference: float) -> float:
    """Return the two-sided p of a difference from its own bootstrap, moved to have mean 0.

        p = (1 + #{|d_b - mean d| >= |d|}) / (1 + B)

    Args:
        resampled_B: [B] paired differences over resamples of the items.
        difference: d, over all items.

    Source: Efron and Tibshirani 1993, chapter 16; Koehn 2004 for BLEU.
    """
    import numpy

    away_B = numpy.abs(resampled_B - resampled_B.mean())
    return _share_as_large(away_B, difference)


def sacrebleu_bootstrap_p(resampled_B: Floats, difference: float) -> float:
    """Return the p that sacrebleu's paired bootstrap prints for these resamples.

        p = (1 + #{|d_b| - mean |d| > |d|}) / (1 + B)

    Where the difference is clear only the tail beyond it counts: the test is one-sided, and p about
    half of the two-sided one. Given for comparison alone.

    Source: sacrebleu 2.6.0, `significance.py`, after a script of Moses.
    """
    import numpy

    size_B = numpy.abs(resampled_B)
    beyond = int((size_B - size_B.mean() > abs(difference)).sum())
    return (1 + beyond) / (1 + len(size_B))


def randomisation_p(shuffled_B: Floats, difference: float) -> float:
    """Return the two-sided p of a difference among those where items changed sides.

        p = (1 + #{|d_b| >= |d|}) / (1 + B)

    Args:
        shuffled_B: [B] differences after items changed sides at random.
        difference: d, as the systems are.

    Source: Noreen 1989. Differs from sacrebleu, which counts `>`: with few items that differ at
    all, shuffles that restore the difference are then no evidence against it.
    """
    import numpy

    return _share_as_large(numpy.abs(shuffled_B), difference)


def sign_flip_p(differences_N: Floats, *, trials: int, seed: int) -> float:
    """Return the two-sided p of the mean of paired differences, signs changed at random.

        p = (1 + #{|sum_i e_bi d_i| >= |sum_i d_i|}) / (1 + B),   e_bi = +1 or -1

    Args:
        differences_N: [N] differences, one an item.
        trials: B.
        seed: decides the signs.

    Source: Fisher 1935; Good 2005, section 3.
    """
    import numpy

    moved_M = differences_N[differences_N != 0]
    if not len(moved_M):
        return 1.0
    # a sum under changed signs is the whole less twice what changed
    kept_B = tossed_sums(moved_M[:, None], trials=trials, seed=seed)[:, 0]
    return _share_as_large(numpy.abs(2.0 * kept_B - moved_M.sum()), float(moved_M.sum()))


def mcnemar_p(only_one: int, only_other: int) -> float:
    """Return the exact two-sided p for items that one of two systems alone gets right.

        p = min(1, 2 P(X <= min(b, c))),   X ~ Binomial(b + c, 1/2)

    Args:
        only_one: b, items right in one system and wrong in the other.
        only_other: c, the other way round.

    Source: McNemar 1947, doi 10.1007/BF02295996, in its exact form.
    """
    from scipy.stats import binom

    if only_one + only_other == 0:
        return 1.0
    return min(1.0, 2 * float(binom.cdf(min(only_one, only_other), only_one + only_other, 0.5)))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Return p values corrected for their number, in the order given.

        p'_(j) = max_{i <= j} min(1, (m - i + 1) p_(i)),   p_(1) <= ... <= p_(m)

    Claims made where p' < alpha are all true with probability 1 - alpha at least.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return tuple(corrected)


def _share_as_large(sizes_B: Floats, difference: float) -> float:
    # never below 1 / (1 + B): what was not seen in B draws is not impossible
    as_large = int((sizes_B >= abs(difference) * (1 - TIE)).sum())
    return (1 + as_large) / (1 + len(sizes_B))
