import random
from decimal import Decimal

import pytest
from judged import FORM, SYSTEMS, items

from ketchup_cli.judging.answers import Answer
from ketchup_cli.judging.client import Said
from ketchup_cli.judging.controls import Controls
from ketchup_cli.judging.measures import PANEL, Resampling
from ketchup_cli.judging.rating import Rated, rating_calls, rating_controls
from ketchup_cli.judging.rating import rated as row_of
from ketchup_cli.judging.rating_figures import (
    rating_controls_of,
    rating_differences,
    rating_figures,
)


def rating(item: int, value: float | None, *, system: str = "a", **changes: object) -> Rated:
    return Rated(**{
        "key": f"{item}{system}",
        "item": str(item),
        "aspect": "quality",
        "system": system,
        "repeat": 0,
        "judge": "m",
        "outcome": "off_menu" if value is None else "ok",
        "rating": None if value is None else round(value),
        "value": value,
        "p": None,
        "coverage": None,
        "reason": "",
        "detail": "",
        "control": None,
        "model": "m",
        "fingerprint": "",
        "prompt_tokens": 1,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "completion_tokens": 1,
        "usage_estimated": False,
        "characters": 10,
        "flags": (),
        **changes,
    })


def rated(values: list[float | None], **changes: object) -> list[Rated]:
    return [rating(item, value, **changes) for item, value in enumerate(values)]


def test_every_text_is_asked_about_by_itself_once_an_aspect() -> None:
    asked = rating_calls(items(3), SYSTEMS, FORM)

    assert {(call.item, call.system, *call.question.aspects) for call in asked} == {
        (f"{number:03d}", system, aspect)
        for number in range(3)
        for system in SYSTEMS
        for aspect in FORM.aspects
    }
    assert {call.question.second for call in asked} == {None}


def test_a_control_is_a_spoilt_text_of_an_item_that_is_rated_too() -> None:
    made = items(20)

    found = rating_controls(made, SYSTEMS[:1], FORM, count=20, seed=0)

    assert {call.control for call in found} == {"other-item", "cut", "shuffled", "injected"}
    for call in found:
        own = next(item for item in made if item.id == call.item)
        assert call.question.first != own.texts["good"]


def test_a_mean_goes_over_items_and_repeats_are_averaged_first() -> None:
    rows = [
        *rated([5.0, 1.0]),
        rating(0, 3.0, repeat=1),
        rating(1, None, repeat=1),
        rating(2, None),
    ]

    (found,) = rating_figures(rows, how=Resampling(resamples=1000, seed=0))

    assert (found.items, found.unjudged, found.mean) == (3, 1, 2.5)
    assert found.bounds == pytest.approx((2.0, 10 / 3))
    assert found.ratings == {"1": 1, "2": 0, "3": 1, "4": 0, "5": 1}


def test_intervals_of_mean_ratings_cover_the_truth_as_often_as_they_say() -> None:
    draw, covered, runs = random.Random(4), 0, 500
    shares = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.3, 5: 0.1}
    truth = sum(value * share for value, share in shares.items())
    for seed in range(runs):
        values = draw.choices(list(shares), list(shares.values()), k=80)
        (found,) = rating_figures(
            rated([float(v) for v in values]), how=Resampling(resamples=1000, seed=seed)
        )
        assert found.interval
        covered += found.interval[0] <= truth <= found.interval[1]

    # 95 % less and plus two standard errors of 500 draws
    assert 0.93 <= covered / runs <= 0.97


def test_two_systems_are_held_against_each_other_item_by_item() -> None:
    draw = random.Random(2)
    one = [draw.choice([2.0, 3.0, 4.0]) for _ in range(60)]
    rows = [*rated(one), *rated([value + 0.5 * (n % 2) for n, value in enumerate(one)], system="b")]

    (found,) = rating_differences(rows, ("a", "b"), how=Resampling(resamples=2000, seed=0))

    assert found.difference == pytest.approx(-0.25)
    assert found.claim == "this judge rates b above a in quality"
    assert found.p_holm == found.p


def test_the_panel_rates_an_item_where_all_its_judges_do() -> None:
    rows = [
        *rated([5.0, 4.0, None, 2.0], judge="m"),
        *rated([3.0, 2.0, 1.0, None], judge="n"),
        *rated([1.0, 1.0, 1.0, 1.0], judge="o"),
    ]

    found = rating_figures(rows, how=Resampling(resamples=1000, seed=0), panel=("m", "n"))

    assert [one.judge for one in found] == ["m", "n", "o", PANEL]
    # a lenient judge that is missing would lower the mean without anything being worse
    assert (found[-1].mean, found[-1].items, found[-1].unjudged) == (3.5, 4, 2)
    assert found[-1].bounds == ((7 + 2 * 1) / 4, (7 + 2 * 5) / 4)


def test_judges_together_claim_in_the_name_of_all_and_count_as_one_more_test() -> None:
    rows = [
        row
        for judge, level in (("m", 3.0), ("n", 2.0))
        for system, above in (("a", 1.0), ("b", 0.0))
        for row in rated([level + above] * 40, judge=judge, system=system)
    ]

    found = rating_differences(
        rows, ("a", "b"), how=Resampling(resamples=1000, seed=0), panel=("m", "n")
    )

    assert [one.judge for one in found] == ["m", "n", PANEL]
    assert found[-1].claim == "the judges together rate a above b in quality"
    assert found[-1].p_holm == pytest.approx(3 * (found[-1].p or 0))


