import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

LENGTHS = (7, 4, 1, 0)
STEPS = 7
KS = (1, 2, 3, 4, 7, 20)
# a trajectory worked by hand: q = 5, 3, 8, 2 and v = 6, 4, 8, 5, so q - v = -1, -1, 0, -3
HAND_Q = torch.tensor([[5.0, 3.0, 8.0, 2.0]])
HAND_V = torch.tensor([[6.0, 4.0, 8.0, 5.0]])
HAND_MASK = torch.ones(1, 4)


def trajectories(seed=0):
    generator = torch.Generator().manual_seed(seed)
    q_BT = torch.randn(len(LENGTHS), STEPS, generator=generator, dtype=torch.float64)
    v_BT = torch.randn(len(LENGTHS), STEPS, generator=generator, dtype=torch.float64)
    mask_BT = (torch.arange(STEPS) < torch.tensor(LENGTHS)[:, None]).long()
    return q_BT, v_BT, mask_BT


def by_row(q_BT, v_BT, mask_BT, row_of):
    rows = []
    for q, v, mask in zip(q_BT.tolist(), v_BT.tolist(), mask_BT.tolist(), strict=True):
        n = sum(mask)
        rows.append(row_of(q[:n], v[:n]) + [0.0] * (len(mask) - n))
    return torch.tensor(rows, dtype=q_BT.dtype)


def slow_k_step(q, v, k, ending):
    """Follow the recursion g_t = q_t - v_{t+k} + g_{t+k} from the end, one step at a time."""
    n = len(q)
    returns = [0.0] * n
    for t in reversed(range(n)):
        later = (returns[t + k] - v[t + k]) if t + k < n else 0.0
        returns[t] = q[t] + later
    if ending == "released":
        for t in range(n - 1):
            if (n - 1 - t) % k:
                returns[t] += q[-1] - v[-1]
    return returns


@pytest.mark.parametrize("ending", ["paper", "released"])
@pytest.mark.parametrize("k", KS)
def test_k_step_returns_are_those_of_the_recursion(k, ending):
    q_BT, v_BT, mask_BT = trajectories()

    slow_BT = by_row(q_BT, v_BT, mask_BT, lambda q, v: slow_k_step(q, v, k, ending))

    torch.testing.assert_close(F.k_step_returns(q_BT, v_BT, mask_BT, k=k, ending=ending), slow_BT)


@pytest.mark.parametrize(
    ("k", "ending", "expected"),
    [
        (1, "paper", [1.0, 0.0, 5.0, 2.0]),
        (2, "paper", [5.0, 0.0, 8.0, 2.0]),
        (2, "released", [2.0, 0.0, 5.0, 2.0]),
        (4, "paper", [5.0, 3.0, 8.0, 2.0]),
        (4, "released", [2.0, 0.0, 5.0, 2.0]),
    ],
)
def test_k_step_returns_of_a_trajectory_worked_by_hand(k, ending, expected):
    assert F.k_step_returns(HAND_Q, HAND_V, HAND_MASK, k=k, ending=ending).tolist() == [expected]


@pytest.mark.parametrize("ending", ["paper", "released"])
@pytest.mark.parametrize("k", KS)
def test_k_step_advantages_are_returns_less_the_state_s_value(k, ending):
    q_BT, v_BT, mask_BT = trajectories()

    returns_BT = F.k_step_returns(q_BT, v_BT, mask_BT, k=k, ending=ending)

    torch.testing.assert_close(
        F.k_step_advantages(q_BT, v_BT, mask_BT, k=k, ending=ending), returns_BT - v_BT * mask_BT
    )


def test_an_offset_of_every_state_costs_the_advantages_no_digits():
    q_BT, v_BT, mask_BT = (x.float() for x in trajectories())
    q_BT, v_BT = q_BT.round(decimals=1), v_BT.round(decimals=1)

    plain_BT = F.k_step_advantages(q_BT, v_BT, mask_BT, k=2)
    moved_BT = F.k_step_advantages(q_BT + 1e4, v_BT + 1e4, mask_BT, k=2)

    # a float32 step at 1e4 is 1e-3, once for each of at most 4 terms, of both q and v
    torch.testing.assert_close(moved_BT, plain_BT, atol=8e-3, rtol=0)


