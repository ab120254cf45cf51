import itertools
import math

import numpy
import pytest
from scipy.optimize import minimize

from ketchup_cli.statistics.davidson import RIDGE, davidson

PAIRS = list(itertools.combinations(range(4), 2))


def shares(strengths, ties, pair):
    """Return the chances of win, tie and loss of a pair, by the formula as it is printed."""
    first, second = (math.exp(strengths[number]) for number in pair)
    tie = math.exp(ties) * math.sqrt(first * second)
    total = first + second + tie
    return first / total, tie / total, second / total


def slow_fit(counts_P3, pairs):
    """Return the weights of the least loss, found without any slope we computed."""
    size = 2 + max(map(max, pairs))

    def loss(weights):
        chances = [shares(weights[:-1], weights[-1], pair) for pair in pairs]
        fit = -sum(
            count * math.log(chance)
            for row, own in zip(counts_P3, chances, strict=True)
            for count, chance in zip(row, own, strict=True)
        )
        return fit + RIDGE * sum(weight**2 for weight in weights) / 2

    return minimize(loss, numpy.zeros(size), method="BFGS", options={"gtol": 1e-7}).x


TABLES = {
    "ordinary": numpy.random.default_rng(3).integers(1, 30, size=(6, 3)),
    "no-ties": numpy.random.default_rng(4).integers(1, 30, size=(6, 3)) * [1, 0, 1],
    "one-pair-unseen": numpy.array([[0, 0, 0]] + [[9, 4, 2]] * 5),
    "first-wins-all": numpy.array([[40, 0, 0]] * 3 + [[20, 10, 20]] * 3),
    "all-ties": numpy.array([[0, 25, 0]] * 6),
}


@pytest.mark.parametrize("counts_P3", TABLES.values(), ids=TABLES)
def test_a_fit_is_the_least_of_the_loss_as_a_general_minimiser_finds_it(counts_P3) -> None:
    found = davidson(counts_P3[None].astype(float), PAIRS)

    slow = slow_fit(counts_P3, PAIRS)
    # where all is won the loss is nearly flat, and the slow one stops a little early
    assert found.strengths_BS[0] == pytest.approx(slow[:-1], abs=2e-3)
    assert found.ties_B[0] == pytest.approx(slow[-1], abs=2e-3)


def test_many_tables_at_once_are_each_fitted_as_if_alone_wherever_they_begin() -> None:
    tables_BP3 = numpy.stack(list(TABLES.values())).astype(float)
    start = davidson(tables_BP3[3:4], PAIRS)

    found = davidson(tables_BP3, PAIRS, start=start)

    for number, table_P3 in enumerate(tables_BP3):
        alone = davidson(table_P3[None], PAIRS)
        # where all is tied the loss is nearly flat, and both stop close to its least
        assert found.strengths_BS[number] == pytest.approx(alone.strengths_BS[0], abs=1e-5)
        assert found.ties_B[number] == pytest.approx(alone.ties_B[0], abs=1e-5)


def test_strengths_are_found_again_from_exact_shares() -> None:
    truth = (0.8, 0.1, -0.9)
    pairs = [(0, 1), (0, 2), (1, 2)]
    exact_P3 = numpy.array([shares(truth, -0.4, pair) for pair in pairs])

    found = davidson(10_000 * exact_P3[None], pairs)

    assert found.strengths_BS[0] == pytest.approx(truth, abs=1e-3)
    assert found.ties_B[0] == pytest.approx(-0.4, abs=1e-3)


def test_a_system_that_wins_everything_has_a_finite_strength() -> None:
    counts_P3 = numpy.array([[50.0, 0, 0], [50, 0, 0], [20, 10, 20]])

    (strengths,) = davidson(counts_P3[None], [(0, 1), (0, 2), (1, 2)]).strengths_BS

    assert strengths[0] > strengths[1]
    assert numpy.isfinite(strengths).all()
    assert strengths.sum() == pytest.approx(0, abs=1e-6)
