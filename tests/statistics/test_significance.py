import itertools
import random

import numpy
import pytest
from scipy import stats

from ketchup_cli.statistics.significance import (
    bootstrap_p,
    holm,
    mcnemar_p,
    randomisation_p,
    sign_flip_p,
)


def test_holm_is_what_the_paper_s_steps_give() -> None:
    # by hand: 3 x 0.01, 2 x 0.02 = 0.04, 1 x 0.03 raised to the 0.04 before it
    assert holm([0.03, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))


def test_holm_of_one_test_changes_nothing() -> None:
    assert holm([0.2]) == (0.2,)


def test_holm_of_no_test_is_nothing() -> None:
    assert holm([]) == ()


def test_holm_never_passes_one_and_keeps_the_order() -> None:
    generator = random.Random(3)
    for _ in range(50):
        ps = [generator.random() for _ in range(generator.randint(1, 8))]

        corrected = holm(ps)

        assert all(one <= other <= 1 for one, other in zip(ps, corrected, strict=True))
        assert sorted(range(len(ps)), key=ps.__getitem__) == sorted(
            range(len(ps)), key=lambda i: (corrected[i], ps[i])
        )


def test_holm_keeps_the_chance_of_any_false_claim_below_alpha() -> None:
    generator = numpy.random.default_rng(0)

    false = [min(holm(list(generator.random(5)))) < 0.05 for _ in range(4000)]

    # 0.05 exactly for independent tests (the smallest p times 5); 4 standard errors of 4,000 trials
    assert numpy.mean(false) == pytest.approx(0.049, abs=0.014)


@pytest.mark.parametrize(("b", "c"), [(0, 5), (3, 9), (7, 7), (1, 0), (12, 30)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    assert mcnemar_p(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue)


def test_mcnemar_without_a_differing_item_shows_nothing() -> None:
    assert mcnemar_p(0, 0) == 1.0


def test_sign_flips_give_the_p_of_all_flips() -> None:
    differences = numpy.array([1.5, -0.5, 2.0, 0.0, 1.0, 3.5, -1.0, 2.5])
    every = [
        abs(numpy.dot(signs, differences)) >= abs(differences.sum()) - 1e-12
        for signs in itertools.product((1, -1), repeat=8)
    ]

    # 4 standard errors of 20,000 trials
    assert sign_flip_p(differences, trials=20_000, seed=1) == pytest.approx(
        numpy.mean(every), abs=0.01
    )


def test_sign_flips_of_equal_items_show_nothing() -> None:
    assert sign_flip_p(numpy.zeros(40), trials=100, seed=0) == 1.0


def test_one_item_that_differs_is_no_evidence() -> None:
    differences = numpy.zeros(40)
    differences[3] = 5.0

    assert sign_flip_p(differences, trials=200, seed=0) == 1.0


def test_no_p_is_below_what_the_draws_can_tell() -> None:
    assert bootstrap_p(numpy.array([5.0, 5.1, 4.9] * 33), 5.0) == pytest.approx(1 / 100)
    assert randomisation_p(numpy.zeros(99), 5.0) == pytest.approx(1 / 100)


def test_shuffles_that_restore_the_difference_count() -> None:
    # the same sum in another order: a bit apart
    shuffled_B = numpy.array([0.1 + 0.2, -0.3, 0.0])

    assert randomisation_p(shuffled_B, 0.3) == pytest.approx(3 / 4)


def test_the_bootstrap_p_is_two_sided() -> None:
    moved_B = numpy.array([-2.0, -1.0, 0.0, 1.0, 2.0]) + 1.5

    assert bootstrap_p(moved_B, 1.5) == pytest.approx(3 / 6)
    assert bootstrap_p(-moved_B, -1.5) == pytest.approx(3 / 6)


@pytest.mark.parametrize("p_of", ["flips", "bootstrap"])
def test_p_is_uniform_where_there_is_no_difference(p_of: str) -> None:
    generator = numpy.random.default_rng(5)
    ps = []
    for trial in range(400):
        differences_N = generator.normal(size=60)
        if p_of == "flips":
            ps.append(sign_flip_p(differences_N, trials=200, seed=trial))
        else:
            draws_BN = generator.integers(60, size=(200, 60))
            ps.append(bootstrap_p(differences_N[draws_BN].mean(axis=1), differences_N.mean()))

    # share below 0.05, 0.25 and 0.5: 4 standard errors of 400 trials, and 1 % for few draws
    for level in (0.05, 0.25, 0.5):
        tolerance = 4 * numpy.sqrt(level * (1 - level) / 400) + 0.01
        assert numpy.mean(numpy.array(ps) <= level) == pytest.approx(level, abs=tolerance)
