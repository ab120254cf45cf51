"""A rate that an imperfect judge measured, corrected by what people said of some of the items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ketchup_cli.statistics.resampling import LEVEL

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """The rate people would have found, as far as the labels tell."""

    rate: float | None
    """None where the judge tells people's wins from their losses no better than a coin."""
    interval: tuple[float, float] | None
    """95 %, with the chance in the labels as well as in the judge's items."""
    sensitivity: float | None
    """Mean of the judge's values where people saw a win."""
    specificity: float | None
    """One less that mean where they saw a loss."""


Clusters = tuple[Sequence[int], Sequence[int]]
"""Numbers of the clusters of all items, and of the labelled ones."""


def corrected_rate(
    values_N: Floats, judged_M: Floats, human_M: Floats, *, clusters: Clusters | None = None
) -> Corrected:
    """Return a judge's win rate, corrected for its sensitivity and specificity.

        theta = (p + q0 - 1) / (q0 + q1 - 1)
        interval = theta~ + d -+ z sqrt(v_p + (1 - theta~)^2 v_0 + theta~^2 v_1) / (q0~ + q1~ - 1)
        d = 2 z^2 (theta~ v_1 - (1 - theta~) v_0) / (q0~ + q1~ - 1)

    A value h of people counts h to the wins and 1 - h to the losses: for any tie half of each. Then
    p = theta q1 + (1 - theta) (1 - q0) holds exactly, ties and all, where the labelled items are
    like the others. Tilde: as if there were z^2 / 2 more wins and as many losses among the values,
    and one more of each in both groups of labels; v is a variance of a mean so computed, with what
    the values of a cluster have in common.

    Args:
        values_N: [N] the judge's values of all items, in [0, 1].
        judged_M: [M] its values of the items people labelled.
        human_M: [M] people's values of the same, in [0, 1]: 1 win, 1/2 tie, 0 loss.
        clusters: numbers of what is drawn together, of the N and of the M; else nothing is.

    Source: Lee et al., arXiv 2511.21140, after Rogan and Gladen 1978. Differs: values between 0 and
    1, for the judge and for people. Where labelled items are among the N, p and q vary together and
    the interval is a little too wide.
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + LEVEL) / 2))
    wins, losses = float(human_M.sum()), float((1 - human_M).sum())
    if not wins or not losses:
        return Corrected(rate=None, interval=None, sensitivity=None, specificity=None)
    q1 = float((human_M * judged_M).sum()) / wins
    q0 = 1 - float(((1 - human_M) * judged_M).sum()) / losses
    of_N, of_M = clusters or (range(len(values_N)), range(len(judged_M)))
    p, v_p = _mean(values_N, values_N * 0 + 1, of_N, more=z**2 / 2)
    one, v_1 = _mean(judged_M, human_M, of_M, more=1)
    other, v_0 = _mean(judged_M, 1 - human_M, of_M, more=1)
    told, skill = q0 + q1 - 1, one - other
    if told <= 0 or skill <= 0:
        return Corrected(rate=None, interval=None, sensitivity=q1, specificity=q0)
    rate = _cut((float(values_N.mean()) + q0 - 1) / told)
    smooth = (p - other) / skill
    near = _cut(smooth)
    moved = smooth + 2 * z**2 * (near * v_1 - (1 - near) * v_0) / skill
    half = z * math.sqrt(v_p + (1 - near) ** 2 * v_0 + near**2 * v_1) / skill
    return Corrected(
        rate=rate,
        interval=(_cut(min(rate, moved - half)), _cut(max(rate, moved + half))),
        sensitivity=q1,
        specificity=q0,
    )


def _mean(
    values_N: Floats, weights_N: Floats, clusters_N: Sequence[int], *, more: float
) -> tuple[float, float]:
    """Return a weighted mean and its variance, with so many ones and as many zeros added.

    Var = ((E x^2 - mean^2) W + sum_c (sum_{i in c} r_i)^2 - sum_i r_i^2) / W^2,  r_i = w_i (x_i - mean)
    """
    import numpy

    total = float(weights_N.sum()) + 2 * more
    mean = (float((weights_N * values_N).sum()) + more) / total
    second = (float((weights_N * values_N**2).sum()) + more) / total
    apart_N = weights_N * (values_N - mean)
    in_common = (numpy.bincount(clusters_N, weights=apart_N) ** 2).sum() - (apart_N**2).sum()
    return mean, (second - mean**2) / total + float(in_common) / total**2


def _cut(rate: float) -> float:
    return min(1.0, max(0.0, rate))
