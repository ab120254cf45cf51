"""How far judges agree beyond chance, from the labels they gave to the same units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ketchup_cli.statistics.resampling import Summed, percentile_interval, resampled, whole

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats

DEFINED = 0.95
"""Least share of resamples in which a coefficient exists, for an interval to be told."""

Labels = Sequence[str | None]
"""One judge's labels, a unit each; None where it gave none."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A coefficient: 1 for full agreement, 0 for that of chance."""

    value: float | None
    """None where it does not exist: nobody labelled twice, or only one label was ever given."""
    interval: tuple[float, float] | None
    """95 %, over items; None where it is not told."""
    units: int
    """Labelled by two judges or more."""


def krippendorff_alpha(
    judges: Sequence[Labels], *, items: Sequence[str], resamples: int, seed: int
) -> Agreement:
    """Return Krippendorff's alpha of nominal labels, of any number of judges, some missing.

        alpha = 1 - D_o / D_e
        D_o = 1/n   sum_u 1/(m_u - 1) sum_{c != k} n_uc n_uk
        D_e = 1/(n (n - 1)) sum_{c != k} n_c n_k,      n = sum_u m_u,  n_c = sum_u n_uc

    over the units u that m_u >= 2 judges labelled, n_uc of them with c.

    Args:
        judges: labels of each, over the same units.
        items: what every unit belongs to; units of one item are drawn together.
        resamples: bootstrap samples of the items.
        seed: decides them.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
    """
    import numpy

    labels = sorted({label for one in judges for label in one if label is not None})
    place = {label: number for number, label in enumerate(labels)}
    counts_UC = numpy.zeros((len(items), len(labels)))
    for one in judges:
        for unit, label in enumerate(one):
            if label is not None:
                counts_UC[unit, place[label]] += 1
    made_U = counts_UC.sum(axis=1)
    counts_UC, made_U = counts_UC * (made_U >= 2)[:, None], made_U * (made_U >= 2)
    differing_U = made_U**2 - (counts_UC**2).sum(axis=1)
    observed_U = differing_U / numpy.maximum(made_U - 1, 1)
    statistics_UK = numpy.concatenate([observed_U[:, None], counts_UC], axis=1)

    def alpha(sums_BK: Floats) -> Floats:
        made_B, squares_B = sums_BK[:, 1:].sum(axis=1), (sums_BK[:, 1:] ** 2).sum(axis=1)
        expected_B = (made_B**2 - squares_B) / numpy.maximum(made_B - 1, 1)
        return _one_less(sums_BK[:, 0], expected_B)

    summed = Summed(statistics_NK=_by_item(statistics_UK, items), combine=alpha)
    return _agreement(summed, units=int((made_U > 0).sum()), resamples=resamples, seed=seed)


def cohen_kappa(
    one: Labels, other: Labels, *, items: Sequence[str], resamples: int, seed: int
) -> Agreement:
    """Return Cohen's kappa of two judges, over the units both labelled.

        kappa = (p_o - p_e) / (1 - p_e),   p_o = sum_c p_cc,   p_e = sum_c p_c. p_.c

    Args:
        one: labels of a judge.
        other: labels of another, of the same units.
        items: what every unit belongs to; units of one item are drawn together.
        resamples: bootstrap samples of the items.
        seed: decides them.

    Source: Cohen 1960, doi 10.1177/001316446002000104.
    """
    import numpy

    labels = sorted({label for label in (*one, *other) if label is not None})
    size = len(labels)
    cells_UK = numpy.zeros((len(items), size * size))
    for unit, (first, second) in enumerate(zip(one, other, strict=True)):
        if first is not None and second is not None:
            cells_UK[unit, labels.index(first) * size + labels.index(second)] = 1

    def kappa(sums_BK: Floats) -> Floats:
        table_BCC = sums_BK.reshape(-1, size, size)
        total_B = table_BCC.sum(axis=(1, 2))
        rows_BC, columns_BC = table_BCC.sum(axis=2), table_BCC.sum(axis=1)
        by_chance_B = (rows_BC * columns_BC).sum(axis=1) / numpy.maximum(total_B, 1)
        agreed_B = numpy.trace(table_BCC, axis1=1, axis2=2)
        return _one_less(total_B - agreed_B, total_B - by_chance_B)

    summed = Summed(statistics_NK=_by_item(cells_UK, items), combine=kappa)
    return _agreement(summed, units=int(cells_UK.sum()), resamples=resamples, seed=seed)


def raw_agreement(one: Labels, other: Labels) -> float | None:
    """Return the share of the units both labelled that have the same label."""
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return sum(a == b for a, b in both) / len(both) if both else None


def confusion(one: Labels, other: Labels) -> Mapping[str, Mapping[str, int]]:
    """Return how often each label of one met each label of the other."""
    labels = sorted({label for label in (*one, *other) if label is not None})
    pairs = list(zip(one, other, strict=True))
    return {a: {b: pairs.count((a, b)) for b in labels} for a in labels}


def _one_less(part_B: Floats, whole_B: Floats) -> Floats:
    """Return 1 - part / whole; NaN, which no caller lets out, where whole is 0."""
    import numpy

    exists_B = whole_B > 0
    return numpy.where(exists_B, 1 - part_B / numpy.where(exists_B, whole_B, 1), numpy.nan)


def _by_item(statistics_UK: Floats, items: Sequence[str]) -> Floats:
    """Return the sums of the units' statistics over each item."""
    import numpy

    place = {item: number for number, item in enumerate(dict.fromkeys(items))}
    found_NK = numpy.zeros((len(place), statistics_UK.shape[1]))
    numpy.add.at(found_NK, [place[item] for item in items], statistics_UK)
    return found_NK


def _agreement(summed: Summed, *, units: int, resamples: int, seed: int) -> Agreement:
    import numpy

    if not units:
        return Agreement(value=None, interval=None, units=0)
    value = whole(summed)
    (drawn_B,) = resampled([summed], resamples=resamples, seed=seed)
    exists_B = numpy.isfinite(drawn_B)
    told = bool(numpy.isfinite(value)) and len(summed.statistics_NK) > 1
    return Agreement(
        value=value if numpy.isfinite(value) else None,
        interval=(
            percentile_interval(drawn_B[exists_B]) if told and exists_B.mean() >= DEFINED else None
        ),
        units=units,
    )
