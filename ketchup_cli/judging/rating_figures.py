"""From ratings to figures: the mean of every system, and how far two systems are apart.

The unit is an item: repeats are averaged first, and all intervals and tests go over items.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ketchup_cli.judging.rating import LEAST, MOST, Rated
from ketchup_cli.statistics.claims import ITEMS_ASKED
from ketchup_cli.statistics.means import mean_interval
from ketchup_cli.statistics.power import ALPHA, minimum_detectable
from ketchup_cli.statistics.significance import holm, sign_flip_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

_APART = float(MOST - LEAST)


class RatingFigure(msgspec.Struct, frozen=True, kw_only=True):
    """What one system was rated on one aspect, by one judge."""

    judge: str
    system: str
    aspect: str
    items: int
    unjudged: int
    """Items without a single usable rating."""
    mean: float | None
    """Over items, from 1 to 5; None where nothing was rated."""
    interval: tuple[float, float] | None
    bounds: tuple[float, float]
    """The mean if every unjudged item were rated 1, or 5."""
    deviation: float | None
    """Standard deviation between items."""
    ratings: dict[str, int]
    """How often each rating was answered, or was the likeliest."""
    characters: float
    """Mean length of the texts."""


class RatingDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How far two systems are apart on one aspect, by one judge: over the items rated in both."""

    judge: str
    x: str
    y: str
    aspect: str
    items: int
    unjudged: int
    difference: float | None
    """Mean of x less that of y."""
    interval: tuple[float, float] | None
    bounds: tuple[float, float]
    """The difference if all that was not rated were as bad, or as good, for x as can be."""
    p: float | None
    p_holm: float | None
    detectable: float | None
    """Smallest difference found with 80 % power, at the level of the first of all these tests."""
    claim: str


def rating_figures(rows: Sequence[Rated], *, resamples: int, seed: int) -> tuple[RatingFigure, ...]:
    """Return the figures of every system and aspect."""
    groups: dict[tuple[str, str, str], list[Rated]] = defaultdict(list)
    for row in rows:
        if row.control is None:
            groups[row.judge, row.system, row.aspect].append(row)
    return tuple(_figure(group, resamples=resamples, seed=seed) for group in groups.values())


def _figure(rows: Sequence[Rated], *, resamples: int, seed: int) -> RatingFigure:
    import numpy

    values = _by_item(rows)
    judged_N = numpy.asarray([value for value in values.values() if value is not None])
    missing, total = len(values) - len(judged_N), float(judged_N.sum())
    return RatingFigure(
        judge=rows[0].judge,
        system=rows[0].system,
        aspect=rows[0].aspect,
        items=len(values),
        unjudged=missing,
        mean=float(judged_N.mean()) if len(judged_N) else None,
        interval=mean_interval(judged_N, within=(LEAST, MOST), resamples=resamples, seed=seed),
        bounds=(
            (total + missing * LEAST) / len(values),
            (total + missing * MOST) / len(values),
        ),
        deviation=float(judged_N.std(ddof=1)) if len(judged_N) > 1 else None,
        ratings=_counts(rows),
        characters=sum(row.characters for row in rows) / len(rows),
    )


def _counts(rows: Sequence[Rated]) -> dict[str, int]:
    found = Counter(str(row.rating) for row in rows if row.rating is not None)
    return {str(rating): found[str(rating)] for rating in range(LEAST, MOST + 1)}


def _by_item(rows: Sequence[Rated]) -> dict[str, float | None]:
    """Return the mean rating of every item; None where none of its repeats was rated."""
    found: dict[str, list[float]] = {row.item: [] for row in rows}
    for row in rows:
        if row.value is not None:
            found[row.item].append(row.value)
    return {item: sum(values) / len(values) if values else None for item, values in found.items()}


