"""From verdicts to figures: win rates with intervals, what the judge itself is worth, a ranking.

A unit is an item, a pair of systems and an aspect (and a repeat), asked in both orders. Its value for x
is the mean over its two answers of 1, 1/2 and 0 for x, tie and y, or of what their probabilities make of
that. A unit with an answer missing
is unjudged: it is counted, and the bounds say what it could have changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, final

import msgspec

from ketchup_cli.judging.controls import Controls, counted
from ketchup_cli.judging.flags import SUSPICIOUS, Flag
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
from ketchup_cli.statistics.claims import ITEMS_ASKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

RATE = Scale(least=0.0, most=1.0, none=0.5)
"""A win rate: one half is no preference."""
_VALUE: Mapping[str, float] = {"x": 1.0, "tie": 0.5, "y": 0.0}


class Judgment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One call and what it came to: a line of `judgments.jsonl`."""

    key: str
    item: str
    aspect: str
    x: str
    y: str
    order: Literal["xy", "yx"]
    repeat: int
    outcome: str
    slot: Literal["1", "2", "tie"] | None
    """The verdict in terms of what was shown first and second."""
    verdict: Literal["x", "y", "tie"] | None
    reason: str
    detail: str
    control: str | None
    expected: Literal["1", "2", "tie"] | None
    model: str
    fingerprint: str
    prompt_tokens: int
    """Of the whole call, which may have been about other aspects as well."""
    cached_tokens: int
    """Of those of the prompt, what the server had seen before."""
    completion_tokens: int
    reasoning_tokens: int
    """Of those of the completion, what was thought and not shown."""
    usage_estimated: bool
    characters: tuple[int, int]
    """Of x and of y."""
    flags: tuple[Flag, ...] = ()
    judge: str = ""
    p: dict[str, float] | None = None
    """Probability of each slot and of a tie, where it was read from one token."""
    coverage: float | None = None
    """Probability of that token being a verdict at all."""

    @property
    def suspicious(self) -> bool:
        """Whether one of the texts talks to a judge."""
        return SUSPICIOUS in self.flags


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What one pair came to on one aspect, by one judge."""

    judge: str
    x: str
    y: str
    aspect: str
    units: int
    unjudged: int
    clusters: int
    """Items with a unit that was judged; those that belong together are one. Intervals and tests go
    over these."""
    wins: int
    ties: int
    losses: int
    """By the cautious rule: a win only where both orders say so. It draws rates to 50 %."""
    win_rate: float | None
    """Mean value for x, ties counted half; None where nothing was judged."""
    interval: tuple[float, float] | None
    bounds: tuple[float, float]
    """The rate if every unjudged unit were lost, or won."""
    p: float | None
    p_holm: float | None
    consistency: float | None
    """Share of units whose two orders agree."""
    first_slot: float | None
    """Share of decisive answers for what was shown first; 50 % is no bias."""
    length_adjusted: float | None
    """The rate at equal lengths, by a logistic fit."""
    length_ratio: float
    """Characters of x by those of y."""
    detectable: float | None
    """Smallest win rate above 50 % that this many units find with 80 % power, at the level the first
    of all tests has after Holm's correction."""
    claim: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    item: str
    value: float
    verdict: str
    """By the cautious rule."""
    agree: bool
    gap: int
    """Characters of x less those of y."""


def figures(
    judgments: Sequence[Judgment],
    *,
    how: Resampling,
    panel: Sequence[str] = (),
) -> tuple[Figure, ...]:
    """Return the figures of every judge, pair and aspect, p corrected over all of them (Holm).

    Args:
        judgments: controls among them, which are passed over.
        how: resamples, seed and clusters.
        panel: judges whose values are averaged into figures of their own, `PANEL`; fewer than two
            make none.
    """
    groups = by_judge(judgments, lambda row: (row.x, row.y, row.aspect), panel=panel)
    found = [
        _figure(rows, judge=key[0], tests=len(groups), how=how) for key, rows in groups.items()
    ]
    ps = corrected([figure.p for figure in found])
    return tuple(
        msgspec.structs.replace(figure, p_holm=p, claim=_claim(figure, p))
        for figure, p in zip(found, ps, strict=True)
    )


def cautious_verdicts(
    rows: Sequence[Judgment],
) -> dict[tuple[str, str, str, int], str | None]:
    """Return what one judge said on one aspect of every item, pair and repeat: x, y or tie.

    A win stands only where both orders say so; None is where one of them came to nothing.
    """
    units = _units(rows)
    return {key[1:]: None if unit is None else unit.verdict for key, unit in units.items()}


def controls_of(judgments: Iterable[Judgment]) -> Controls:
    """Return how the controls among these were answered."""
    return counted(
        (row.control, row.slot is not None and row.slot == row.expected)
        for row in judgments
        if row.control is not None
    )


class Row(Protocol):
    """A call of any kind that has come to something."""

    @property
    def outcome(self) -> str:
        """What it came to."""

    @property
    def control(self) -> str | None:
        """Which control it is, if it is one."""


def unjudged(rows: Iterable[Row]) -> dict[str, int]:
    """Return how many calls could not be used, by reason; controls are not counted."""
    return dict(Counter(row.outcome for row in rows if row.outcome != "ok" and row.control is None))


