"""Figures from sums against the same figures from all vectors at hand."""

import itertools

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

GROUPS = (4, 3, 3, 2)
COUNT, SIZE = sum(GROUPS), 5
LABELS = torch.arange(len(GROUPS)).repeat_interleave(torch.tensor(GROUPS))


def vectors(seed, *, mean=1.0):
    generator = torch.Generator().manual_seed(seed)
    return mean + torch.randn(COUNT, SIZE, generator=generator, dtype=torch.float64)


def sums(g_NP):
    return torch.zeros(len(GROUPS), SIZE, dtype=torch.float64).index_add(0, LABELS, g_NP)


def numbers(g_NP, h_NP):
    """What the figures are made of, as the streaming form makes it."""
    squares_G = torch.zeros(len(GROUPS), dtype=torch.float64)
    squares_G = squares_G.index_add(0, LABELS, (g_NP * h_NP).sum(dim=1))
    count_R = F.left_out(torch.tensor(GROUPS, dtype=torch.float64))
    products_R = F.left_out_products(F.group_products(sums(g_NP), sums(h_NP)))
    return F.left_out(squares_G), products_R, count_R


def each(g_NP):
    """All vectors, then those that are left without each group."""
    return [g_NP, *(g_NP[group != LABELS] for group in range(len(GROUPS)))]


def assert_close(actual, expected):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64))


def test_the_trace_is_that_of_the_sample_covariance():
    g_NP = vectors(0)
    expected = [torch.cov(part_NP.T).trace() for part_NP in each(g_NP)]

    assert_close(F.covariance_trace(*numbers(g_NP, g_NP)), expected)


def test_the_product_of_means_is_the_mean_over_different_pairs():
    g_NP, h_NP = vectors(1), vectors(2)
    expected = []
    for g, h in zip(each(g_NP), each(h_NP), strict=True):
        pairs = [g[i] @ h[j] for i, j in itertools.permutations(range(len(g)), 2)]
        expected.append(sum(pairs) / len(pairs))

    assert_close(F.mean_product(*numbers(g_NP, h_NP)), expected)


def test_the_noise_both_means_share_is_not_taken_for_signal():
    generator = torch.Generator().manual_seed(3)
    noise_MNP = torch.randn(4000, 6, 3, generator=generator, dtype=torch.float64)
    squares_M = noise_MNP.square().sum(dim=(1, 2))
    products_M = noise_MNP.sum(dim=1).square().sum(dim=1)

    found = F.mean_product(squares_M, products_M, torch.full((4000,), 6.0, dtype=torch.float64))

    # one estimate spreads by sqrt(2 * 3 / (6 * 5)) = 0.45, the mean of 4000 by 0.007
    assert abs(float(found.mean())) < 0.02
    assert float((products_M / 36).mean()) == pytest.approx(0.5, abs=0.02)


def test_the_ratio_of_the_plain_means_is_larger_by_one_in_n():
    g_NP = vectors(4)
    squares_R, products_R, count_R = numbers(g_NP, g_NP)
    plain_R = products_R / count_R**2 / F.covariance_trace(squares_R, products_R, count_R)

    assert_close(F.signal_to_noise(squares_R, products_R, count_R), plain_R - 1 / count_R)


def test_cosine_and_bias_of_known_means():
    mu_P, nu_P = torch.tensor([3.0, 4.0]), torch.tensor([5.0, 0.0])
    own, other, product = (x[None] for x in (mu_P @ mu_P, nu_P @ nu_P, mu_P @ nu_P))

    assert float(F.mean_cosine(product, own, other)) == pytest.approx(0.6)
    assert float(F.squared_bias(product, own, other)) == pytest.approx((2**2 + 4**2) / 5**2)


@pytest.mark.parametrize("length", [0.0, -0.5])
def test_a_mean_lost_in_noise_has_no_cosine_and_is_no_reference(length):
    one, lost = torch.ones(1), torch.tensor([length])

    assert F.mean_cosine(one, one, lost).isnan()
    assert F.mean_cosine(one, lost, one).isnan()
    assert F.squared_bias(one, one, lost).isnan()


def test_the_error_of_a_mean_is_the_usual_one_for_groups_of_one():
    x_G = torch.tensor([1.0, 4.0, 2.0, 7.0, 0.5], dtype=torch.float64)
    mean_R = F.left_out(x_G) / torch.tensor([5.0, 4, 4, 4, 4, 4], dtype=torch.float64)

    found = F.jackknife_error(mean_R, torch.ones(5, dtype=torch.float64))

    assert_close(found, x_G.std() / 5**0.5)


def test_the_error_of_a_ratio_by_hand_for_groups_of_unequal_size():
    # values of the whole, and without the groups of 1, 2 and 3 vectors
    figure_R = torch.tensor([2.0, 2.5, 1.5, 1.0], dtype=torch.float64)
    sizes_G = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    pseudo = [6 * 2 - 5 * 2.5, 3 * 2 - 2 * 1.5, 2 * 2 - 1 * 1.0]
    jack = 3 * 2 - (5 / 6 * 2.5 + 4 / 6 * 1.5 + 3 / 6 * 1.0)
    square = sum((p - jack) ** 2 / (h - 1) for p, h in zip(pseudo, (6, 3, 2), strict=True)) / 3

    assert_close(F.jackknife_error(figure_R, sizes_G), square**0.5)


def test_products_do_not_depend_on_how_many_columns_are_held(monkeypatch):
    g_NP, h_NP = sums(vectors(5)), sums(vectors(6))
    whole = F.group_products(g_NP, h_NP)
    monkeypatch.setattr("ketchup_cli.functional.covariance.COLUMNS", 2)

    assert_close(F.group_products(g_NP, h_NP), whole)
    assert_close(whole, g_NP @ h_NP.T)


def test_products_of_float32_sums_are_float64():
    ones_GP = torch.ones(2, 3)

    assert F.group_products(ones_GP, ones_GP).dtype == torch.float64


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.left_out_products(torch.ones(2, 3)),
        lambda: F.jackknife_error(torch.ones(3), torch.ones(3)),
        lambda: F.jackknife_error(torch.ones(2), torch.ones(1)),
    ],
    ids=["products not square", "a value missing", "one group"],
)
def test_values_that_do_not_fit_together_are_refused(call):
    with pytest.raises(ShapeError):
        call()
