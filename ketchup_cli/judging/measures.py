"""A mean over items, of win rates and of ratings alike: its interval, its test, what may be said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, final

from ketchup_cli.statistics.claims import ITEMS_ASKED, Claim, shown
from ketchup_cli.statistics.means import clustered, mean_interval
from ketchup_cli.statistics.power import ALPHA, minimum_detectable
from ketchup_cli.statistics.significance import holm, sign_flip_p

PANEL = "panel"
"""The judge whose figures are those of all believed judges together."""
Said = Claim | Literal["unjudged"]
"""unjudged: what is missing could turn what would be claimed without it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How intervals and tests are drawn."""

    resamples: int
    """Bootstrap samples and sign flips."""
    seed: int
    clusters: Mapping[str, str] = field(default_factory=dict)
    """What items that belong together share, by item; one that is not named stands alone."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a value can be, and what it is where there is no difference."""

    least: float
    most: float
    none: float

    def bounds(self, total: float, *, missing: int, judged: int) -> tuple[float, float]:
        """Return the mean if every missing value were the least, or the largest."""
        count = judged + missing
        return (total + missing * self.least) / count, (total + missing * self.most) / count


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over items; None is where nothing was judged, or one cluster alone."""

    clusters: int
    """Items, of which those that belong together count as one."""
    value: float | None
    interval: tuple[float, float] | None
    p: float | None
    """Two-sided, of no difference; before any correction."""
    detectable: float | None
    """Smallest distance from no difference that is found with 80 % power."""


class Told(Protocol):
    """A call of any kind that a judge was asked."""

    @property
    def judge(self) -> str:
        """Who was asked."""

    @property
    def control(self) -> str | None:
        """Which control it is, if it is one."""


Row = TypeVar("Row", bound=Told)


def by_judge(
    rows: Iterable[Row], of: Callable[[Row], tuple[str, ...]], *, panel: Sequence[str]
) -> dict[tuple[str, ...], list[Row]]:
    """Return the rows by judge and what else they are of, controls left out.

    Args:
        rows: of one judge or several.
        of: what a row is of.
        panel: judges whose rows stand together too, after all others, as those of `PANEL`; fewer
            than two make none.
    """
    alone: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    together: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.control is None:
            alone[row.judge, *of(row)].append(row)
            if len(panel) > 1 and row.judge in panel:
                together[PANEL, *of(row)].append(row)
    return {**alone, **together}


def mean_over_items(
    values: Mapping[str, float], scale: Scale, *, tests: int, how: Resampling
) -> Mean:
    """Return the mean of values by item; what belongs together is drawn and flipped together.

    Args:
        values: one an item.
        scale: of the values.
        tests: how many are made: the power is told at the level the first of them has after Holm.
        how: resamples, seed and clusters.
    """
    if not values:
        return Mean(clusters=0, value=None, interval=None, p=None, detectable=None)
    found = clustered(values, how.clusters)
    within, many = (scale.least, scale.most), len(found.sums_C) > 1
    apart_C = found.sums_C - scale.none * found.counts_C
    return Mean(
        clusters=len(found.sums_C),
        value=found.mean,
        interval=mean_interval(found, within=within, resamples=how.resamples, seed=how.seed),
        p=sign_flip_p(apart_C, trials=how.resamples, seed=how.seed),
        detectable=minimum_detectable(found.error, alpha=ALPHA / tests) if many else None,
    )


def corrected(ps: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return p values after Holm; where there is none, none was tested."""
    known = iter(holm([p for p in ps if p is not None]))
    return tuple(None if p is None else next(known) for p in ps)


class Figured(Protocol):
    """Anything that was made of a `Mean`."""

    @property
    def x(self) -> str:
        """One of two systems."""

    @property
    def y(self) -> str:
        """The other."""

    @property
    def aspect(self) -> str:
        """What was judged."""

    @property
    def clusters(self) -> int:
        """Independent items."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The mean if all that is missing were as bad, or as good, as can be."""


def said(figure: Figured, p_corrected: float, scale: Scale) -> Said:
    """Return what may be said of a mean: nothing where what is missing could turn it."""
    found = shown(figure.interval, p_corrected, items=figure.clusters, none=scale.none)
    if found in {"higher", "lower"} and figure.bounds[0] <= scale.none <= figure.bounds[1]:
        return "unjudged"
    return found


def nothing_claimed(figure: Figured, why: Said) -> str:
    """Return why no difference is claimed."""
    told = f"no difference of {figure.x} and {figure.y} in {figure.aspect} can be claimed"
    if why == "too few items":
        return f"{told}: {figure.clusters} of {ITEMS_ASKED} independent items"
    return f"{told}: the unjudged could turn it" if why == "unjudged" else told


def nothing_known(figure: Figured, why: str) -> str:
    """Return that nothing was judged."""
    return f"nothing can be said of {figure.x} and {figure.y} in {figure.aspect}: {why}"
