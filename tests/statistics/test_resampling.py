from typing import Any

import numpy
import pytest

from ketchup_cli.statistics import resampling
from ketchup_cli.statistics.resampling import (
    Summed,
    percentile_interval,
    resampled,
    shuffled_differences,
    whole,
)


def ratio(sums_BK: Any) -> Any:
    return sums_BK[:, 0] / sums_BK[:, 1]


def make(seed: int, count: int = 33) -> Summed:
    table = numpy.random.default_rng(seed).integers(1, 9, size=(count, 2)).astype(float)
    return Summed(statistics_NK=table, combine=ratio)


def test_a_value_is_that_of_the_sums() -> None:
    one = make(0)

    assert whole(one) == one.statistics_NK[:, 0].sum() / one.statistics_NK[:, 1].sum()


def test_resampled_values_are_those_of_the_drawn_items() -> None:
    one, other = make(1), make(2)

    values = resampled([one, other], resamples=50, seed=9)

    draws = numpy.random.default_rng(9).choice(33, size=(50, 33), replace=True)
    for summed, found_B in zip((one, other), values, strict=True):
        expected = [
            summed.statistics_NK[row, 0].sum() / summed.statistics_NK[row, 1].sum() for row in draws
        ]
        assert found_B == pytest.approx(expected)


def test_shuffled_items_change_sides_and_are_not_lost() -> None:
    one, other = make(1), make(2)

    found_B = shuffled_differences(one, other, trials=40, seed=9)

    tosses = numpy.random.default_rng(9).integers(2, size=(40, 33), dtype=bool)
    expected = []
    for keep in tosses:
        first = numpy.where(keep[:, None], one.statistics_NK, other.statistics_NK).sum(axis=0)
        second = numpy.where(keep[:, None], other.statistics_NK, one.statistics_NK).sum(axis=0)
        expected.append(second[0] / second[1] - first[0] / first[1])
    assert found_B == pytest.approx(expected)


@pytest.mark.parametrize("at_once", [1, 100, 33 * 32 * 2])
def test_drawing_in_pieces_changes_nothing(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make(1), make(2)
    drawn = resampled([one], resamples=150, seed=3)[0]
    shuffled = shuffled_differences(one, other, trials=150, seed=3)
    monkeypatch.setattr(resampling, "DRAWS_AT_ONCE", at_once)

    assert (resampled([one], resamples=150, seed=3)[0] == drawn).all()
    assert (shuffled_differences(one, other, trials=150, seed=3) == shuffled).all()


def test_a_negative_seed_is_a_seed() -> None:
    one = make(1)

    assert (
        resampled([one], resamples=50, seed=-1)[0] != resampled([one], resamples=50, seed=1)[0]
    ).any()


def test_the_interval_leaves_as_much_below_as_above() -> None:
    assert percentile_interval(numpy.arange(1001.0)) == pytest.approx((25.0, 975.0))
