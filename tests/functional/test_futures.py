"""The part of a return that later tokens earn, and means over what is left of a completion."""

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

LENGTHS = (7, 4, 1, 0)
STEPS = 7
ENDINGS = ("paper", "released")
every_ending = pytest.mark.parametrize("ending", ENDINGS)


def trajectories(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_2BT = torch.randn(2, len(LENGTHS), STEPS, generator=generator, dtype=torch.float64)
    mask_BT = (torch.arange(STEPS) < torch.tensor(LENGTHS)[:, None]).long()
    return x_2BT[0], x_2BT[1], mask_BT


@every_ending
@pytest.mark.parametrize("k", [1, 2, 3, 4, 7, 20])
def test_a_token_and_its_future_make_the_return(k, ending):
    q_BT, v_BT, mask_BT = trajectories()

    future_BT = F.k_step_futures(q_BT, v_BT, mask_BT, k=k, ending=ending)
    return_BT = F.k_step_returns(q_BT, v_BT, mask_BT, k=k, ending=ending)
    torch.testing.assert_close(F.zero_padding(q_BT, mask_BT) + future_BT, return_BT)


def test_beyond_the_end_there_is_no_future_at_all():
    q_BT, v_BT, mask_BT = trajectories()

    assert not F.k_step_futures(q_BT, v_BT, mask_BT, k=STEPS).any()


@every_ending
def test_the_last_token_has_no_future(ending):
    q_BT, v_BT, mask_BT = trajectories()

    future_BT = F.k_step_futures(q_BT, v_BT, mask_BT, k=1, ending=ending)
    assert [future_BT[b, n - 1].item() for b, n in enumerate(LENGTHS) if n] == [0.0, 0.0, 0.0]


def test_a_future_of_four_tokens_worked_by_hand():
    # q - v = -1, -1, 0, -3
    q_BT, v_BT = torch.tensor([[[5.0, 3.0, 8.0, 2.0]], [[6.0, 4.0, 8.0, 5.0]]])

    found = F.k_step_futures(q_BT, v_BT, torch.ones(1, 4), k=2)

    assert found.tolist() == [[0.0, -3.0, 0.0, 0.0]]


@every_ending
def test_an_own_logit_does_not_change_its_future(ending):
    q_BT, v_BT, mask_BT = trajectories()
    changed_BT = q_BT.clone()
    changed_BT[:, 2] += 100

    before, after = (
        F.k_step_futures(x, v_BT, mask_BT, k=2, ending=ending) for x in (q_BT, changed_BT)
    )
    torch.testing.assert_close(after[:, 2], before[:, 2])


def slow_means(row, discount):
    return [
        sum(discount**i * r for i, r in enumerate(row[t:]))
        / sum(discount**i for i in range(len(row) - t))
        for t in range(len(row))
    ]


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95, 1.0])
def test_a_discounted_mean_is_over_the_real_tokens_that_are_left(discount):
    r_BT, _, mask_BT = trajectories()
    slow_BT = torch.tensor(
        [
            slow_means(row[:n], discount) + [0.0] * (STEPS - n)
            for row, n in zip(r_BT.tolist(), LENGTHS, strict=True)
        ],
        dtype=torch.float64,
    )

    torch.testing.assert_close(F.discounted_means(r_BT, mask_BT, discount=discount), slow_BT)


def test_equal_rewards_along_2048_tokens_have_that_mean_everywhere():
    r_BT = torch.ones(1, 2048)

    mean_BT = F.discounted_means(r_BT, torch.ones(1, 2048), discount=0.9)

    torch.testing.assert_close(mean_BT, r_BT, atol=1e-6, rtol=0)


def test_padding_adds_nothing_to_a_return():
    r_BT, mask_BT = torch.tensor([[1.5, 1.0, 2.0, 2.0]]), torch.tensor([[1, 1, 0, 0]])

    assert F.discounted_returns(r_BT, mask_BT).tolist() == [[2.5, 1.0, 0.0, 0.0]]
    assert F.discounted_means(r_BT, mask_BT).tolist() == [[1.25, 1.0, 0.0, 0.0]]


def test_the_next_step_of_a_completion_ends_with_nothing():
    x_BT = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, torch.nan]])

    found_BT = F.of_next_step(x_BT, torch.tensor([[1, 1, 1], [1, 1, 0]]))

    assert found_BT.tolist() == [[2.0, 3.0, 0.0], [5.0, 0.0, 0.0]]


def test_a_future_of_no_steps_is_refused():
    q_BT, v_BT, mask_BT = trajectories()

    with pytest.raises(ShapeError, match="`k` is 0"):
        F.k_step_futures(q_BT, v_BT, mask_BT, k=0)
