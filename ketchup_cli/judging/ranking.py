"""A ranking of three systems or more from wins, ties and losses of all pairs."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import msgspec

from ketchup_cli.judging.measures import PANEL, Resampling
from ketchup_cli.judging.tally import Figure, Judgment, cautious_verdicts
from ketchup_cli.statistics.davidson import davidson
from ketchup_cli.statistics.resampling import Summed, percentile_interval, resampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

FEWEST = 3
"""Systems of which a ranking says more than the figures of their pairs."""
_OUTCOMES = ("x", "tie", "y")

Verdicts = Mapping[tuple[str, str, str, int], str | None]
"""Of one judge by item, x, y and repeat; None where it gave none."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one system stands."""

    system: str
    place: int
    places: tuple[int, int]
    """Between which it stands in 95 % of the resamples."""
    strength: float
    """Log odds, mean 0: e to the difference of two is wins by losses. Where a system wins everything
    it is only as large as the ridge of the fit lets it be, and its interval is no guide."""
    interval: tuple[float, float]


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """All systems on one aspect, the strongest first, and what it was made from."""

    judge: str
    aspect: str
    systems: tuple[Place, ...]
    ties: float
    """Log of Davidson's tie parameter: of two equals, wins of one by ties is e to the minus of it."""
    wins: dict[str, dict[str, int]]
    """How often one system won against each other one, by the cautious rule."""
    circles: tuple[tuple[str, str, str], ...]
    """Systems of which each has a win rate above one half against the next, and the last against the
    first: where there are any, no order of all says the truth."""
    circular: int
    """Times an item's three verdicts on three systems went round like that."""
    decided: int
    """Times three such verdicts were all wins; by chance a quarter of them goes round."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Verdicts on one aspect: how often each pair came to each outcome, by what is drawn together."""

    systems: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    counts_CP3: Floats

    @property
    def numbers(self) -> list[tuple[int, int]]:
        """The systems of each pair by their place in `systems`."""
        return [(self.systems.index(x), self.systems.index(y)) for x, y in self.pairs]


def rankings(
    rows: Sequence[Judgment],
    figures: Sequence[Figure],
    judges: Sequence[str],
    *,
    how: Resampling,
) -> tuple[Ranking, ...]:
    """Return a ranking by aspect of all systems, by these judges together.

    Args:
        rows: verdicts, controls among them, which are passed over.
        figures: whose win rates are looked through for circles.
        judges: who is believed; nobody ranks nothing.
        how: resamples, to each of which the model is fitted again, seed and clusters.
    """
    name = judges[0] if len(judges) == 1 else PANEL
    by_aspect: dict[str, dict[str, list[Judgment]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.judge in judges:
            by_aspect[row.aspect][row.judge].append(row)
    found: list[Ranking] = []
    for aspect, own in by_aspect.items():
        verdicts = [cautious_verdicts(of_judge) for of_judge in own.values()]
        table = _table(verdicts, how.clusters)
        if len(table.systems) < FEWEST:
            continue
        places, ties = _places(table, how)
        circular, decided = _triads(verdicts)
        found.append(
            Ranking(
                judge=name,
                aspect=aspect,
                systems=places,
                ties=ties,
                wins=_wins(table),
                circles=cycles({
                    (one.x, one.y): one.win_rate
                    for one in figures
                    if (one.judge, one.aspect) == (name, aspect) and one.win_rate is not None
                }),
                circular=circular,
                decided=decided,
            )
        )
    return tuple(found)


def _table(several: Sequence[Verdicts], clusters: Mapping[str, str]) -> _Table:
    import numpy

    keys = [key for verdicts in several for key in verdicts]
    pairs = {pair: place for place, pair in enumerate(dict.fromkeys((x, y) for _, x, y, _ in keys))}
    drawn: dict[str, int] = {}
    place = {key[0]: drawn.setdefault(clusters.get(key[0], key[0]), len(drawn)) for key in keys}
    counts_CP3 = numpy.zeros((len(drawn), len(pairs), len(_OUTCOMES)))
    for verdicts in several:
        for (item, x, y, _), verdict in verdicts.items():
            if verdict is not None:
                counts_CP3[place[item], pairs[x, y], _OUTCOMES.index(verdict)] += 1
    systems = tuple(dict.fromkeys(name for pair in pairs for name in pair))
    return _Table(systems=systems, pairs=tuple(pairs), counts_CP3=counts_CP3)


def _places(table: _Table, how: Resampling) -> tuple[tuple[Place, ...], float]:
    """Return every system's place, and the log of the tie parameter."""
    import numpy

    whole = davidson(table.counts_CP3.sum(axis=0, keepdims=True), table.numbers)

    def strengths(sums_BK: Floats) -> Floats:
        counts_BP3 = sums_BK.reshape(len(sums_BK), -1, len(_OUTCOMES))
        return davidson(counts_BP3, table.numbers, start=whole).strengths_BS

    flat_CK = table.counts_CP3.reshape(len(table.counts_CP3), -1)
    again = Summed(statistics_NK=flat_CK, combine=strengths)
    (drawn_BS,) = resampled([again], resamples=how.resamples, seed=how.seed)
    places_BS = 1 + (drawn_BS[:, :, None] < drawn_BS[:, None, :]).sum(axis=2)
    found: list[Place] = []
    for rank, number in enumerate(numpy.argsort(-whole.strengths_BS[0], kind="stable"), start=1):
        best, worst = percentile_interval(places_BS[:, number])
        found.append(
            Place(
                system=table.systems[number],
                place=rank,
                places=(math.floor(best), math.ceil(worst)),
                strength=float(whole.strengths_BS[0, number]),
                interval=percentile_interval(drawn_BS[:, number]),
            )
        )
    return tuple(found), float(whole.ties_B[0])


def _wins(table: _Table) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in table.systems}
    for (x, y), (won, _, lost) in zip(table.pairs, table.counts_CP3.sum(axis=0), strict=True):
        found[x][y], found[y][x] = int(won), int(lost)
    return found


def _triads(several: Sequence[Verdicts]) -> tuple[int, int]:
    """Return how often three verdicts of one item went round in a circle, and of how many triads."""
    circular = decided = 0
    for verdicts in several:
        beaten: dict[tuple[str, int], dict[tuple[str, str], bool]] = defaultdict(dict)
        for (item, x, y, repeat), verdict in verdicts.items():
            if verdict in {"x", "y"}:
                beaten[item, repeat] |= {(x, y): verdict == "x", (y, x): verdict == "y"}
        for own in beaten.values():
            names = sorted({name for pair in own for name in pair})
            for a, b, c in itertools.combinations(names, 3):
                if {(a, b), (b, c), (c, a)} <= own.keys():
                    decided += 1
                    circular += own[a, b] == own[b, c] == own[c, a]
    return circular, decided


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
