"""How far several judges agree with each other: by aspect, over all units they were asked about."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.rating import Rated
from ketchup_cli.judging.tally import Judgment, cautious_verdicts
from ketchup_cli.statistics.agreement import cohen_kappa, krippendorff_alpha, raw_agreement

Unit = tuple[str, ...]
"""An item first; then what else tells one question from another."""


class PairAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far two judges agree."""

    one: str
    other: str
    units: int
    """Both gave a label to."""
    same: float | None
    """Share of them with the same label."""
    kappa: float | None
    """Cohen's; None where it does not exist."""
    interval: tuple[float, float] | None


class JudgesAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far all judges agree on one aspect."""

    aspect: str
    units: int
    """Two judges or more gave a label to."""
    alpha: float | None
    """Krippendorff's, nominal; None where it does not exist."""
    interval: tuple[float, float] | None
    pairs: tuple[PairAgreement, ...]


def labels_of(
    rows: Sequence[Judgment] | Sequence[Rated],
) -> dict[str, dict[str, dict[Unit, str | None]]]:
    """Return the label of every unit, by aspect and judge: a verdict by both orders, or a rating."""
    found: dict[str, dict[str, dict[Unit, str | None]]] = defaultdict(dict)
    compared: dict[tuple[str, str], list[Judgment]] = defaultdict(list)
    for row in rows:
        if row.control is not None:
            continue
        if isinstance(row, Judgment):
            compared[row.aspect, row.judge].append(row)
            continue
        label = None if row.rating is None else str(row.rating)
        own = found[row.aspect].setdefault(row.judge, {})
        own[row.item, row.system, str(row.repeat)] = label
    for (aspect, judge), own_rows in compared.items():
        found[aspect][judge] = {
            (item, x, y, str(repeat)): verdict
            for (item, x, y, repeat), verdict in cautious_verdicts(own_rows).items()
        }
    return dict(found)


def agreements(
    rows: Sequence[Judgment] | Sequence[Rated], *, how: Resampling
) -> tuple[JudgesAgreement, ...]:
    """Return how far the judges agree on every aspect; nothing for a single judge."""
    return tuple(
        _agreement(aspect, judges, how=how)
        for aspect, judges in labels_of(rows).items()
        if len(judges) > 1
    )


def _agreement(
    aspect: str, judges: Mapping[str, Mapping[Unit, str | None]], *, how: Resampling
) -> JudgesAgreement:
    units = list(dict.fromkeys(unit for own in judges.values() for unit in own))
    items = [how.clusters.get(unit[0], unit[0]) for unit in units]
    drawn = {"resamples": how.resamples, "seed": how.seed}
    labels = {judge: [own.get(unit) for unit in units] for judge, own in judges.items()}
    whole = krippendorff_alpha(list(labels.values()), items=items, **drawn)
    pairs: list[PairAgreement] = []
    for (one, first), (other, second) in itertools.combinations(labels.items(), 2):
        kappa = cohen_kappa(first, second, items=items, **drawn)
        pairs.append(
            PairAgreement(
                one=one,
                other=other,
                units=kappa.units,
                same=raw_agreement(first, second),
                kappa=kappa.value,
                interval=kappa.interval,
            )
        )
    return JudgesAgreement(
        aspect=aspect,
        units=whole.units,
        alpha=whole.value,
        interval=whole.interval,
        pairs=tuple(pairs),
    )
