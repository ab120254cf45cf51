"""From ratings to figures: the mean of every system, and how far two systems are apart.

The unit is an item: repeats are averaged first, and all intervals and tests go over items.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ketchup_cli.judging.controls import Controls, counted
from ketchup_cli.judging.measures import (
    PANEL,
    Resampling,
    Scale,
    by_judge,
    corrected,
    mean_over_items,
    nothing_claimed,
    nothing_known,
    said,
)
from ketchup_cli.judging.rating import LEAST, MOST, Rated

RATING = Scale(least=LEAST, most=MOST, none=(LEAST + MOST) / 2)
"""Of one system, whose mean is held against nothing."""
APART = Scale(least=LEAST - MOST, most=MOST - LEAST, none=0.0)
"""Of one system's rating less another's."""


class RatingFigure(msgspec.Struct, frozen=True, kw_only=True):
    """What one system was rated on one aspect, by one judge."""

    judge: str
    system: str
    aspect: str
    items: int
    unjudged: int
    """Items without a single usable rating, or of several judges without one of each."""
    clusters: int
    """Items that were rated; those that belong together are one. Intervals go over these."""
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
    clusters: int
    """Items rated in both; those that belong together are one. Intervals and tests go over these."""
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


def rating_figures(
    rows: Sequence[Rated],
    *,
    how: Resampling,
    panel: Sequence[str] = (),
) -> tuple[RatingFigure, ...]:
    """Return the figures of every system and aspect, by every judge.

    Args:
        rows: controls among them, which are passed over.
        how: resamples, seed and clusters.
        panel: judges whose ratings are averaged into figures of their own, `PANEL`; fewer than two
            make none.
    """
    return tuple(_figure(key, group, how=how) for key, group in _groups(rows, panel=panel).items())


def _groups(rows: Sequence[Rated], *, panel: Sequence[str]) -> dict[tuple[str, ...], list[Rated]]:
    """Return the rows by judge, aspect and system."""
    return by_judge(rows, lambda row: (row.aspect, row.system), panel=panel)


def _figure(key: tuple[str, ...], rows: Sequence[Rated], *, how: Resampling) -> RatingFigure:
    import numpy

    judge, aspect, system = key
    values = _by_item(rows)
    judged = _known(values)
    missing = len(values) - len(judged)
    mean = mean_over_items(judged, RATING, tests=1, how=how)
    return RatingFigure(
        judge=judge,
        system=system,
        aspect=aspect,
        items=len(values),
        unjudged=missing,
        clusters=mean.clusters,
        mean=mean.value,
        interval=mean.interval,
        bounds=RATING.bounds(sum(judged.values()), judged=len(judged), missing=missing),
        deviation=float(numpy.std(list(judged.values()), ddof=1)) if len(judged) > 1 else None,
        ratings=_counts(rows),
        characters=sum(row.characters for row in rows) / len(rows),
    )


def _counts(rows: Sequence[Rated]) -> dict[str, int]:
    found = Counter(str(row.rating) for row in rows if row.rating is not None)
    return {str(rating): found[str(rating)] for rating in range(LEAST, MOST + 1)}


def _by_item(rows: Sequence[Rated]) -> dict[str, float | None]:
    """Return the mean rating of every item; None where one of its judges gave none.

    Judges differ in how high they rate: a mean over those that answered would move with who did.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row.item][row.judge] += [] if row.value is None else [row.value]
    return {item: _mean_of_judges(list(of.values())) for item, of in found.items()}


def _mean_of_judges(values: Sequence[Sequence[float]]) -> float | None:
    if not all(values):
        return None
    return sum(sum(own) / len(own) for own in values) / len(values)


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {item: value for item, value in values.items() if value is not None}


def rating_differences(
    rows: Sequence[Rated],
    systems: Sequence[str],
    *,
    how: Resampling,
    panel: Sequence[str] = (),
) -> tuple[RatingDifference, ...]:
    """Return how far every two systems are apart, p corrected over all of them (Holm).

    Args:
        rows: controls among them, which are passed over.
        systems: in the order in which they are held against each other.
        how: resamples, seed and clusters.
        panel: as in `rating_figures`.
    """
    values: dict[tuple[str, str], dict[str, dict[str, float | None]]] = defaultdict(dict)
    for (judge, aspect, system), group in _groups(rows, panel=panel).items():
        values[judge, aspect][system] = _by_item(group)
    tests = len(values) * math.comb(len(systems), 2)
    found = [
        made
        for key, own in values.items()
        for made in _apart(key, own, systems, tests=tests, how=how)
    ]
    ps = corrected([one.p for one in found])
    return tuple(
        msgspec.structs.replace(one, p_holm=p, claim=_claim(one, p))
        for one, p in zip(found, ps, strict=True)
    )


def _apart(
    key: tuple[str, str],
    values: Mapping[str, Mapping[str, float | None]],
    systems: Sequence[str],
    *,
    tests: int,
    how: Resampling,
) -> Iterator[RatingDifference]:
    judge, aspect = key
    for x, y in itertools.combinations(systems, 2):
        gaps = {item: _gap(one, values[y].get(item)) for item, one in values[x].items()}
        judged = _known(gaps)
        missing = len(gaps) - len(judged)
        mean = mean_over_items(judged, APART, tests=tests, how=how)
        yield RatingDifference(
            judge=judge,
            x=x,
            y=y,
            aspect=aspect,
            items=len(gaps),
            unjudged=missing,
            clusters=mean.clusters,
            difference=mean.value,
            interval=mean.interval,
            bounds=APART.bounds(sum(judged.values()), judged=len(judged), missing=missing),
            p=mean.p,
            p_holm=None,
            detectable=mean.detectable,
            claim="",
        )


def _gap(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _claim(one: RatingDifference, p_holm: float | None) -> str:
    """Return what may be said, and no more."""
    if p_holm is None:
        judged = one.items - one.unjudged
        return nothing_known(one, f"{judged} of {one.items} items rated")
    found = said(one, p_holm, APART)
    if found not in {"higher", "lower"}:
        return nothing_claimed(one, found)
    better, other = (one.x, one.y) if found == "higher" else (one.y, one.x)
    who = "the judges together rate" if one.judge == PANEL else "this judge rates"
    return f"{who} {better} above {other} in {one.aspect}"


def rating_controls_of(rows: Sequence[Rated]) -> Controls:
    """Return how the controls among these were answered.

    A spoilt text must be rated below the system's own for the same item and aspect; what was not
    rated, and a tie, is wrong. Where both have the lowest rating there is none below it: such a
    control cannot tell, and does not count.
    """
    own = {
        (row.judge, row.item, row.system, row.aspect): row.value
        for row in rows
        if row.control is None and row.repeat == 0
    }

    def right(row: Rated) -> bool | None:
        better = own.get((row.judge, row.item, row.system, row.aspect))
        if better is None or row.value is None:
            return False
        return None if better == row.value == LEAST else row.value < better

    return counted((row.control, right(row)) for row in rows if row.control is not None)