def rating_differences(
    rows: Sequence[Rated], systems: Sequence[str], *, resamples: int, seed: int
) -> tuple[RatingDifference, ...]:
    """Return how far every two systems are apart, p corrected over all of them (Holm)."""
    groups: dict[tuple[str, str], dict[str, list[Rated]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.control is None:
            groups[row.judge, row.aspect][row.system].append(row)
    tests = len(groups) * math.comb(len(systems), 2)
    found = [
        made
        for group in groups.values()
        for made in _apart(group, systems, tests=tests, resamples=resamples, seed=seed)
    ]
    tested = [one for one in found if one.p is not None]
    corrected = holm([one.p or 0.0 for one in tested])
    known = {id(one): p for one, p in zip(tested, corrected, strict=True)}
    return tuple(_with_claim(one, known.get(id(one))) for one in found)


def _apart(
    group: Mapping[str, Sequence[Rated]],
    systems: Sequence[str],
    *,
    tests: int,
    resamples: int,
    seed: int,
) -> Iterator[RatingDifference]:
    import numpy

    values = {system: _by_item(group[system]) for system in systems}
    row = group[systems[0]][0]
    for x, y in itertools.combinations(systems, 2):
        gaps = {item: _gap(one, values[y].get(item)) for item, one in values[x].items()}
        gaps_N = numpy.asarray([gap for gap in gaps.values() if gap is not None])
        missing, total = len(gaps) - len(gaps_N), float(gaps_N.sum())
        many = len(gaps_N) > 1
        error = float(gaps_N.std(ddof=1)) / math.sqrt(len(gaps_N)) if many else 0.0
        yield RatingDifference(
            judge=row.judge,
            x=x,
            y=y,
            aspect=row.aspect,
            items=len(gaps),
            unjudged=missing,
            difference=float(gaps_N.mean()) if len(gaps_N) else None,
            interval=mean_interval(
                gaps_N, within=(-_APART, _APART), resamples=resamples, seed=seed
            ),
            bounds=(
                (total - _APART * missing) / len(gaps),
                (total + _APART * missing) / len(gaps),
            ),
            p=sign_flip_p(gaps_N, trials=resamples, seed=seed) if len(gaps_N) else None,
            p_holm=None,
            detectable=minimum_detectable(error, alpha=ALPHA / tests) if many else None,
            claim="",
        )


def _gap(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _with_claim(found: RatingDifference, p_holm: float | None) -> RatingDifference:
    return msgspec.structs.replace(found, p_holm=p_holm, claim=_claim(found, p_holm))


def _claim(found: RatingDifference, p_holm: float | None) -> str:
    """Return what may be said, and no more."""
    judged = found.items - found.unjudged
    if p_holm is None or found.interval is None or found.difference is None:
        return f"nothing can be said about {found.aspect}: {judged} of {found.items} items rated"
    low, high = found.interval
    if p_holm >= ALPHA or low <= 0 <= high or judged < ITEMS_ASKED:
        return f"no difference in {found.aspect} can be claimed"
    if found.bounds[0] <= 0 <= found.bounds[1]:
        return f"no difference in {found.aspect} can be claimed: the unjudged could turn it"
    better, other = (found.x, found.y) if found.difference > 0 else (found.y, found.x)
    return f"this judge rates {better} above {other} in {found.aspect}"


def rating_controls_right(rows: Sequence[Rated]) -> tuple[int, int, dict[str, str]]:
    """Return controls answered rightly, controls asked, and both by kind.

    A spoilt text must be rated below the system's own for the same item and aspect; what was not
    rated, and a tie, is wrong.
    """
    own = {
        (row.judge, row.item, row.system, row.aspect): row.value
        for row in rows
        if row.control is None and row.repeat == 0
    }
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for row in rows:
        if row.control is None:
            continue
        better = own.get((row.judge, row.item, row.system, row.aspect))
        asked[row.control] += 1
        right[row.control] += better is not None and row.value is not None and row.value < better
    return right.total(), asked.total(), {kind: f"{right[kind]}/{asked[kind]}" for kind in asked}
