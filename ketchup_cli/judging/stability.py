"""How often a judge gives the same answer to a question it is asked again."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.rating import Rated
from ketchup_cli.judging.tally import Judgment
from ketchup_cli.statistics.means import clustered, mean_interval


class Stability(msgspec.Struct, frozen=True, kw_only=True):
    """How stable one judge is on one aspect."""

    judge: str
    aspect: str
    questions: int
    """Answered twice or more."""
    same: float | None
    """Chance that two answers to the same question are the same: the mean over items of the share
    of pairs of answers that are. None where no question was answered twice."""
    interval: tuple[float, float] | None


def stabilities(
    rows: Sequence[Judgment] | Sequence[Rated], *, how: Resampling
) -> tuple[Stability, ...]:
    """Return how stable every judge is on every aspect; nothing where no question was repeated."""
    if not any(row.repeat for row in rows):
        return ()
    asked: dict[tuple[str, str], dict[tuple[str, ...], list[str]]] = defaultdict(dict)
    for row in rows:
        if row.control is not None:
            continue
        question, label = _question(row)
        answers = asked[row.judge, row.aspect].setdefault(question, [])
        if label is not None:
            answers.append(label)
    return tuple(
        _stability(judge, aspect, questions, how=how)
        for (judge, aspect), questions in asked.items()
    )


def _question(row: Judgment | Rated) -> tuple[tuple[str, ...], str | None]:
    """Return what tells the question of a row from others, its item first, and the answer."""
    if isinstance(row, Judgment):
        return (row.item, row.x, row.y, row.order), row.slot
    return (row.item, row.system), None if row.rating is None else str(row.rating)


def _stability(
    judge: str, aspect: str, questions: dict[tuple[str, ...], list[str]], *, how: Resampling
) -> Stability:
    by_item: dict[str, list[float]] = defaultdict(list)
    for (item, *_), share in _shares(questions):
        by_item[item].append(share)
    count = sum(map(len, by_item.values()))
    if not count:
        return Stability(judge=judge, aspect=aspect, questions=0, same=None, interval=None)
    found = clustered(
        {item: sum(shares) / len(shares) for item, shares in by_item.items()}, how.clusters
    )
    return Stability(
        judge=judge,
        aspect=aspect,
        questions=count,
        same=found.mean,
        interval=mean_interval(found, within=(0.0, 1.0), resamples=how.resamples, seed=how.seed),
    )


def _shares(
    questions: dict[tuple[str, ...], list[str]],
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield every question that was answered twice, with the share of pairs that are the same."""
    for question, answers in questions.items():
        pairs = [one == other for one, other in itertools.combinations(answers, 2)]
        if pairs:
            yield question, sum(pairs) / len(pairs)
