"""Strengths of systems from wins, ties and losses of pairs: one fit, or thousands at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats

RIDGE = 1e-3
"""Keeps strengths finite where one system wins everything."""
CLOSE = 1e-9
"""Largest slope, in comparisons out of all, at which a fit is done."""
_STEPS, _HALVINGS = 200, 40
"""More than any fit takes: the loss is strictly convex, and a step that does not lower it is halved."""
_ROUNDING = 1e-12
"""Relative difference below which two losses are equal."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """Davidson's model fitted to B tables of the same systems."""

    strengths_BS: Floats
    """[B, S] log odds, mean 0."""
    ties_B: Floats
    """[B] log of the tie parameter."""


def davidson(
    counts_BP3: Floats, pairs: Sequence[tuple[int, int]], *, start: Fits | None = None
) -> Fits:
    """Return the strength of every system and the log of the tie parameter, for each table.

        P(i beats j) = e^{s_i} / Z,   P(tie) = nu e^{(s_i + s_j) / 2} / Z,
        Z = e^{s_i} + e^{s_j} + nu e^{(s_i + s_j) / 2}

    Newton's method on all tables at once, a step halved until it lowers the loss.

    Args:
        counts_BP3: [B, P, 3] wins of the first system of each pair, ties, wins of the second.
        pairs: numbers of the two systems of each pair, from 0.
        start: fit of one table to begin at; else all are equal.

    Source: Davidson 1970, doi 10.1080/01621459.1970.10481082. Differs: ridge of 1e-3 on strengths
    and log nu, without which they are infinite where a system wins everything or nothing is tied.
    """
    import numpy

    design_WK = _design(pairs)
    counts_BK = counts_BP3.reshape(len(counts_BP3), -1)
    weights_BW = numpy.zeros((len(counts_BK), len(design_WK)))
    if start is not None:
        weights_BW += numpy.append(start.strengths_BS[0], start.ties_B[0])
    enough_B = CLOSE * (1 + counts_BK.sum(axis=1))
    going = numpy.arange(len(counts_BK))
    for _ in range(_STEPS):
        own_BW, own_BK = weights_BW[going], counts_BK[going]
        slope_BW, curve_BWW = _slopes(own_BW, own_BK, design_WK)
        far_B = numpy.abs(slope_BW).max(axis=1) > enough_B[going]
        going = going[far_B]
        if not len(going):
            break
        step_BW = numpy.linalg.solve(curve_BWW[far_B], slope_BW[far_B][..., None])[..., 0]
        weights_BW[going] = _lower(own_BW[far_B], step_BW, own_BK[far_B], design_WK)
    assert not len(going), "a strictly convex loss has been left before its least"
    return Fits(strengths_BS=weights_BW[:, :-1], ties_B=weights_BW[:, -1])


def _design(pairs: Sequence[tuple[int, int]]) -> Floats:
    """Return [W, 3P] what each weight, of S systems and of ties, adds to the logit of each outcome."""
    import numpy

    systems = 1 + max(number for pair in pairs for number in pair)
    design_WP3 = numpy.zeros((systems + 1, len(pairs), 3))
    for place, (first, second) in enumerate(pairs):
        design_WP3[first, place] += (1.0, 0.5, 0.0)
        design_WP3[second, place] += (0.0, 0.5, 1.0)
    design_WP3[-1, :, 1] = 1.0
    return design_WP3.reshape(systems + 1, -1)


def _slopes(weights_BW: Floats, counts_BK: Floats, design_WK: Floats) -> tuple[Floats, Floats]:
    """Return slope [B, W] and curvature [B, W, W] of the loss."""
    import numpy

    rows, size = weights_BW.shape
    logits_BP3 = (weights_BW @ design_WK).reshape(rows, -1, 3)
    total_BP1 = counts_BK.reshape(rows, -1, 3).sum(axis=2, keepdims=True)
    shares_BP3 = numpy.exp(logits_BP3 - logits_BP3.max(axis=2, keepdims=True))
    shares_BP3 /= shares_BP3.sum(axis=2, keepdims=True)
    expected_BK = (total_BP1 * shares_BP3).reshape(rows, -1)
    slope_BW = (expected_BK - counts_BK) @ design_WK.T + RIDGE * weights_BW
    squares_KWW = numpy.einsum("wk,vk->kwv", design_WK, design_WK).reshape(-1, size * size)
    mean_BPW = numpy.einsum("bpk,wpk->bpw", shares_BP3, design_WK.reshape(size, -1, 3))
    curve_BWW = (expected_BK @ squares_KWW).reshape(rows, size, size)
    curve_BWW -= (mean_BPW * total_BP1).swapaxes(1, 2) @ mean_BPW
    return slope_BW, curve_BWW + RIDGE * numpy.eye(size)


def _lower(weights_BW: Floats, step_BW: Floats, counts_BK: Floats, design_WK: Floats) -> Floats:
    """Return the weights after as much of each step as lowers the loss."""
    import numpy

    before_B = _losses(weights_BW, counts_BK, design_WK)
    most_B = before_B + _ROUNDING * (1 + numpy.abs(before_B))
    part_B1 = numpy.ones((len(weights_BW), 1))
    for _ in range(_HALVINGS):
        after_BW = weights_BW - part_B1 * step_BW
        worse_B = _losses(after_BW, counts_BK, design_WK) > most_B
        if not worse_B.any():
            break
        part_B1[worse_B] /= 2
    return after_BW


def _losses(weights_BW: Floats, counts_BK: Floats, design_WK: Floats) -> Floats:
    import numpy

    logits_BK = weights_BW @ design_WK
    logits_BP3 = logits_BK.reshape(len(weights_BW), -1, 3)
    norm_BP = numpy.logaddexp.reduce(logits_BP3, axis=2)
    total_BP = counts_BK.reshape(logits_BP3.shape).sum(axis=2)
    fit_B: Floats = (total_BP * norm_BP).sum(axis=1) - (counts_BK * logits_BK).sum(axis=1)
    ridge_B: Floats = RIDGE * (weights_BW**2).sum(axis=1) / 2
    return fit_B + ridge_B
