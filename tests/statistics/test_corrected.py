import numpy
import pytest

from ketchup_cli.statistics.corrected import corrected_rate


def drawn(random, count: int, *, wins: float, ties: float = 0.0):
    """Return people's values and those of a judge that errs: more leniently than severely."""
    human_N = random.choice([1.0, 0.5, 0.0], size=count, p=[wins, ties, 1 - wins - ties])
    right_N = numpy.where(human_N == 1, 0.85, numpy.where(human_N == 0, 0.3, 0.7))
    return human_N, (random.random(count) < right_N).astype(float)


def test_the_rate_is_the_formula_where_everything_is_won_or_lost() -> None:
    human_M = numpy.array([1.0] * 10 + [0.0] * 10)
    judged_M = numpy.array([1.0] * 9 + [0.0] + [1.0] * 3 + [0.0] * 7)
    values_N = numpy.array([1.0] * 6 + [0.0] * 4)

    found = corrected_rate(values_N, judged_M, human_M)

    assert (found.sensitivity, found.specificity) == (pytest.approx(0.9), pytest.approx(0.7))
    assert found.rate == pytest.approx((0.6 + 0.7 - 1) / (0.7 + 0.9 - 1))


def test_a_judge_that_is_always_right_is_corrected_by_nothing() -> None:
    human_M = numpy.array([1.0, 0.0] * 500)

    found = corrected_rate(numpy.array([1.0, 1.0, 1.0, 0.0] * 50), human_M, human_M)

    assert found.rate == pytest.approx(0.75)


def test_swapping_the_systems_mirrors_rate_and_interval() -> None:
    human_N, judged_N = drawn(numpy.random.default_rng(1), 400, wins=0.5, ties=0.2)

    here = corrected_rate(judged_N, judged_N[:80], human_N[:80])
    there = corrected_rate(1 - judged_N, 1 - judged_N[:80], 1 - human_N[:80])

    assert here.rate == pytest.approx(1 - (there.rate or 0))
    assert here.interval == pytest.approx(tuple(1 - end for end in reversed(there.interval or ())))


@pytest.mark.parametrize(("among", "most"), [(False, 0.975), (True, 1.0)], ids=["apart", "among"])
@pytest.mark.parametrize("ties", [0.0, 0.3], ids=["no-ties", "ties"])
def test_intervals_cover_what_people_would_have_found(
    ties: float, among: bool, most: float
) -> None:
    random, runs, covered, rates = numpy.random.default_rng(7), 1000, 0, []
    wins = 0.4
    for _ in range(runs):
        human_N, judged_N = drawn(random, 500, wins=wins, ties=ties)
        labels = (
            (judged_N[:120], human_N[:120])
            if among
            else drawn(random, 120, wins=wins, ties=ties)[::-1]
        )
        found = corrected_rate(judged_N, *labels)
        assert found.interval
        assert found.rate is not None
        covered += found.interval[0] <= wins + ties / 2 <= found.interval[1]
        rates.append(found.rate)

    # labels among the items: the judge's errors cancel in part, and the interval is too wide
    assert 0.93 <= covered / runs <= most
    # without the correction it is 0.52, and 0.58 with ties
    assert numpy.mean(rates) == pytest.approx(wins + ties / 2, abs=0.02)


USELESS = {
    "no-loss": ([1.0, 0.0], [1.0, 1.0]),
    "a-coin": ([1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]),
    "the-wrong-way": ([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]),
}


@pytest.mark.parametrize(("judged", "human"), USELESS.values(), ids=USELESS)
def test_a_judge_that_tells_nothing_apart_has_no_corrected_rate(
    judged: list[float], human: list[float]
) -> None:
    found = corrected_rate(numpy.ones(5), numpy.array(judged), numpy.array(human))

    assert (found.rate, found.interval) == (None, None)
