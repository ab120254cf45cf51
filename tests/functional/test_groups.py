"""Group advantages and mixers: by hand, by a slow loop, and the properties they must have."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

GROUP_B = torch.tensor([5, 2, 5, 2, 5, 9])
REWARD_B = torch.tensor([1.0, 0.5, 0.0, 0.5, 0.25, 1.0], dtype=torch.float64)
CORRECT_B = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64)


def by_loop(reward_B, group_B):
    found = []
    for reward, group in zip(reward_B.tolist(), group_B.tolist(), strict=True):
        own = [r for r, g in zip(reward_B.tolist(), group_B.tolist(), strict=True) if g == group]
        even = max(own) == min(own)
        found.append(0.0 if even else (reward - statistics.mean(own)) / statistics.stdev(own))
    return torch.tensor(found, dtype=torch.float64)


def test_an_advantage_is_the_distance_from_the_group_in_its_deviations():
    found_B = F.group_advantages(REWARD_B, GROUP_B)

    torch.testing.assert_close(found_B, by_loop(REWARD_B, GROUP_B))
    # 1, 0 and 1/4: mean 5/12, deviation 0.5204
    assert found_B[0].item() == pytest.approx((1 - 5 / 12) / 0.520416, abs=1e-5)


rewards = st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0]), min_size=2, max_size=9)


@settings(max_examples=40, deadline=None)
@given(rewards, st.floats(0.01, 100.0))
def test_scaling_and_shifting_a_reward_changes_no_advantage(values, scale):
    reward_B = torch.tensor(values, dtype=torch.float64)
    group_B = torch.arange(len(values)) % 2

    found_B = F.group_advantages(scale * reward_B + 3, group_B)

    torch.testing.assert_close(found_B, by_loop(reward_B, group_B), atol=1e-6, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(rewards)
def test_the_mean_of_a_group_is_0(values):
    reward_B = torch.tensor(values, dtype=torch.float64)
    found_B = F.group_advantages(reward_B, torch.zeros(len(values)))

    assert abs(found_B.mean().item()) < 1e-12


def test_equal_rewards_and_groups_of_one_have_no_advantage():
    equal_B = torch.tensor([0.1, 0.1, 0.1, 0.7])
    group_B = torch.tensor([0, 0, 0, 1])

    assert F.group_advantages(equal_B, group_B).tolist() == [0.0] * 4
    assert F.group_advantages(equal_B, group_B, spread="none").tolist() == [0.0] * 4


def test_without_a_spread_the_difference_from_the_mean_is_left():
    found_B = F.group_advantages(REWARD_B, GROUP_B, spread="none")

    torch.testing.assert_close(found_B[:3], torch.tensor([7 / 12, 0.0, -5 / 12]).double())


def test_a_group_is_right_where_one_of_it_is():
    assert F.any_right(CORRECT_B, GROUP_B).tolist() == [1, 0, 1, 0, 1, 1]


# mixers: the table, by hand

ALL = [1.0] * 6
WRONG = [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
HOPELESS = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]
NONE = [0.0] * 6


@pytest.mark.parametrize(
    ("settings_", "reward", "teacher"),
    [
        ({"mixer": "grpo"}, ALL, NONE),
        ({"mixer": "kd"}, NONE, ALL),
        ({"mixer": "kdrl"}, ALL, [0.5 * x for x in ALL]),
        ({"mixer": "kdrl", "mask": "response"}, ALL, [0.5 * x for x in WRONG]),
        ({"mixer": "kdrl", "mask": "group"}, ALL, [0.5 * x for x in HOPELESS]),
        ({"mixer": "hdpo"}, ALL, [0.5 * x for x in HOPELESS]),
        ({"mixer": "srpo"}, CORRECT_B.tolist(), WRONG),
        ({"mixer": "opd-then-rl", "teaching": True}, NONE, ALL),
        ({"mixer": "opd-then-rl", "teaching": False}, ALL, NONE),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_mixer_weighs_reward_and_teacher_as_its_formula_says(settings_, reward, teacher):
    settings_ = dict(settings_)
    w_B, u_B = F.mixed_weights(
        settings_.pop("mixer"), CORRECT_B, GROUP_B, coefficient=0.5, **settings_
    )

    assert w_B.tolist() == reward
    assert u_B.tolist() == teacher


def test_a_modulation_is_no_sum():
    with pytest.raises(ShapeError, match="`rlsd` is no sum"):
        F.mixed_weights("rlsd", CORRECT_B, GROUP_B, coefficient=1.0)


def test_a_modulated_advantage_follows_the_teacher_within_its_limits():
    advantage_B = torch.tensor([2.0, -1.0])
    d_BT = torch.tensor([[0.1, 5.0, -5.0], [0.1, 5.0, -1e4]])

    found_BT = F.modulated(advantage_B, d_BT, share=0.5, epsilon=0.2)

    e = torch.tensor(0.1).exp().item()
    expected = [
        [2 * (0.5 + 0.5 * e), 2 * 1.1, 2 * 0.9],
        [-(0.5 + 0.5 / e), -0.9, -1.1],
    ]
    torch.testing.assert_close(found_BT, torch.tensor(expected))


def test_without_a_share_a_modulation_does_nothing():
    advantage_B = torch.tensor([2.0, -1.0])

    found_BT = F.modulated(advantage_B, torch.ones(2, 3), share=0.0, epsilon=0.2)

    assert torch.equal(found_BT, advantage_B[:, None].expand(2, 3))


def test_a_coefficient_falls_to_its_floor_and_stays():
    found = [
        F.linear_decay(update, start=5e-3, step=5e-5, floor=1e-3) for update in (0, 40, 80, 500)
    ]

    assert found == pytest.approx([5e-3, 3e-3, 1e-3, 1e-3])
