import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError


def test_the_loss_is_the_weighted_negative_log_probability():
    loss_BT = F.policy_gradient(torch.tensor([[-1.0, -2.0]]), torch.tensor([[3.0, -0.5]]))

    assert loss_BT.tolist() == [[3.0, -1.0]]


def test_the_gradient_is_the_weight_with_its_sign_turned():
    logp_BT = torch.tensor([[-1.0, -2.0]], requires_grad=True)

    F.policy_gradient(logp_BT, torch.tensor([[3.0, -0.5]])).sum().backward()

    assert logp_BT.grad.tolist() == [[-3.0, 0.5]]


def test_no_gradient_reaches_the_weight():
    adv_BT = torch.ones(1, 2, requires_grad=True)
    logp_BT = torch.zeros(1, 2, requires_grad=True)

    F.policy_gradient(logp_BT, adv_BT).sum().backward()

    assert adv_BT.grad is None


def test_a_weight_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match="`adv_BT` has 3 along T"):
        F.policy_gradient(torch.zeros(1, 2), torch.zeros(1, 3))


def test_the_ratio_is_of_probabilities():
    ratio_BT = F.importance_ratio(torch.tensor([[0.6]]).log(), torch.tensor([[0.2]]).log())

    assert ratio_BT.item() == pytest.approx(3.0)


def test_the_ratio_is_one_for_the_policy_that_sampled():
    logp_BT = torch.tensor([[-0.3, -12.0]])

    assert F.importance_ratio(logp_BT, logp_BT).tolist() == [[1.0, 1.0]]


def test_the_ratio_stays_finite_for_the_most_unlikely_sample():
    ratio_BT = F.importance_ratio(torch.tensor([[0.0]]), torch.tensor([[-1e4]]))

    assert ratio_BT.item() == pytest.approx(math.exp(20))


def test_no_gradient_flows_through_the_ratio():
    logp_BT = torch.zeros(1, 1, requires_grad=True)

    assert not F.importance_ratio(logp_BT, torch.zeros(1, 1)).requires_grad


def random_pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, 2, 3, 5, generator=generator, dtype=torch.float64)


def test_the_expected_logit_is_the_sum_over_all_tokens():
    p_BTV, q_BTV = random_pair()
    policy_BTV = q_BTV.softmax(dim=-1)

    slow_BT = sum(policy_BTV[..., v] * p_BTV[..., v] for v in range(5))
    torch.testing.assert_close(F.expected_logit(p_BTV, q_BTV), slow_BT)


def test_the_gradient_of_the_expected_logit_is_reinforce_s_summed_over_all_tokens():
    p_BTV, q_BTV = random_pair()
    q_BTV = q_BTV.requires_grad_()
    (found_BTV,) = torch.autograd.grad(F.expected_logit(p_BTV, q_BTV).sum(), q_BTV)
    weight_BTV = (q_BTV.softmax(dim=-1) * p_BTV).detach()
    (slow_BTV,) = torch.autograd.grad((weight_BTV * q_BTV.log_softmax(dim=-1)).sum(), q_BTV)

    torch.testing.assert_close(found_BTV, slow_BTV)


def test_the_expected_logit_has_no_gradient_into_the_teacher():
    p_BTV, q_BTV = (x.clone().requires_grad_() for x in random_pair())
    F.expected_logit(p_BTV, q_BTV).sum().backward()

    assert p_BTV.grad is None


def test_an_offset_of_the_teacher_costs_the_expected_logit_s_gradient_no_digits():
    p_BTV, q_BTV = random_pair().float().round().unbind()
    q_BTV.requires_grad_()
    (plain_BTV,) = torch.autograd.grad(F.expected_logit(p_BTV, q_BTV).sum(), q_BTV)
    (moved_BTV,) = torch.autograd.grad(F.expected_logit(p_BTV + 2.0**20, q_BTV).sum(), q_BTV)

    assert torch.equal(moved_BTV, plain_BTV)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 3.0, -3.0, -3.0),
        (1.1, 3.0, -3.3, -3.3),
        (1.5, 3.0, -3.6, 0.0),
        (0.5, 3.0, -1.5, -1.5),
        (0.5, -3.0, 2.4, 0.0),
        (1.5, -3.0, 4.5, 4.5),
    ],
)
def test_the_clipped_surrogate_worked_by_hand(ratio, advantage, loss, gradient):
    logp_BT = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
    found_BT = F.clipped_surrogate(
        logp_BT, torch.zeros(1, 1), torch.tensor([[advantage]]), epsilon=0.2
    )
    found_BT.sum().backward()

    assert found_BT.item() == pytest.approx(loss)
    assert logp_BT.grad.item() == pytest.approx(gradient)


def test_an_epsilon_of_zero_clips_nothing():
    logp_BT = torch.tensor([[4.0]]).log()

    loss_BT = F.clipped_surrogate(logp_BT, torch.zeros(1, 1), torch.tensor([[3.0]]), epsilon=0)

    assert loss_BT.item() == pytest.approx(-12.0)


def test_a_surrogate_of_the_policy_that_sampled_has_reinforce_s_gradient():
    logp_BT = torch.tensor([[-0.3, -2.0]], requires_grad=True)
    adv_BT = torch.tensor([[3.0, -0.5]])
    loss_BT = F.clipped_surrogate(logp_BT, logp_BT.detach(), adv_BT, epsilon=0.2)
    loss_BT.sum().backward()

    assert logp_BT.grad.tolist() == [[-3.0, 0.5]]


def test_no_gradient_reaches_the_surrogate_s_weight_or_the_behaviour():
    logp_BT, behaviour_BT, adv_BT = (torch.ones(1, 2, requires_grad=True) for _ in range(3))
    F.clipped_surrogate(logp_BT, behaviour_BT, adv_BT, epsilon=0.2).sum().backward()

    assert behaviour_BT.grad is None
    assert adv_BT.grad is None


def test_a_surrogate_stays_finite_for_the_most_unlikely_sample():
    logp_BT = torch.zeros(1, 1, requires_grad=True)
    loss_BT = F.clipped_surrogate(logp_BT, torch.tensor([[-1e4]]), torch.ones(1, 1), epsilon=0)
    loss_BT.sum().backward()

    assert loss_BT.isfinite().all()
    assert logp_BT.grad.isfinite().all()
