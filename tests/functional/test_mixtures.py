import math
from functools import partial

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

SHARES = (0.1, 0.5, 0.75)


def pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)).unbind()


def softmax(row, temperature=1.0):
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def mixed(share, p, q):
    return [share * a + (1 - share) * b for a, b in zip(p, q, strict=True)]


def slow_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def slow_js(share, p, q, *, of_p):
    middle = mixed(share, p, q)
    return of_p * slow_kl(p, middle) + (1 - of_p) * slow_kl(q, middle)


FAST = {
    "skew_kl": lambda share: partial(F.skew_kl, alpha=share),
    "skew_reverse_kl": lambda share: partial(F.skew_reverse_kl, alpha=share),
    "published": lambda share: partial(F.generalised_js, beta=share),
    "continuous": lambda share: partial(F.generalised_js, beta=share, weighting="continuous"),
}
SLOW = {
    "skew_kl": lambda share, p, q: slow_kl(p, mixed(share, p, q)),
    "skew_reverse_kl": lambda share, p, q: slow_kl(q, mixed(share, q, p)),
    "published": lambda share, p, q: slow_js(share, p, q, of_p=share),
    "continuous": lambda share, p, q: slow_js(share, p, q, of_p=1 - share),
}
every = pytest.mark.parametrize("name", FAST)
every_share = pytest.mark.parametrize("share", SHARES)


@every
@every_share
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_divergence_is_that_of_a_slow_loop(name, share, temperature):
    p_BTV, q_BTV = pair(2, 3, 5)

    slow = [
        [
            SLOW[name](share, softmax(p, temperature), softmax(q, temperature))
            for p, q in zip(p_TV.tolist(), q_TV.tolist(), strict=True)
        ]
        for p_TV, q_TV in zip(p_BTV, q_BTV, strict=True)
    ]
    actual_BT = FAST[name](share)(p_BTV, q_BTV, temperature=temperature)
    torch.testing.assert_close(actual_BT, torch.tensor(slow, dtype=torch.float64))


@every
@every_share
def test_a_divergence_of_equals_is_zero_and_so_is_its_gradient(name, share):
    p_BTV, _ = pair(5, 4, 6)
    q_BTV = (p_BTV + 3).requires_grad_()

    found_BT = FAST[name](share)(p_BTV, q_BTV)
    found_BT.sum().backward()

    assert found_BT.abs().max().item() == pytest.approx(0, abs=1e-12)
    assert q_BTV.grad.abs().max().item() == pytest.approx(0, abs=1e-12)


@every
@every_share
def test_a_divergence_is_never_negative(name, share):
    assert FAST[name](share)(*pair(50, 4, 6)).min().item() >= 0


@every
@every_share
def test_a_divergence_is_finite_at_extreme_logits(name, share):
    p_BTV, q_BTV = pair(2, 3, 5)
    q_BTV = (1e4 * q_BTV).float().requires_grad_()

    found_BT = FAST[name](share)((-1e4 * p_BTV).float(), q_BTV)
    found_BT.sum().backward()

    assert found_BT.isfinite().all()
    assert q_BTV.grad.isfinite().all()


@every
def test_a_divergence_refuses_vocabularies_that_differ(name):
    with pytest.raises(ShapeError, match="along V"):
        FAST[name](0.5)(torch.zeros(1, 1, 5), torch.zeros(1, 1, 6))


@pytest.mark.parametrize(
    ("name", "share", "end"),
    [
        ("skew_kl", 0, F.kl),
        ("skew_reverse_kl", 0, F.reverse_kl),
        ("published", 0, F.kl),
        ("published", 1, F.reverse_kl),
        ("continuous", 0, F.kl),
        ("continuous", 1, F.reverse_kl),
    ],
)
def test_the_ends_are_forward_and_reverse_kl_themselves(name, share, end):
    p_BTV, q_BTV = pair(2, 3, 5)

    found_BT = FAST[name](share)(p_BTV, q_BTV, temperature=2.0)

    assert torch.equal(found_BT, end(p_BTV, q_BTV, temperature=2.0))


@pytest.mark.parametrize("share", [1e-7, 1 - 1e-7])
def test_the_continuous_form_runs_into_both_ends(share):
    p_BTV, q_BTV = pair(2, 3, 5)

    found_BT = F.generalised_js(p_BTV, q_BTV, beta=share, weighting="continuous")

    end = F.kl if share < 0.5 else F.reverse_kl
    torch.testing.assert_close(found_BT, end(p_BTV, q_BTV), atol=1e-4, rtol=0)


@pytest.mark.parametrize("share", [1e-7, 1 - 1e-7])
def test_the_published_form_runs_into_nothing_at_both_ends(share):
    assert F.generalised_js(*pair(2, 3, 5), beta=share).max().item() < 1e-5


def test_the_published_form_by_its_share_runs_into_forward_kl():
    p_BTV, q_BTV = pair(2, 3, 5)

    found_BT = F.generalised_js(p_BTV, q_BTV, beta=1e-7) / 1e-7

    torch.testing.assert_close(found_BT, F.kl(p_BTV, q_BTV), atol=1e-4, rtol=0)


