"""Rewards of completions against those of the same prompt, and how a teacher is mixed in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import at_least_float32, check_shapes

Spread = Literal["deviation", "none"]
"""Whether an advantage is divided by the standard deviation of its group."""

Mixer = Literal["kdrl", "hdpo", "srpo", "opd-then-rl", "rlsd", "grpo", "kd"]
"""Ways to bring a reward and a teacher into one advantage."""

KdMask = Literal["none", "response", "group"]
"""Which completions the teacher corrects: all, wrong ones, or those of prompts without a right one."""


def group_advantages(reward_B: Tensor, group_B: Tensor, *, spread: Spread = "deviation") -> Tensor:
    """Return how much better each completion did than the others of its prompt.

        A_i = (r_i - mean r) / std r,   mean and std over the group of i, std with G - 1 below

    0 for a group whose rewards are all the same, and for a completion that is alone: there is nothing
    to compare it with. No epsilon stands beside the deviation, so a reward's scale changes nothing.

    Args:
        reward_B: [B] rewards.
        group_B: [B] equal numbers mark samples of one prompt.
        spread: "deviation", or "none" for the difference from the mean alone.

    Returns:
        [B], a mean of 0 in every group.

    Raises:
        ShapeError: shapes differ.

    Source: Shao et al. 2024, arXiv 2402.03300. Differs: no epsilon; groups of one are 0.
    """
    check_shapes("reward_B group_B", reward_B, group_B)
    same_BB = group_B[:, None] == group_B
    reward_B = at_least_float32(reward_B)
    size_B = same_BB.sum(dim=1)
    weight_BB = same_BB.to(reward_B.dtype)
    off_B = reward_B - weight_BB @ reward_B / size_B
    # not the deviation: of equal rewards it may be the rounding of their mean
    highest_B = torch.where(same_BB, reward_B, -torch.inf).amax(dim=1)
    lowest_B = torch.where(same_BB, reward_B, torch.inf).amin(dim=1)
    uneven_B = highest_B > lowest_B
    if spread == "none":
        return torch.where(uneven_B, off_B, 0.0)
    variance_B = weight_BB @ off_B.square() / (size_B - 1).clamp(min=1)
    return torch.where(uneven_B, off_B / torch.where(uneven_B, variance_B.sqrt(), 1.0), 0.0)


def any_right(correct_B: Tensor, group_B: Tensor) -> Tensor:
    """Return 1 where some completion of the same prompt is right, 0 elsewhere.

    Args:
        correct_B: [B] 1 for right, 0 for wrong.
        group_B: [B] equal numbers mark samples of one prompt.

    Returns:
        [B].

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("correct_B group_B", correct_B, group_B)
    same_BB = (group_B[:, None] == group_B).to(correct_B.dtype)
    return (same_BB @ correct_B > 0).to(correct_B.dtype)


def mixed_weights(
    mixer: Mixer,
    correct_B: Tensor,
    group_B: Tensor,
    *,
    coefficient: float,
    mask: KdMask = "none",
    teaching: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return what reward and teacher count in the advantage of every completion.

        A_t = w A + u d_t,   d_t = log p(a_t|s_t) - log pi(a_t|s_t),   c = 1 for right, 0 for wrong

        kdrl         w = 1, u = coefficient where `mask` leaves it, else 0
        hdpo         w = 1, u = coefficient where no completion of the prompt is right
        srpo         w = c, u = 1 - c
        opd-then-rl  w = 0, u = 1 while `teaching`, then w = 1, u = 0
        grpo         w = 1, u = 0
        kd           w = 0, u = 1

    Args:
        mixer: one of these; "rlsd" is no such sum, see `modulated`.
        correct_B: [B] 1 for right, 0 for wrong.
        group_B: [B] equal numbers mark samples of one prompt.
        coefficient: of the teacher.
        mask: "none"; "response" leaves the wrong ones; "group" those of prompts without a right one.
        teaching: whether the first phase of opd-then-rl goes on.

    Returns:
        Two [B]: w and u.

    Raises:
        ShapeError: shapes differ, or the mixer is no sum.

    Source: KDRL, 2025, arXiv 2506.02208; the others as one formula after a comparison of theirs.
    """
    check_shapes("correct_B group_B", correct_B, group_B)
    one_B, none_B = torch.ones_like(correct_B), torch.zeros_like(correct_B)
    kept = {
        "none": one_B,
        "response": 1 - correct_B,
        "group": 1 - any_right(correct_B, group_B),
    }
    weights = {
        "kdrl": (one_B, coefficient * kept[mask]),
        "hdpo": (one_B, coefficient * kept["group"]),
        "srpo": (correct_B, 1 - correct_B),
        "opd-then-rl": (none_B, one_B) if teaching else (one_B, none_B),
        "grpo": (one_B, none_B),
        "kd": (none_B, one_B),
    }
    if mixer not in weights:
        raise ShapeError(f"`{mixer}` is no sum of a reward and a teacher")
    return weights[mixer]


def modulated(advantage_B: Tensor, d_BT: Tensor, *, share: float, epsilon: float) -> Tensor:
    """Return advantages that a teacher stretches or shrinks token by token, of the same sign.

        A_t = ((1 - s) + s clip(e^{sgn(A) d_t}, 1 - e, 1 + e)) A

    Args:
        advantage_B: [B] advantage A of every completion.
        d_BT: [B, T] log p - log pi of every token.
        share: s, 0 to 1; 0 leaves A as it is.
        epsilon: e, how far a token's factor may be from 1.

    Returns:
        [B, T].

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("advantage_B d_BT", advantage_B, d_BT)
    sign_B1 = advantage_B.sign()[:, None]
    # before the exponential: what lies beyond is clipped anyway, and would overflow
    factor_BT = (sign_B1 * d_BT).clamp(min=-1e2, max=10.0).exp().clamp(1 - epsilon, 1 + epsilon)
    return ((1 - share) + share * factor_BT) * advantage_B[:, None]


def linear_decay(update: int, *, start: float, step: float, floor: float) -> float:
    """Return a coefficient that falls by a step an update down to a floor.

        max(start - step * update, floor)

    Args:
        update: its number, from 0.
        start: what it is at first.
        step: how much it falls.
        floor: where it stops.
    """
    return max(start - step * update, floor)
