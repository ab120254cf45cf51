import numpy
import pytest
from scipy import stats

from ketchup_cli.statistics.power import items_needed, minimum_detectable, win_rate_variance


def test_with_many_items_it_is_2_8_standard_errors() -> None:
    # 1.95996 + 0.84162
    assert minimum_detectable(1.0) == pytest.approx(2.80158, abs=1e-5)


@pytest.mark.parametrize(
    ("rate", "ties", "needed"),
    [
        (0.52, 0.0, 4898),
        (0.52, 0.4, 2936),
        (0.55, 0.0, 778),
        (0.55, 0.4, 464),
        (0.60, 0.0, 189),
        (0.60, 0.4, 110),
        (0.65, 0.0, 80),
        (0.65, 0.4, 45),
    ],
)
def test_items_for_a_win_rate_are_those_of_the_normal_approximation(
    rate: float, ties: float, needed: int
) -> None:
    variance = win_rate_variance(rate, ties=ties)

    # the table was computed by another program, which rounded variances
    assert items_needed(rate - 0.5, variance=variance) == pytest.approx(needed, abs=1)


def test_the_variance_of_a_win_rate_is_that_of_wins_ties_and_losses() -> None:
    values, weights = numpy.array([1.0, 0.5, 0.0]), numpy.array([0.4, 0.3, 0.3])
    rate = float(weights @ values)

    by_hand = float(weights @ values**2) - rate**2
    assert win_rate_variance(rate, ties=0.3) == pytest.approx(by_hand)


def test_a_difference_of_that_size_is_found_as_often_as_said() -> None:
    generator = numpy.random.default_rng(2)
    error, degrees = 1 / numpy.sqrt(10), 9
    true = minimum_detectable(error, degrees=degrees)

    samples = generator.normal(loc=true, size=(4000, 10))

    found = stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05
    # 4 standard errors of 4,000 trials is 0.025; the form with t is an approximation of 1 or 2 %
    assert found.mean() == pytest.approx(0.8, abs=0.04)


def test_few_degrees_of_freedom_and_a_stricter_level_take_a_larger_difference() -> None:
    plain = minimum_detectable(1.0)

    assert minimum_detectable(1.0, degrees=4) > plain
    assert minimum_detectable(1.0, alpha=0.025) > plain
    assert minimum_detectable(1.0, power=0.9) > plain