@pytest.mark.parametrize("weighting", ["published", "continuous"])
def test_at_one_half_both_forms_are_the_jensen_shannon_divergence(weighting):
    p_BTV, q_BTV = pair(5, 4, 6)

    found_BT = F.generalised_js(p_BTV, q_BTV, beta=0.5, weighting=weighting)

    torch.testing.assert_close(found_BT, F.js(p_BTV, q_BTV))


@every_share
@pytest.mark.parametrize("weighting", ["published", "continuous"])
def test_exchanging_teacher_and_student_exchanges_their_shares(share, weighting):
    p_BTV, q_BTV = pair(5, 4, 6)

    one_BT = F.generalised_js(p_BTV, q_BTV, beta=share, weighting=weighting)
    other_BT = F.generalised_js(q_BTV, p_BTV, beta=1 - share, weighting=weighting)

    torch.testing.assert_close(one_BT, other_BT)


@every_share
def test_the_published_form_is_at_most_the_entropy_of_its_shares(share):
    p_BTV, q_BTV = pair(50, 4, 6)
    bound = -share * math.log(share) - (1 - share) * math.log(1 - share)

    found_BT = F.generalised_js(5 * p_BTV, 5 * q_BTV, beta=share)

    assert found_BT.max().item() <= bound + 1e-12
    assert bound <= math.log(2) + 1e-12


@every_share
@pytest.mark.parametrize(("name", "whole"), [("skew_kl", F.kl), ("skew_reverse_kl", F.reverse_kl)])
def test_a_skew_divergence_is_at_most_its_share_of_the_whole(name, whole, share):
    p_BTV, q_BTV = pair(50, 4, 6)

    bound_BT = (1 - share) * whole(p_BTV, q_BTV)

    assert (FAST[name](share)(p_BTV, q_BTV) <= bound_BT + 1e-12).all()


@every_share
@pytest.mark.parametrize("name", ["skew_kl", "skew_reverse_kl"])
def test_a_skew_divergence_is_at_most_the_cost_of_its_share(name, share):
    p_BTV, q_BTV = pair(50, 4, 6)

    found_BT = FAST[name](share)(20 * p_BTV, 20 * q_BTV)

    assert found_BT.max().item() <= -math.log(share) + 1e-12
    assert found_BT.max().item() > -0.9 * math.log(share)


@pytest.mark.parametrize("name", ["skew_kl", "skew_reverse_kl"])
def test_a_skew_divergence_to_oneself_is_nothing(name):
    assert FAST[name](1 - 1e-9)(*pair(5, 4, 6)).max().item() < 1e-7


@every_share
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_with_the_same_odds_everywhere_the_mixture_is_a_skew(side, share):
    p_BTV, q_BTV = pair(2, 3, 5)
    odds_BT = torch.full((2, 3), math.log(share / (1 - share)), dtype=torch.float64)

    found_BT = F.kl_to_mixture(p_BTV, q_BTV, odds_BT, side=side, temperature=2.0)

    if side == "teacher":
        expected_BT = F.skew_kl(p_BTV, q_BTV, alpha=share, temperature=2.0)
    else:
        expected_BT = F.skew_reverse_kl(p_BTV, q_BTV, alpha=1 - share, temperature=2.0)
    torch.testing.assert_close(found_BT, expected_BT)


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_each_step_has_its_own_odds(side):
    p_BTV, q_BTV = pair(1, 3, 5)
    odds_BT = torch.tensor([[-2.0, 0.0, 3.0]], dtype=torch.float64)

    whole_BT = F.kl_to_mixture(p_BTV, q_BTV, odds_BT, side=side)

    alone = [
        F.kl_to_mixture(p_BTV[:, t : t + 1], q_BTV[:, t : t + 1], odds_BT[:, t : t + 1], side=side)
        for t in range(3)
    ]
    torch.testing.assert_close(whole_BT, torch.cat(alone, dim=1))


@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize("odds", [-1e4, 1e4])
def test_odds_beyond_all_measure_leave_value_and_gradient_finite(side, odds):
    p_BTV, q_BTV = (x.float() for x in pair(2, 3, 5))
    q_BTV.requires_grad_()

    found_BT = F.kl_to_mixture(p_BTV, q_BTV, torch.full((2, 3), odds), side=side)
    found_BT.sum().backward()

    alone = side == ("teacher" if odds > 0 else "student")
    whole_BT = F.kl(p_BTV, q_BTV) if side == "teacher" else F.reverse_kl(p_BTV, q_BTV)
    expected_BT = torch.zeros_like(whole_BT) if alone else whole_BT
    torch.testing.assert_close(found_BT, expected_BT, atol=1e-5, rtol=1e-5)
    assert q_BTV.grad.isfinite().all()


def test_no_gradient_reaches_the_odds():
    odds_BT = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    p_BTV, q_BTV = pair(2, 3, 5)

    F.kl_to_mixture(p_BTV, q_BTV.requires_grad_(), odds_BT, side="teacher").sum().backward()

    assert odds_BT.grad is None
