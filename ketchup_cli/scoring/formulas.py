"""BLEU, chrF and TER from sums of sufficient statistics, for many resamples at once.

The statistics are sacrebleu's, and so is every value: these are its formulas on arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ketchup_cli.scoring.measurement import Floats

_ORDERS = 4
_CHRF_BETA = 2.0


def bleu_from_sums(sums_RK: Floats, *, effective: bool = False) -> Floats:
    """Return BLEU from sums of lengths, matches and n-grams.

        BLEU = 100 min(1, e^(1 - r/h)) (prod_n p_n)^(1/4),   p_n = m_n / t_n
        the z-th p_n without a match becomes 1 / (2^z t_n)   (exponential smoothing)

    Args:
        sums_RK: [R, 10] hypothesis length h, reference length r, matches m_1..4, n-grams t_1..4.
        effective: leave out orders without n-grams (sentence-BLEU), not score them 0.

    Returns:
        [R] values in percent.

    Source: Papineni et al. 2002, smoothing 3 of Chen and Cherry 2014, as in sacrebleu.
    """
    import numpy

    hyp_R, ref_R = sums_RK[:, 0], sums_RK[:, 1]
    matches_RO = sums_RK[:, 2 : 2 + _ORDERS]
    grams_RO = sums_RK[:, 2 + _ORDERS : 2 + 2 * _ORDERS]
    present_RO = grams_RO > 0
    unmatched_RO = present_RO & (matches_RO == 0)
    smoothed_RO = numpy.where(
        unmatched_RO, 0.5 ** numpy.cumsum(unmatched_RO, axis=1), matches_RO
    ) / numpy.where(present_RO, grams_RO, 1.0)
    logs_RO = numpy.log(numpy.where(present_RO, smoothed_RO, 1.0))
    orders_R = present_RO.sum(axis=1) if effective else numpy.full(len(sums_RK), _ORDERS)
    mean_R = numpy.exp(logs_RO.sum(axis=1) / numpy.maximum(orders_R, 1))
    whole_R = present_RO.any(axis=1) if effective else present_RO.all(axis=1)
    gap_R = 1.0 - ref_R / numpy.maximum(hyp_R, 1.0)
    penalty_R = numpy.exp(numpy.minimum(gap_R, 0.0))
    return 100.0 * numpy.where(whole_R & (matches_RO > 0).any(axis=1), penalty_R * mean_R, 0.0)


def chrf_from_sums(sums_RK: Floats) -> Floats:
    """Return chrF2 (with orders of words, chrF2++) from sums of n-gram counts.

        chrF = 100 (1 + b^2) P R / (b^2 P + R),   b = 2;  P and R are means over the orders
        for which hypothesis and reference both have n-grams

    Args:
        sums_RK: [R, 3 x orders] n-grams of hypothesis, of reference, and matches, per order.

    Returns:
        [R] values in percent.

    Source: Popovic 2015, effective order as in sacrebleu.
    """
    import numpy

    sums_ROC = sums_RK.reshape(len(sums_RK), -1, 3)
    hyp_RO, ref_RO, match_RO = sums_ROC[..., 0], sums_ROC[..., 1], sums_ROC[..., 2]
    both_RO = (hyp_RO > 0) & (ref_RO > 0)
    orders_R = numpy.maximum(both_RO.sum(axis=1), 1)
    precision_R = (both_RO * match_RO / numpy.maximum(hyp_RO, 1.0)).sum(axis=1) / orders_R
    recall_R = (both_RO * match_RO / numpy.maximum(ref_RO, 1.0)).sum(axis=1) / orders_R
    weight = _CHRF_BETA**2
    below_R = weight * precision_R + recall_R
    above_R = (1 + weight) * precision_R * recall_R
    values_R: Floats = 100.0 * above_R / numpy.where(below_R > 0, below_R, 1.0)
    return values_R


def ter_from_sums(sums_RK: Floats) -> Floats:
    """Return TER, edits by reference words, from sums of both; lower is better.

        TER = 100 sum edits / sum words;   100 for edits of nothing, 0 for nothing at all

    Args:
        sums_RK: [R, 2] edits, and words of the references (their mean where there are several).

    Returns:
        [R] values in percent, above 100 where there are more edits than words.

    Source: Snover et al. 2006, as in sacrebleu.
    """
    import numpy

    edits_R, words_R = sums_RK[:, 0], sums_RK[:, 1]
    share_R = edits_R / numpy.where(words_R > 0, words_R, 1.0)
    values_R: Floats = 100.0 * numpy.where(words_R > 0, share_R, numpy.minimum(edits_R, 1.0))
    return values_R


def sentence_bleu_from_sums(sums_RK: Floats) -> Floats:
    """Return sentence-BLEU: BLEU over the orders a short text has."""
    return bleu_from_sums(sums_RK, effective=True)
