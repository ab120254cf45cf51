"""What people said of some of the pairs: how far a judge agrees, and its rates corrected by it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ketchup_cli.errors import DataError
from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.tally import Judgment, cautious_verdicts, values_by_item
from ketchup_cli.statistics.agreement import cohen_kappa, confusion, raw_agreement
from ketchup_cli.statistics.corrected import corrected_rate

FORM = '{"item": "ID", "aspect": "quality", "x": "one", "y": "other", "verdict": "x"}'
_VALUE: Mapping[str, float] = {"x": 1.0, "tie": 0.5, "y": 0.0}


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person's verdict: a line of the file of `--human`."""

    item: str
    """Id of the example."""
    aspect: str
    x: str
    y: str
    verdict: Literal["x", "y", "tie"]
    person: str = ""
    """Who said it; several people's verdicts on one pair are averaged."""


class HumanFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One judge beside people, on one pair and aspect."""

    judge: str
    x: str
    y: str
    aspect: str
    units: int
    """Items that people labelled and the judge judged."""
    same: float | None
    """Share of them with the same verdict, the judge's by both orders."""
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    confusion: dict[str, dict[str, int]]
    """Verdicts of the judge, by those of people."""
    human_rate: float | None
    """Mean value for x that people gave."""
    sensitivity: float | None
    specificity: float | None
    corrected: float | None
    """The judge's win rate of x over all items, corrected; None where the labels cannot tell."""
    corrected_interval: tuple[float, float] | None


def read_labels(path: Path) -> tuple[Label, ...]:
    """Return the labels of a JSON Lines file.

    Raises:
        DataError: a line is no label, one person labels a pair twice, or there is none.
    """
    found: list[Label] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label = msgspec.json.decode(line, type=Label)
        except msgspec.DecodeError as error:
            raise DataError(f"line {number} of `{path}` is no label: {error}", hint=FORM) from None
        key = (label.item, label.aspect, *sorted((label.x, label.y)), label.person)
        if key in seen:
            raise DataError(
                f"lines {seen[key]} and {number} of `{path}` are of the same pair and person",
                hint='give each person a name: "person": "p1"',
            )
        seen[key] = number
        found.append(label)
    if not found:
        raise DataError(f"`{path}` holds no label", hint=FORM)
    return tuple(found)


def human_figures(
    rows: Sequence[Judgment], labels: Sequence[Label], *, how: Resampling
) -> tuple[HumanFigure, ...]:
    """Return every judge beside people, on each pair and aspect that somebody labelled.

    Raises:
        DataError: no label is of anything that was judged.
    """
    values = _people(labels)
    groups: dict[tuple[str, str, str, str], list[Judgment]] = defaultdict(list)
    for row in rows:
        if row.control is None:
            groups[row.judge, row.x, row.y, row.aspect].append(row)
    found = tuple(
        _figure(key, own, people, how=how)
        for key, own in groups.items()
        if (people := _oriented(values, *key[1:])) and any(row.item in people for row in own)
    )
    if not found:
        label = labels[0]
        raise DataError(
            f"none of {len(labels):,} labels is of what was judged; the first: `{label.item}`,"
            f" {label.x} and {label.y}, {label.aspect}",
            hint="items are ids of examples, x and y names of systems as they were typed",
        )
    return found


def unused_labels(rows: Sequence[Judgment], labels: Sequence[Label]) -> int:
    """Return how many labels are of nothing that was judged."""
    asked = {(row.item, row.aspect, *sorted((row.x, row.y))) for row in rows if not row.control}
    return sum(
        (label.item, label.aspect, *sorted((label.x, label.y))) not in asked for label in labels
    )


def _people(labels: Sequence[Label]) -> Mapping[tuple[str, str, str], Mapping[str, float]]:
    """Return the mean value for x by item, of every x, y and aspect in the order of the file."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(dict)
    for label in labels:
        own = found[label.x, label.y, label.aspect].setdefault(label.item, [])
        own.append(_VALUE[label.verdict])
    return {
        key: {item: sum(values) / len(values) for item, values in own.items()}
        for key, own in found.items()
    }


def _oriented(
    values: Mapping[tuple[str, str, str], Mapping[str, float]], x: str, y: str, aspect: str
) -> dict[str, float]:
    """Return people's values for x, also of labels that name the two the other way round."""
    turned = {item: 1 - value for item, value in values.get((y, x, aspect), {}).items()}
    return {**turned, **values.get((x, y, aspect), {})}


def _figure(
    key: tuple[str, str, str, str],
    rows: Sequence[Judgment],
    people: Mapping[str, float],
    *,
    how: Resampling,
) -> HumanFigure:
    import numpy

    judge, x, y, aspect = key
    values = values_by_item(rows)
    said = {unit[0]: verdict for unit, verdict in cautious_verdicts(rows).items() if unit[3] == 0}
    items = [item for item in values if item in people]
    human = [_verdict(people[item]) for item in items]
    judged = [said.get(item) for item in items]
    kappa = cohen_kappa(
        human,
        judged,
        items=[how.clusters.get(item, item) for item in items],
        resamples=how.resamples,
        seed=how.seed,
    )
    rate = corrected_rate(
        numpy.asarray(list(values.values())),
        numpy.asarray([values[item] for item in items]),
        numpy.asarray([people[item] for item in items]),
        clusters=(_numbers(values, how.clusters), _numbers(items, how.clusters)),
    )
    return HumanFigure(
        judge=judge,
        x=x,
        y=y,
        aspect=aspect,
        units=len(items),
        same=raw_agreement(human, judged),
        kappa=kappa.value,
        kappa_interval=kappa.interval,
        confusion={one: dict(row) for one, row in confusion(human, judged).items()},
        human_rate=sum(people[item] for item in items) / len(items) if items else None,
        sensitivity=rate.sensitivity,
        specificity=rate.specificity,
        corrected=rate.rate,
        corrected_interval=rate.interval,
    )


def _numbers(items: Iterable[str], clusters: Mapping[str, str]) -> list[int]:
    """Return the number of each item's cluster."""
    place: dict[str, int] = {}
    return [place.setdefault(clusters.get(item, item), len(place)) for item in items]


def _verdict(value: float) -> str:
    return "x" if value > 0.5 else "y" if value < 0.5 else "tie"
