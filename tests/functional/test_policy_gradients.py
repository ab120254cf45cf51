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