def test_swapping_the_systems_mirrors_the_difference() -> None:
    draw = random.Random(9)
    rows = [
        row
        for system in ("a", "b")
        for row in rated([draw.choice([1.0, 2.0, 3.0, None]) for _ in range(60)], system=system)
    ]

    (here,) = rating_differences(rows, ("a", "b"), how=Resampling(resamples=2000, seed=0))
    (there,) = rating_differences(rows, ("b", "a"), how=Resampling(resamples=2000, seed=0))

    assert here.difference == pytest.approx(-(there.difference or 0))
    assert here.interval == pytest.approx(tuple(-end for end in reversed(there.interval or ())))
    assert (here.p, here.detectable) == (there.p, pytest.approx(there.detectable))


FEW = {
    "few": (
        [5.0] * 29,
        [1.0] * 29,
        "no difference of a and b in quality can be claimed: 29 of 30 independent items",
    ),
    "unjudged": (
        [5.0] * 30 + [None] * 30,
        [4.0] * 60,
        "no difference of a and b in quality can be claimed: the unjudged could turn it",
    ),
    "none": (
        [None] * 40,
        [4.0] * 40,
        "nothing can be said of a and b in quality: 0 of 40 items rated",
    ),
}


@pytest.mark.parametrize(("one", "other", "claim"), FEW.values(), ids=FEW)
def test_what_cannot_be_known_is_not_claimed(
    one: list[float | None], other: list[float | None], claim: str
) -> None:
    rows = [*rated(one), *rated(other, system="b")]

    (found,) = rating_differences(rows, ("a", "b"), how=Resampling(resamples=1000, seed=0))

    assert found.claim == claim


def test_a_control_is_right_only_where_the_spoilt_text_is_rated_below_the_own_one() -> None:
    rows = [
        *rated([4.0, 4.0, 4.0, None]),
        *(rating(item, value, control="cut") for item, value in enumerate([3.0, 4.0, None, 1.0])),
    ]

    assert rating_controls_of(rows) == Controls(right=1, asked=4, by_kind={"cut": "1/4"})


def test_a_control_of_a_text_that_cannot_be_rated_lower_tells_nothing() -> None:
    rows = [
        *rated([1.0, 1.0, 1.0, 1.2]),
        *(rating(item, value, control="cut") for item, value in enumerate([1.0, 2.0, None, 1.1])),
    ]

    found = rating_controls_of(rows)

    assert (found.right, found.asked, found.mute) == (1, 3, 1)


def test_a_judge_of_whom_nearly_no_control_can_tell_is_not_believed() -> None:
    def of(right: int, mute: int) -> Controls:
        return Controls(right=right, asked=right, by_kind={}, mute=mute)

    assert not of(0, 20).believed
    assert not of(4, 16).believed
    assert of(5, 15).believed
    assert of(3, 0).believed


SPOILT_BY = {"other-item": 2.5, "cut": 1.0, "shuffled": 2.0, "injected": 2.5}
"""Points that spoiling takes off a text, in the eyes of a fair judge."""


def controlled(draw: random.Random, quality: float, *, noise: float) -> Controls:
    """Ask twenty controls of a judge that sees what a text is worth but for noise, in whole points."""

    def told(worth: float) -> float:
        return float(min(5, max(1, round(worth + draw.gauss(0, noise)))))

    rows: list[Rated] = []
    for number in range(20):
        kind, off = list(SPOILT_BY.items())[number % len(SPOILT_BY)]
        own = draw.gauss(quality, 0.8)
        rows += [rating(number, told(own)), rating(number, told(own - off), control=kind)]
    return rating_controls_of(rows)


@pytest.mark.parametrize("quality", [1.5, 2.5, 3.5, 4.5])
def test_a_fair_judge_passes_its_controls_whether_texts_are_good_or_bad(quality: float) -> None:
    draw = random.Random(3)
    found = [controlled(draw, quality, noise=0.6) for _ in range(200)]

    right = sum(one.right for one in found) / sum(one.asked for one in found)
    refused = sum(not one.believed for one in found) / len(found)
    assert 0.87 <= right <= 0.97
    assert refused <= 0.02


CHANCE = {"any": (1, 2, 3, 4, 5), "two": (3, 4), "low": (1, 1, 1, 2), "one": (3,)}


@pytest.mark.parametrize("ratings", CHANCE.values(), ids=CHANCE)
def test_a_judge_that_rates_by_chance_is_refused(ratings: tuple[int, ...]) -> None:
    draw = random.Random(4)
    refused = 0
    for _ in range(200):
        rows = [
            row
            for number in range(20)
            for row in (
                rating(number, float(draw.choice(ratings))),
                rating(number, float(draw.choice(ratings)), control="cut"),
            )
        ]
        refused += not rating_controls_of(rows).believed

    assert refused / 200 >= 0.93


def test_the_mean_over_probabilities_is_finer_than_the_likeliest_rating() -> None:
    p = {"1": 0.0, "2": 0.1, "3": 0.5, "4": 0.3, "5": 0.1}
    call = rating_calls(items(1), SYSTEMS[:1], FORM)[0]
    said = Said(
        answer=Answer(outcome="ok", verdict="3", p=p, coverage=0.9),
        key="k",
        cached=False,
        attempts=1,
        latency_ms=1.0,
        cost=Decimal(0),
    )

    (found,) = row_of(call, said, judge="m")

    assert found.rating == 3
    assert found.value == pytest.approx(0.2 + 1.5 + 1.2 + 0.5)
