"""Estimates of a divergence from single tokens: value and gradient in expectation, exactly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup_cli import functional as F

GENERATOR = torch.Generator().manual_seed(3)
STUDENT_V, TEACHER_V = (
    2 * torch.randn(7, generator=GENERATOR, dtype=torch.float64) for _ in range(2)
)


def expected(estimate, student_V=STUDENT_V):
    """Return value and gradient of an estimate in expectation over the student's tokens.

    The drawing is not differentiated: chances are constants, as for tokens that were drawn.
    """
    student_V = student_V.detach().requires_grad_()
    logp_1V, p_logp_1V = (x.log_softmax(-1)[None] for x in (student_V, TEACHER_V))
    chance_1V = logp_1V.exp().detach()
    value = (chance_1V * estimate(logp_1V, p_logp_1V)).sum()
    return value.detach(), torch.autograd.grad(value, student_V)[0]


def divergence(forward):
    """Return KL(p || pi), or KL(pi || p), with its gradient in the student."""
    student_V = STUDENT_V.detach().requires_grad_()
    q_V, p_V = student_V.log_softmax(-1), TEACHER_V.log_softmax(-1)
    value = (p_V.exp() * (p_V - q_V)).sum() if forward else (q_V.exp() * (q_V - p_V)).sum()
    return value.detach(), torch.autograd.grad(value, student_V)[0]


def estimator(kind, limit=1e3):
    return lambda logp, p_logp: F.sampled_kl(logp, p_logp, kind=kind, limit=limit)


def ratio_k3(logp_1V, p_logp_1V):
    ratio_1V = F.tangent_exp(logp_1V - logp_1V.detach())
    return ratio_1V * F.sampled_kl(logp_1V, p_logp_1V, kind="k3", limit=1e3)


def assert_close(one, other):
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


# the table: what each estimate is worth, and which way it pulls


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_have_the_value_of_the_reverse_divergence(kind):
    assert_close(expected(estimator(kind))[0], divergence(forward=False)[0])


def test_k2_has_another_value():
    value, _ = expected(estimator("k2"))

    assert abs(value - divergence(forward=False)[0]).item() > 0.05


def test_k1_in_the_loss_ignores_the_teacher():
    assert_close(expected(estimator("k1"))[1], torch.zeros(7, dtype=torch.float64))


def test_k2_pulls_like_the_reverse_divergence():
    assert_close(expected(estimator("k2"))[1], divergence(forward=False)[1])


def test_k3_pulls_like_the_forward_divergence_and_not_like_the_reverse():
    _, gradient_V = expected(estimator("k3"))

    assert_close(gradient_V, divergence(forward=True)[1])
    assert (gradient_V - divergence(forward=False)[1]).abs().max().item() > 0.05


def test_k3_times_a_differentiable_ratio_pulls_like_the_reverse_divergence():
    assert_close(expected(ratio_k3)[1], divergence(forward=False)[1])


def test_k1_as_a_reward_pulls_like_the_reverse_divergence():
    def loss(logp_1V, p_logp_1V):
        return F.policy_gradient(logp_1V, p_logp_1V - logp_1V.detach())

    assert_close(expected(loss)[1], divergence(forward=False)[1])


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_between_equals_there_is_no_value_and_no_gradient_of_a_token(kind):
    logp_BT = torch.full((1, 1), -0.7, dtype=torch.float64, requires_grad=True)
    found_BT = F.sampled_kl(logp_BT, logp_BT.detach(), kind=kind)
    (slope_BT,) = torch.autograd.grad(found_BT.sum(), logp_BT)

    assert found_BT.item() == 0
    assert slope_BT.item() == (1.0 if kind == "k1" else 0.0)  # of k1 it vanishes in expectation


# limits: held gradients, never lost ones


@pytest.mark.parametrize("kind", ["k2", "k3"])
@pytest.mark.parametrize("ratio", [-200.0, -15.0, 15.0, 90.0])
def test_beyond_the_limit_a_token_keeps_a_finite_pull_towards_the_teacher(kind, ratio):
    logp_BT = torch.zeros(1, 1, requires_grad=True)
    found_BT = F.sampled_kl(logp_BT, torch.full((1, 1), ratio), kind=kind, limit=10.0)
    (slope_BT,) = torch.autograd.grad(found_BT.sum(), logp_BT)

    assert found_BT.isfinite()
    assert 0.9 < slope_BT.abs().item() < 3e4
    assert (slope_BT.item() < 0) == (ratio > 0)


@settings(max_examples=30, deadline=None)
@given(st.floats(-300, 300), st.floats(0.5, 30))
def test_the_tangent_meets_the_exponential_and_lies_below_it(x, limit):
    found = F.tangent_exp(torch.tensor(x, dtype=torch.float64), limit=limit).item()
    exact = torch.tensor(x, dtype=torch.float64).exp().item()

    assert found == exact if x <= limit else found <= exact
