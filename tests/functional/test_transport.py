import itertools
import math

import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError


def costs(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, count, 8, generator=generator, dtype=torch.float64)
    return F.l1_costs(*pair.softmax(-1))


def slow_plan(cost_NN, smoothing, sweeps):
    """The paper's loop, number by number, without logarithms."""
    size = len(cost_NN)
    plan = [[math.exp(-float(d) / smoothing) for d in row] for row in cost_NN]
    for _ in range(sweeps):
        plan = [[x / sum(row) for x in row] for row in plan]
        sums = [sum(plan[i][j] for i in range(size)) for j in range(size)]
        plan = [[row[j] / sums[j] for j in range(size)] for row in plan]
    return torch.tensor(plan, dtype=torch.float64)


def cheapest(cost_NN):
    """The cheapest assignment's cost a point, all assignments tried."""
    size = len(cost_NN)
    totals = [
        sum(float(cost_NN[i, j]) for i, j in enumerate(order))
        for order in itertools.permutations(range(size))
    ]
    return min(totals) / size


@pytest.mark.parametrize("sweeps", [1, 2, 20])
def test_the_plan_is_that_of_the_paper_s_loop(sweeps):
    plan_NN = F.transport_plan(costs(), smoothing=0.1, sweeps=sweeps)

    torch.testing.assert_close(plan_NN, slow_plan(costs(), 0.1, sweeps))


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_of_the_plan_sum_to_one(axis):
    plan_NN = F.transport_plan(costs(), smoothing=0.1, sweeps=200)

    torch.testing.assert_close(plan_NN.sum(axis), torch.ones(6, dtype=torch.float64))
    assert (plan_NN >= 0).all()


@pytest.mark.parametrize("smoothing", [0.05, 0.1, 1.0])
def test_the_plan_is_that_of_pot(smoothing):
    even = [1 / 6] * 6
    theirs = ot.sinkhorn(
        even, even, costs().numpy(), smoothing, "sinkhorn_log", numItermax=5000, stopThr=1e-12
    )
    plan_NN = F.transport_plan(costs(), smoothing=smoothing, sweeps=5000) / 6

    torch.testing.assert_close(plan_NN, torch.from_numpy(theirs), atol=1e-9, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_without_smoothing_the_cost_is_that_of_the_cheapest_assignment(count):
    cost_NN = costs(count)

    actual = F.transport_cost(cost_NN, smoothing=1e-3, sweeps=3000).item()
    # no plan's entropy is above log N a point
    assert actual == pytest.approx(cheapest(cost_NN), abs=1e-3 * math.log(6))


def test_without_smoothing_the_cost_is_that_of_exact_transport_by_others():
    cost_NN = costs(32)
    rows, columns = linear_sum_assignment(cost_NN.numpy())
    even = [1 / 32] * 32
    wanted = float(cost_NN[rows, columns].mean())

    actual = F.transport_cost(cost_NN, smoothing=1e-3, sweeps=4000).item()
    assert actual == pytest.approx(wanted, abs=1e-3 * math.log(32))
    assert wanted == pytest.approx(ot.emd2(even, even, cost_NN.numpy()))


def test_with_much_smoothing_every_pair_counts_alike():
    plan_NN = F.transport_plan(costs(), smoothing=1e9, sweeps=1)

    torch.testing.assert_close(plan_NN, torch.full_like(plan_NN, 1 / 6))
    cost = F.transport_cost(costs(), smoothing=1e9, sweeps=1)
    torch.testing.assert_close(cost, costs().mean())


def test_the_cost_lies_between_assignment_and_staying_in_place_with_its_entropy():
    cost_NN = costs()

    actual = F.transport_cost(cost_NN, smoothing=0.1, sweeps=500).item()
    # the entropic plan minimises cost - lambda entropy; the identity has entropy 0, no plan of
    # mass 1 a row more than log N
    assert cheapest(cost_NN) <= actual <= cost_NN.diagonal().mean().item() + 0.1 * math.log(6)


def test_one_point_costs_its_distance():
    assert F.transport_cost(costs(1), smoothing=0.1, sweeps=1).item() == costs(1).item()


def test_points_in_another_order_cost_the_same():
    order_N = torch.tensor([3, 1, 5, 0, 2, 4])
    other_NN = costs()[order_N][:, order_N.flip(0)]

    actual = F.transport_cost(other_NN, smoothing=0.1, sweeps=500)
    torch.testing.assert_close(actual, F.transport_cost(costs(), smoothing=0.1, sweeps=500))


def test_the_same_points_twice_cost_the_same():
    twice_NN = costs().repeat(2, 2)

    actual = F.transport_cost(twice_NN, smoothing=0.1, sweeps=20)
    torch.testing.assert_close(actual, F.transport_cost(costs(), smoothing=0.1, sweeps=20))


def test_the_gradient_goes_through_costs_and_plan():
    cost_NN = costs(4).requires_grad_()

    def cost(cost_NN):
        return F.transport_cost(cost_NN, smoothing=0.1, sweeps=3)

    assert torch.autograd.gradcheck(cost, [cost_NN])
    (gradient_NN,) = torch.autograd.grad(cost(cost_NN), cost_NN)
    plan_NN = F.transport_plan(cost_NN, smoothing=0.1, sweeps=3)
    assert (gradient_NN - plan_NN / 4).abs().max() > 1e-3


def test_a_tiny_smoothing_neither_underflows_nor_loses_the_gradient():
    cost_NN = costs().float().requires_grad_()

    F.transport_cost(cost_NN, smoothing=1e-6, sweeps=20).backward()

    assert cost_NN.grad.isfinite().all()
    assert cost_NN.grad.any()


@pytest.mark.parametrize(("smoothing", "sweeps"), [(0.0, 20), (-1.0, 20), (0.1, 0)])
def test_a_plan_without_smoothing_or_sweeps_is_refused(smoothing, sweeps):
    with pytest.raises(ShapeError, match="above 0"):
        F.transport_plan(costs(), smoothing=smoothing, sweeps=sweeps)


def test_costs_that_are_not_square_are_refused():
    with pytest.raises(ShapeError, match="along N"):
        F.transport_plan(costs()[:4], smoothing=0.1, sweeps=1)
