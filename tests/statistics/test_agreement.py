import itertools
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from ketchup_cli.statistics.agreement import (
    Agreement,
    Labels,
    cohen_kappa,
    confusion,
    krippendorff_alpha,
    raw_agreement,
)

QUICK = {"resamples": 200, "seed": 0}


def spread(text: str) -> list[str | None]:
    return [None if label == "." else label for label in text.split()]


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def alpha(judges: Sequence[Labels]) -> Agreement:
    return krippendorff_alpha(judges, items=names(len(judges[0])), **QUICK)


def kappa(one: Labels, other: Labels) -> Agreement:
    return cohen_kappa(one, other, items=names(len(one)), **QUICK)


def slow_alpha(judges: Sequence[Labels]) -> float:
    """Return alpha by going through every pair of labels, as its definition is written."""
    units = [[label for label in unit if label is not None] for unit in zip(*judges, strict=True)]
    units = [unit for unit in units if len(unit) >= 2]
    together: Counter[tuple[str, str]] = Counter()
    for unit in units:
        for one, other in itertools.permutations(range(len(unit)), 2):
            together[unit[one], unit[other]] += 1 / (len(unit) - 1)
    everything = [label for unit in units for label in unit]
    observed = sum(share for (one, other), share in together.items() if one != other)
    pairs = itertools.permutations(range(len(everything)), 2)
    expected = sum(everything[one] != everything[other] for one, other in pairs)
    return 1 - observed / len(everything) / (expected / len(everything) / (len(everything) - 1))


def slow_kappa(one: Labels, other: Labels) -> float:
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    agreed = sum(a == b for a, b in both) / len(both)
    chance = sum(a == b for a, _ in both for _, b in both) / len(both) ** 2
    return (agreed - chance) / (1 - chance)


def test_alpha_is_the_number_of_the_example_of_its_author() -> None:
    judges = [
        spread("1 2 3 3 2 1 4 1 2 . . ."),
        spread("1 2 3 3 2 2 4 1 2 5 . 3"),
        spread(". 3 3 3 2 3 4 2 2 5 1 ."),
        spread("1 2 3 3 2 4 4 1 2 5 1 ."),
    ]

    found = alpha(judges)

    assert found.value == pytest.approx(0.743, abs=0.0005)
    assert found.units == 11


def test_kappa_is_the_number_known_by_hand() -> None:
    one = ["yes"] * 25 + ["no"] * 25
    other = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15

    found = kappa(one, other)

    assert found.value == pytest.approx(0.4)
    assert raw_agreement(one, other) == pytest.approx(0.7)


@pytest.mark.parametrize("seed", range(6))
def test_both_coefficients_are_those_of_a_slow_loop_over_pairs(seed: int) -> None:
    draw = random.Random(seed)
    judges = [[draw.choice(["x", "x", "y", "tie", None]) for _ in range(15)] for _ in range(4)]

    assert alpha(judges).value == pytest.approx(slow_alpha(judges))
    assert kappa(*judges[:2]).value == pytest.approx(slow_kappa(*judges[:2]))


def test_what_does_not_exist_is_no_number() -> None:
    nobody: list[str | None] = [None] * 4

    assert alpha([["x"] * 4, ["x"] * 4]) == Agreement(value=None, interval=None, units=4)
    assert kappa(["x"] * 4, nobody) == Agreement(value=None, interval=None, units=0)
    assert raw_agreement(["x"] * 4, nobody) is None


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw, covered, runs = random.Random(3), 0, 400
    # both see the truth, a fair coin, through errors of 0.2: p_o = 0.68, p_e = 0.5
    truth = (0.68 - 0.5) / 0.5
    for seed in range(runs):
        right = [draw.choice("xy") for _ in range(120)]
        seen = [
            [label if draw.random() < 0.8 else "xy"[label == "x"] for label in right]
            for _ in range(2)
        ]
        found = cohen_kappa(*seen, items=names(120), resamples=500, seed=seed)
        assert found.interval
        covered += found.interval[0] <= truth <= found.interval[1]

    # 95 % less and plus two standard errors of 400 draws, and what a percentile bootstrap lacks
    assert 0.92 <= covered / runs <= 0.975


def test_units_of_one_item_are_drawn_together() -> None:
    draw = random.Random(1)
    one = [draw.choice("xy") for _ in range(60)]
    other = [label if draw.random() < 0.8 else "x" for label in one]

    apart = cohen_kappa(one, other, items=names(60), resamples=1000, seed=0)
    copied = cohen_kappa(one * 5, other * 5, items=names(60) * 5, resamples=1000, seed=0)

    assert copied.interval == pytest.approx(apart.interval)


def test_confusion_counts_every_meeting_of_two_labels() -> None:
    found = confusion(["x", "x", "y", None], ["x", "y", "y", "x"])

    assert found == {"x": {"x": 1, "y": 1}, "y": {"x": 0, "y": 1}}