def values_by_item(rows: Sequence[Judgment]) -> dict[str, float]:
    """Return the mean value for x of every item one judge judged on one pair and aspect."""
    return _by_item(_judged(_units(rows)))


Units = Mapping[tuple[str, str, str, str, int], "_Unit | None"]
"""By judge, item, x, y and repeat, on one aspect; None where one of its orders came to nothing."""


def _units(rows: Iterable[Judgment]) -> Units:
    both: dict[tuple[str, str, str, str, int], dict[str, Judgment]] = defaultdict(dict)
    for row in rows:
        if row.control is None:
            both[row.judge, row.item, row.x, row.y, row.repeat][row.order] = row
    return {key: _unit(pair) for key, pair in both.items()}


def _judged(units: Units) -> list[_Unit]:
    return [unit for unit in units.values() if unit is not None]


def _figure(rows: Sequence[Judgment], *, judge: str, tests: int, how: Resampling) -> Figure:
    asked = _units(rows)
    units = _judged(asked)
    decisive = [row.slot for row in rows if row.slot in {"1", "2"}]
    values = _by_item(units)
    mean = mean_over_items(values, RATE, tests=tests, how=how)
    return Figure(
        judge=judge,
        x=rows[0].x,
        y=rows[0].y,
        aspect=rows[0].aspect,
        units=len(asked),
        unjudged=len(asked) - len(units),
        clusters=mean.clusters,
        wins=sum(unit.verdict == "x" for unit in units),
        ties=sum(unit.verdict == "tie" for unit in units),
        losses=sum(unit.verdict == "y" for unit in units),
        win_rate=mean.value,
        interval=mean.interval,
        bounds=RATE.bounds(
            sum(unit.value for unit in units),
            judged=len(units),
            missing=len(asked) - len(units),
        ),
        p=mean.p,
        p_holm=None,
        consistency=sum(unit.agree for unit in units) / len(units) if units else None,
        first_slot=decisive.count("1") / len(decisive) if decisive else None,
        length_adjusted=_at_equal_length(units) if len(values) >= ITEMS_ASKED else None,
        length_ratio=_length_ratio(rows),
        detectable=None if mean.detectable is None else min(1.0, RATE.none + mean.detectable),
        claim="",
    )


def _length_ratio(rows: Sequence[Judgment]) -> float:
    return sum(row.characters[0] for row in rows) / max(1, sum(row.characters[1] for row in rows))


def _unit(pair: Mapping[str, Judgment]) -> _Unit | None:
    """Return the value of a unit whose both orders were judged, else None."""
    verdicts = [row.verdict for row in pair.values()]
    if len(verdicts) != 2 or None in verdicts:
        return None
    row = next(iter(pair.values()))
    return _Unit(
        item=row.item,
        value=sum(map(_value, pair.values())) / 2,
        verdict=str(verdicts[0]) if verdicts[0] == verdicts[1] else "tie",
        agree=verdicts[0] == verdicts[1],
        gap=row.characters[0] - row.characters[1],
    )


def _value(row: Judgment) -> float:
    """Return what an answer is worth to x: by its probabilities where they are known."""
    if row.p is None:
        return _VALUE[str(row.verdict)]
    return row.p["1" if row.order == "xy" else "2"] + row.p["tie"] / 2


def _by_item(units: Sequence[_Unit]) -> dict[str, float]:
    """Return the mean value of every item: over judges, where there are several, and repeats."""
    found: dict[str, list[float]] = defaultdict(list)
    for unit in units:
        found[unit.item].append(unit.value)
    return {item: sum(values) / len(values) for item, values in found.items()}


def _at_equal_length(units: Sequence[_Unit]) -> float | None:
    """Return the rate at equal length: s ~ sigmoid(theta + beta tanh(gap / sd)), a little ridge.

    Source: the form of length control of Dubois et al. 2024, arXiv 2404.04475. Differs: no term for
    an item's difficulty, and fractional values.
    """
    import numpy
    from scipy.optimize import minimize

    gaps_N = numpy.asarray([unit.gap for unit in units], dtype=numpy.float64)
    values_N = numpy.asarray([unit.value for unit in units])
    spread = float(gaps_N.std())
    if spread == 0:
        return float(values_N.mean())
    lean_N = numpy.tanh(gaps_N / spread)

    def loss(weights: Floats) -> float:
        logit_N = weights[0] + weights[1] * lean_N
        fit_N = numpy.logaddexp(0.0, logit_N) - values_N * logit_N
        return float(fit_N.sum() + 0.5e-2 * (weights**2).sum())

    found = minimize(loss, numpy.zeros(2), method="BFGS")
    return float(1 / (1 + numpy.exp(-found.x[0])))


def _claim(figure: Figure, p_holm: float | None) -> str:
    """Return what may be said, and no more."""
    if p_holm is None:
        judged = figure.units - figure.unjudged
        return nothing_known(figure, f"{judged} of {figure.units} units judged")
    found = said(figure, p_holm, RATE)
    if found not in {"higher", "lower"}:
        return nothing_claimed(figure, found)
    better, other = (figure.x, figure.y) if found == "higher" else (figure.y, figure.x)
    if figure.judge == PANEL:
        return f"the judges together prefer {better} to {other} in {figure.aspect}"
    return f"this judge prefers {better} to {other} in {figure.aspect}"