def test_returns_of_a_thousand_tokens_keep_float32_precision():
    generator = torch.Generator().manual_seed(0)
    q_BT, v_BT = torch.randn(2, 3, 1024, generator=generator)
    mask_BT = torch.ones(3, 1024)

    exact_BT = F.k_step_returns(q_BT.double(), v_BT.double(), mask_BT, k=1)

    # sums of a thousand terms reach 100; float32 steps there are 1e-5
    torch.testing.assert_close(
        F.k_step_returns(q_BT, v_BT, mask_BT, k=1), exact_BT.float(), atol=1e-3, rtol=0
    )


def test_half_precision_values_give_float32_returns():
    q_BT, v_BT, mask_BT = trajectories()

    returns_BT = F.k_step_returns(q_BT.bfloat16(), v_BT.bfloat16(), mask_BT, k=2)

    assert returns_BT.dtype == torch.float32


def test_what_stands_on_padding_does_not_reach_the_returns():
    q_BT, v_BT, mask_BT = trajectories()
    junk_BT = torch.where(mask_BT.bool(), 0.0, torch.nan)

    clean_BT = F.k_step_returns(q_BT, v_BT, mask_BT, k=2, ending="released")
    dirty_BT = F.k_step_returns(q_BT + junk_BT, v_BT + junk_BT, mask_BT, k=2, ending="released")

    assert torch.equal(clean_BT, dirty_BT)


def test_fewer_steps_than_one_are_refused():
    with pytest.raises(ShapeError, match="`k` is 0"):
        F.k_step_returns(HAND_Q, HAND_V, HAND_MASK, k=0)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ShapeError, match="`mask_BT` has 3 along T where `q_BT` has 4"):
        F.k_step_returns(HAND_Q, HAND_V, HAND_MASK[:, :3], k=1)


def test_induced_rewards_take_the_value_of_the_next_state():
    q_BT, v_BT, mask_BT = trajectories()

    slow_BT = by_row(
        q_BT,
        v_BT,
        mask_BT,
        lambda q, v: [q[t] - (v[t + 1] if t + 1 < len(v) else 0.0) for t in range(len(q))],
    )
    torch.testing.assert_close(F.induced_rewards(q_BT, v_BT, mask_BT), slow_BT)


def test_induced_rewards_of_a_trajectory_worked_by_hand():
    assert F.induced_rewards(HAND_Q, HAND_V, HAND_MASK).tolist() == [[1.0, -5.0, 3.0, 2.0]]


@pytest.mark.parametrize("discount", [0.0, 0.5, 1.0])
def test_discounted_returns_are_those_of_the_recursion(discount):
    r_BT, _, mask_BT = trajectories()

    def slow(r, _v):
        returns = [0.0] * (len(r) + 1)
        for t in reversed(range(len(r))):
            returns[t] = r[t] + discount * returns[t + 1]
        return returns[:-1]

    slow_BT = by_row(r_BT, r_BT, mask_BT, slow)
    torch.testing.assert_close(F.discounted_returns(r_BT, mask_BT, discount=discount), slow_BT)


def test_discounted_returns_of_rewards_worked_by_hand():
    returns_BT = F.discounted_returns(
        torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3), discount=0.5
    )

    assert returns_BT.tolist() == [[3.0, 4.0, 4.0]]


def test_gradients_flow_through_returns():
    q_BT, v_BT, mask_BT = trajectories()
    q_BT.requires_grad_()

    F.k_step_returns(q_BT, v_BT, mask_BT, k=1).sum().backward()

    position_BT = (torch.arange(STEPS) + 1) * mask_BT
    torch.testing.assert_close(q_BT.grad, position_BT.to(q_BT.dtype))
