import math

import pytest
import torch
from torch import nn

from ketchup_cli.errors import NonFiniteError
from ketchup_cli.specs import OptimizerSpec
from ketchup_cli.train.optim import (
    build_optimizer,
    clip_gradients,
    learning_rate,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)


def make_spec(**changes: object) -> OptimizerSpec:
    settings = {"learning_rate": 1.0, "warmup": 4, "schedule": "linear", "floor": 0.1}
    return OptimizerSpec(**(settings | changes))


def rates(spec: OptimizerSpec, updates: int) -> list[float]:
    return [learning_rate(spec, update, updates) for update in range(updates)]


def make_module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


def test_the_linear_schedule_by_hand() -> None:
    found = rates(make_spec(), 10)
    wanted = [0.25, 0.5, 0.75, 1.0, 1.0, 0.82, 0.64, 0.46, 0.28, 0.1]

    assert found == pytest.approx(wanted)


def test_the_schedule_holds_the_peak_for_its_share_of_all_updates() -> None:
    found = rates(make_spec(hold=0.6), 10)
    wanted = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 0.7, 0.4, 0.1]

    assert found == pytest.approx(wanted)


def test_the_cosine_schedule_by_hand() -> None:
    found = rates(make_spec(schedule="cosine", warmup=0, floor=0.0), 5)
    wanted = [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(5)]

    assert found == pytest.approx(wanted)
    assert found[2] == pytest.approx(0.5)


def test_the_constant_schedule_stays_at_the_peak() -> None:
    assert rates(make_spec(schedule="constant"), 7)[3:] == [1.0] * 4


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_last_update_has_the_floor(schedule: str) -> None:
    assert rates(make_spec(schedule=schedule, warmup=2), 50)[-1] == pytest.approx(0.1)


def test_without_warmup_the_first_update_has_the_peak() -> None:
    assert learning_rate(make_spec(warmup=0), 0, 10) == 1.0


@pytest.mark.parametrize("updates", [1, 2, 4, 5])
def test_a_run_shorter_than_its_warmup_has_positive_rates(updates: int) -> None:
    assert all(0 < rate <= 1 for rate in rates(make_spec(), updates))


def test_norms_and_biases_are_never_decayed() -> None:
    module = make_module()
    optimizer = build_optimizer(module, make_spec(weight_decay=0.3))
    decay = {
        id(weight): group["weight_decay"]
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    found = {name: decay[id(weight)] for name, weight in module.named_parameters()}

    assert found == {
        "0.weight": 0.3,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.3,
        "2.bias": 0.0,
    }


def test_frozen_weights_are_left_out() -> None:
    module = make_module()
    module[0].requires_grad_(False)
    optimizer = build_optimizer(module, make_spec())

    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_a_step_of_adamw_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[2.0]]))
    module = nn.ParameterList([weight])
    spec = make_spec(learning_rate=0.1, betas=(0.9, 0.98), weight_decay=0.5)
    optimizer = build_optimizer(module, spec)
    weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    # the first step of Adam has the sign of the gradient and the size of the rate

    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)


def test_a_step_of_adafactor_is_scaled_by_the_size_of_the_weight() -> None:
    changes = []
    for size in (1.0, 10.0):
        weight = nn.Parameter(torch.full((2, 2), size))
        optimizer = build_optimizer(
            nn.ParameterList([weight]), make_spec(name="adafactor", learning_rate=0.01)
        )
        weight.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        optimizer.step()
        changes.append((weight - size).abs().max().item())

    assert changes[1] == pytest.approx(10 * changes[0], rel=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_the_learning_rate_set_is_the_one_used(name: str) -> None:
    module = make_module()
    before = [weight.clone() for weight in module.parameters()]
    optimizer = build_optimizer(module, make_spec(name=name))
    set_learning_rate(optimizer, 0.0)
    step(module, optimizer)

    assert all(torch.equal(one, two) for one, two in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_restored_optimiser_takes_the_same_steps(name: str) -> None:
    spec = make_spec(name=name, learning_rate=0.01, weight_decay=0.1)
    one, other = make_module(), make_module()
    first = build_optimizer(one, spec)
    for _ in range(3):
        step(one, first)
    second = build_optimizer(other, spec)
    other.load_state_dict(one.state_dict())
    restore_optimizer(second, {key: value.clone() for key, value in optimizer_tensors(first)})
    for _ in range(2):
        step(one, first)
        step(other, second)

    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def test_clipping_scales_to_the_norm_and_returns_the_one_there_was() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([2.0, 3.0]), torch.tensor([6.0])
    norm = clip_gradients(weights, 3.5)

    assert norm == pytest.approx(7.0)
    assert weights[0].grad.tolist() == pytest.approx([1.0, 1.5], rel=1e-5)
    assert weights[1].grad.tolist() == pytest.approx([3.0], rel=1e-5)


@pytest.mark.parametrize("limit", [0.0, 10.0])
def test_gradients_below_the_limit_are_left_alone(limit: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    norm = clip_gradients([weight], limit)

    assert norm == pytest.approx(5.0)
    assert weight.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_an_error(value: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1.0, value])
    with pytest.raises(NonFiniteError, match="the gradient is not finite") as caught:
        clip_gradients([weight], 1.0)

    assert caught.value.exit_code == 7
