"""Seeds as a random factor: variances by hand, and coverage where the truth is known."""

from typing import Any

import numpy
import pytest

from ketchup_cli.statistics.pairs import Settings, System, difference
from ketchup_cli.statistics.resampling import Summed, resampled
from ketchup_cli.statistics.seeds import Runs, spread

ITEMS = 100
SIMULATIONS = 1000
DRAWS = 300
ONES = numpy.ones(ITEMS)


def times_drawn() -> Any:
    """Return [B, N] shares of the items in every resample."""
    generator = numpy.random.default_rng(0)
    return generator.multinomial(ITEMS, ONES / ITEMS, size=DRAWS) / ITEMS


TIMES_BN = times_drawn()


def runs_of(values_RN: Any) -> Runs:
    return Runs(values_R=values_RN.mean(axis=1), resampled_RB=values_RN @ TIMES_BN.T)


def simulated(
    generator: numpy.random.Generator, *, runs: int, seed: float, item: float, both: float
) -> tuple[Any, Any]:
    """Return [S, R, N] values of two systems of equal mean.

    Args:
        generator: draws them.
        runs: R.
        seed: standard deviation of a run's mean.
        item: that of what an item favours one system by.
        both: that of what is left.
    """

    def one(sign: float, favour_SN: Any) -> Any:
        shape = (SIMULATIONS, runs)
        own = seed * generator.normal(size=(*shape, 1))
        return own + sign * favour_SN[:, None] / 2 + both * generator.normal(size=(*shape, ITEMS))

    favour_SN = item * generator.normal(size=(SIMULATIONS, ITEMS))
    return one(-1.0, favour_SN), one(1.0, favour_SN)


SCENES = {
    "seeds alone": {"seed": 1.0, "item": 0.0, "both": 0.1},
    "seeds and items": {"seed": 1.0, "item": 10.0, "both": 5.0},
    "items alone": {"seed": 0.0, "item": 10.0, "both": 0.1},
    "noise alone": {"seed": 0.0, "item": 0.0, "both": 10.0},
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize("runs", [3, 5])
def test_the_interval_over_items_and_seeds_covers_the_truth(
    runs: int, scene: dict[str, float]
) -> None:
    generator = numpy.random.default_rng(7)
    one_SRN, other_SRN = simulated(generator, runs=runs, **scene)
    covered = 0
    for one_RN, other_RN in zip(one_SRN, other_SRN, strict=True):
        found = spread([runs_of(other_RN), runs_of(one_RN)], items=ITEMS)
        low, high = found.interval(other_RN.mean() - one_RN.mean())
        covered += low <= 0.0 <= high

    # 95 % within the 2 points that are asked, and 0.5 for 1,000 simulations
    assert 0.925 <= covered / SIMULATIONS <= 0.975


def test_taking_three_seeds_as_fixed_does_not_cover() -> None:
    generator = numpy.random.default_rng(7)
    one_SRN, other_SRN = simulated(generator, runs=3, **SCENES["seeds and items"])

    apart_SN = other_SRN.mean(axis=1) - one_SRN.mean(axis=1)
    low, high = numpy.percentile(apart_SN @ TIMES_BN.T, [2.5, 97.5], axis=1)

    assert ((low <= 0.0) & (high >= 0.0)).mean() < 0.9


def test_the_variances_are_those_of_the_model() -> None:
    generator = numpy.random.default_rng(3)
    one_SRN, other_SRN = simulated(generator, runs=3, seed=1.0, item=8.0, both=6.0)

    spreads = [
        spread([runs_of(other_RN), runs_of(one_RN)], items=ITEMS)
        for one_RN, other_RN in zip(one_SRN, other_SRN, strict=True)
    ]

    # item^2 / N; the bootstrap divides by N where a variance without bias divides by N - 1
    assert numpy.mean([one.items for one in spreads]) == pytest.approx(0.64, rel=0.05)
    # by hand: 1 of the seeds and 0.36 of the rest, over three runs on either side
    assert numpy.mean([one.seeds for one in spreads]) == pytest.approx(1.36 * 2 / 3, rel=0.08)


def test_two_values_and_no_items_are_a_t_test() -> None:
    from scipy import stats

    one_R, other_R = numpy.array([3.0, 4.0, 5.5]), numpy.array([5.0, 7.5, 6.0])
    still = numpy.zeros((3, 10))

    found = spread(
        [
            Runs(values_R=other_R, resampled_RB=still + other_R[:, None]),
            Runs(values_R=one_R, resampled_RB=still + one_R[:, None]),
        ],
        items=50,
    )

    expected = stats.ttest_ind(other_R, one_R, equal_var=False)
    assert found.p(other_R.mean() - one_R.mean()) == pytest.approx(expected.pvalue)
    assert found.interval(other_R.mean() - one_R.mean()) == pytest.approx(
        tuple(expected.confidence_interval(0.95))
    )


def test_one_system_s_spread_is_that_of_its_own_seeds() -> None:
    values_R = numpy.array([3.0, 4.0, 5.5])
    still = numpy.zeros((3, 10)) + values_R[:, None]

    found = spread([Runs(values_R=values_R, resampled_RB=still)], items=50)

    assert found.error == pytest.approx(values_R.std(ddof=1) / 3**0.5)
    assert found.degrees == pytest.approx(2)


def test_where_nothing_varies_nothing_is_uncertain() -> None:
    same = Runs(values_R=numpy.ones(3), resampled_RB=numpy.ones((3, 10)))

    found = spread([same, same], items=50)

    assert (found.error, found.p(0.0), found.p(1.0)) == (0.0, 1.0, 0.0)


def ratio(sums_BK: Any) -> Any:
    return 100 * sums_BK[:, 0] / sums_BK[:, 1]


def test_the_interval_of_single_runs_covers_a_metric_that_is_no_mean() -> None:
    # matches of words, of texts of uneven length: a ratio of sums, like the precisions of BLEU
    generator = numpy.random.default_rng(11)
    covered, claimed = 0, 0
    for _ in range(SIMULATIONS):
        lengths_N = generator.geometric(0.1, size=ITEMS) + 2
        ease_N = generator.beta(4, 3, size=ITEMS)
        systems = [
            Summed(
                statistics_NK=numpy.stack(
                    [generator.binomial(lengths_N, ease_N), lengths_N], 1
                ).astype(float),
                combine=ratio,
            )
            for _ in range(2)
        ]
        first_B, second_B = resampled(systems, resamples=DRAWS, seed=0)
        one, other = (
            System(runs=(run,), resampled=(values_B,), items_RN=None)
            for run, values_B in zip(systems, (first_B, second_B), strict=True)
        )
        found = difference(one, other, Settings())
        assert found.interval is not None
        covered += found.interval[0] <= 0.0 <= found.interval[1]
        claimed += found.p < 0.05

    assert 0.925 <= covered / SIMULATIONS <= 0.975
    assert 0.025 <= claimed / SIMULATIONS <= 0.075
