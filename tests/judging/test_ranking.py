import itertools
import math
import random
from collections.abc import Mapping

import pytest
from judged import judged, judgment

from ketchup_cli.judging.measures import PANEL, Resampling
from ketchup_cli.judging.probe import Abilities
from ketchup_cli.judging.ranking import Ranking, cycles, rankings
from ketchup_cli.judging.report import Report, Terms, make_report
from ketchup_cli.judging.report_lines import lines
from ketchup_cli.judging.tally import Judgment, figures

HOW = Resampling(resamples=1000, seed=0)
TRUTH = {"a": 0.7, "b": 0.2, "c": -0.1, "d": -0.8}
TIES = -0.5


def verdict(draw: random.Random, x: str, y: str) -> str:
    """Draw from Davidson's model."""
    odds = [math.exp(TRUTH[x]), math.exp(TIES + (TRUTH[x] + TRUTH[y]) / 2), math.exp(TRUTH[y])]
    return draw.choices(["x", "tie", "y"], odds)[0]


def drawn(seed: int, *, items: int, systems: str = "abcd", judge: str = "m") -> list[Judgment]:
    draw = random.Random(seed)
    return [
        row
        for x, y in itertools.combinations(systems, 2)
        for row in judged(
            [(said, said) for said in (verdict(draw, x, y) for _ in range(items))],
            x=x,
            y=y,
            judge=judge,
        )
    ]


def ranked(
    rows: list[Judgment], judges: tuple[str, ...] = ("m",), *, how: Resampling = HOW
) -> Ranking:
    (found,) = rankings(rows, (), judges, how=how)
    return found


def test_systems_stand_in_order_with_the_wins_of_each_over_each() -> None:
    rows = drawn(1, items=100)

    found = ranked(rows)

    assert [one.system for one in found.systems] == ["a", "b", "c", "d"]
    assert [one.place for one in found.systems] == [1, 2, 3, 4]
    for figure in figures(rows, how=HOW):
        assert found.wins[figure.x][figure.y] == figure.wins
        assert found.wins[figure.y][figure.x] == figure.losses


def test_intervals_of_strengths_cover_the_truth_as_often_as_they_say() -> None:
    runs, covered = 80, dict.fromkeys(TRUTH, 0)
    for seed in range(runs):
        for one in ranked(drawn(seed, items=40), how=Resampling(resamples=250, seed=seed)).systems:
            covered[one.system] += one.interval[0] <= TRUTH[one.system] <= one.interval[1]

    # 95 % less and plus two standard errors of 320 intervals that are not quite independent
    assert 0.92 <= sum(covered.values()) / (runs * len(TRUTH)) <= 0.975


def test_places_that_a_resample_would_change_are_told_with_their_range() -> None:
    near, far = (ranked(drawn(2, items=items)) for items in (40, 600))

    assert near.systems[1].places[0] < near.systems[1].places[1]
    assert [one.places for one in far.systems] == [(n, n) for n in range(1, 5)]


def test_two_systems_are_not_ranked() -> None:
    rows = drawn(1, items=40, systems="ab")

    assert rankings(rows, (), ("m",), how=HOW) == ()


def test_judges_rank_together_and_an_item_is_drawn_with_the_verdicts_of_all() -> None:
    one = drawn(1, items=60)
    twice = [*one, *drawn(1, items=60, judge="n")]

    alone, together = ranked(one), ranked(twice, ("m", "n"))

    assert together.judge == PANEL
    assert together.wins["a"]["b"] == 2 * alone.wins["a"]["b"]
    # the same verdicts said twice are no more evidence: intervals stay as wide but for the ridge
    for own, both in zip(alone.systems, together.systems, strict=True):
        assert both.interval == pytest.approx(own.interval, abs=0.01)


def test_an_unjudged_unit_counts_for_nobody() -> None:
    rows = drawn(1, items=60)
    lost = [
        row
        if int(row.item) < 50
        else judgment(int(row.item), row.order, None, x=row.x, y=row.y, judge="m")
        for row in rows
    ]

    found = ranked(lost)

    kept = ranked([row for row in rows if int(row.item) < 50])
    assert found.wins == kept.wins
    assert found.systems[0].strength == pytest.approx(kept.systems[0].strength)


CIRCLES = {
    "round": ("x", "x", "y", (1, 1)),
    "round-the-other-way": ("y", "y", "x", (1, 1)),
    "in-order": ("x", "x", "x", (0, 1)),
    "tied": ("x", "tie", "y", (0, 0)),
}


@pytest.mark.parametrize(("ab", "bc", "ac", "counted"), CIRCLES.values(), ids=CIRCLES)
def test_an_items_three_verdicts_that_go_round_are_counted(
    ab: str, bc: str, ac: str, counted: tuple[int, int]
) -> None:
    said: Mapping[tuple[str, str], str] = {("a", "b"): ab, ("b", "c"): bc, ("a", "c"): ac}
    rows = [
        row for (x, y), word in said.items() for row in judged([(word, word)], x=x, y=y, judge="m")
    ]

    found = ranked(rows)

    assert (found.circular, found.decided) == counted


def test_preferences_that_go_round_are_said_beside_the_ranking() -> None:
    said = {("a", "b"): "x", ("b", "c"): "x", ("a", "c"): "y"}
    rows = [
        row
        for (x, y), word in said.items()
        for row in judged([(word, word)] * 30, x=x, y=y, judge="m")
    ]

    found = report(rows)

    assert found.ranking[0].circles == (("a", "b", "c"),)
    assert "m, quality: a is preferred to b, b to c, and c to a" in found.warnings


def test_a_circle_of_preferences_is_seen() -> None:
    assert cycles({("a", "b"): 0.6, ("b", "c"): 0.7, ("a", "c"): 0.4}) == (("a", "b", "c"),)
    assert cycles({("a", "b"): 0.6, ("b", "c"): 0.7, ("a", "c"): 0.8}) == ()


def report(rows: list[Judgment], *judges: str) -> Report:
    terms = Terms(
        judges={name: Abilities(protocol="text") for name in judges or ("m",)},
        task="Summarise.",
        aspects={"quality": "Better?"},
        systems=tuple(TRUTH),
        how=HOW,
    )
    return make_report(rows, terms)


def controls(right: int, judge: str = "m") -> list[Judgment]:
    return [
        judgment(
            number,
            "xy",
            "x" if number < right else "y",
            judge=judge,
            x="a",
            y="cut",
            control="cut",
            expected="1",
        )
        for number in range(20)
    ]


@pytest.mark.parametrize(("right", "made"), [(14, 1), (13, 0)], ids=["70%", "65%"])
def test_a_judge_below_seventy_percent_of_its_controls_ranks_nobody(right: int, made: int) -> None:
    found = report([*drawn(1, items=60), *controls(right)])

    told = [label for label, _ in lines(found)]
    assert len(found.ranking) == made
    assert told.count("ranking") == made
    assert any("nothing ranked" in warning for warning in found.warnings)


def test_only_judges_that_are_believed_rank() -> None:
    rows = [*drawn(1, items=60), *controls(20), *drawn(2, items=60, judge="n")]

    found = report([*rows, *controls(3, judge="n")], "m", "n")

    assert [one.judge for one in found.ranking] == ["m"]
    assert found.ranking == report([*drawn(1, items=60), *controls(20)]).ranking
