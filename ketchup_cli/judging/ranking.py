"""A ranking of three systems or more from wins, ties and losses of all pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

RIDGE = 1e-3
"""Keeps strengths finite where one system wins everything."""


def davidson(counts: Mapping[tuple[str, str], tuple[float, float, float]]) -> dict[str, float]:
    """Return the strength of each system (log odds, mean 0) and `ties`, log of the tie parameter.

        P(i beats j) = e^{s_i} / Z,   P(tie) = nu e^{(s_i + s_j) / 2} / Z,
        Z = e^{s_i} + e^{s_j} + nu e^{(s_i + s_j) / 2}

    Args:
        counts: wins, ties and losses of the first system of each pair.

    Source: Davidson 1970, doi 10.1080/01621459.1970.10481082. Differs: ridge of 1e-3 on strengths.
    """
    import numpy
    from scipy.optimize import minimize

    names = sorted({name for pair in counts for name in pair})
    place = {name: number for number, name in enumerate(names)}
    first_P = numpy.asarray([place[x] for x, _ in counts])
    second_P = numpy.asarray([place[y] for _, y in counts])
    counts_P3 = numpy.asarray(list(counts.values()), dtype=numpy.float64)

    def loss(weights: Floats) -> float:
        one_P, other_P = weights[first_P], weights[second_P]
        logits_P3 = numpy.stack([one_P, weights[-1] + (one_P + other_P) / 2, other_P], axis=1)
        norm_P = numpy.logaddexp.reduce(logits_P3, axis=1)
        fit = (counts_P3 * (norm_P[:, None] - logits_P3)).sum()
        return float(fit + RIDGE * (weights**2).sum() / 2)

    found = minimize(loss, numpy.zeros(len(names) + 1), method="BFGS").x
    strengths = found[:-1] - found[:-1].mean()
    return {
        **{name: float(strengths[place[name]]) for name in names},
        "ties": float(found[-1]),
    }


def cycles(rates: Mapping[tuple[str, str], float]) -> tuple[tuple[str, str, str], ...]:
    """Return every three systems of which each is preferred to the next, and the last to the first.

    Args:
        rates: win rate of the first system of each pair, both directions not needed.
    """
    whole = {**rates, **{(y, x): 1 - rate for (x, y), rate in rates.items()}}
    names = sorted({name for pair in rates for name in pair})
    return tuple(
        (a, b, c)
        for a, b, c in _turned(itertools.combinations(names, 3))
        if min(whole.get((a, b), 0), whole.get((b, c), 0), whole.get((c, a), 0)) > 0.5
    )


def _turned(
    triples: itertools.combinations[tuple[str, str, str]],
) -> Sequence[tuple[str, str, str]]:
    return [way for a, b, c in triples for way in ((a, b, c), (a, c, b))]
