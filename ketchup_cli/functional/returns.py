"""Returns: what a completion earns from every step on, under the reward a teacher induces.

The teacher's logit of the emitted token is read as q(s_t, a_t), a value v(s_t) is taken from its
logits in the same state, and Bellman's equation gives the reward. Past the last real token v, q
and every return are 0. Nothing here stops a gradient.
"""

from typing import Literal

import torch
from torch import Tensor

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.masking import lengths, zero_padding

Ending = Literal["paper", "released"]
"""What becomes of a last, shorter stride: see `k_step_returns`."""

_NAMES = "q_BT v_BT mask_BT"


def induced_rewards(q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the one-step reward a teacher induces.

        r_t = q_t - v_{t+1},   v = 0 past the last token

    Args:
        q_BT: [B, T] teacher logit of the token emitted at t (nats).
        v_BT: [B, T] value of the state before t (nats).
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T] rewards, 0 on padding.

    Raises:
        ShapeError: shapes differ.

    Source: Hao et al. 2022, arXiv 2210.08708; Fan et al. 2025, arXiv 2504.19024, eq. 1.
    """
    q_BT, v_BT = _real(q_BT, v_BT, mask_BT)
    return zero_padding(q_BT - _ahead(v_BT, 1), mask_BT)


def k_step_returns(
    q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor, *, k: int, ending: Ending = "paper"
) -> Tensor:
    """Return the K-step return at every step.

        g_t = q_t - v_{t+k} + g_{t+k},   q, v and g are 0 past the last token

    Args:
        q_BT: [B, T] teacher logit of the token emitted at t (nats).
        v_BT: [B, T] value of the state before t (nats), for example the largest teacher logit.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        k: steps between bootstraps, at least 1; 1 gives LLMR.
        ending: "paper" stops at the last token; "released" also adds the last token's advantage
            q_T - v_T wherever no stride ends there: every step hears how good the ending was.

    Returns:
        [B, T] returns, 0 on padding.

    Raises:
        ShapeError: shapes differ, or k < 1.

    Source: Fan et al. 2025, arXiv 2504.19024, and its released code for `ending`. Differs: masks
        instead of lengths, and no wrap-around for k beyond the end.
    """
    check_shapes(_NAMES, q_BT, v_BT, mask_BT)
    value_BT = zero_padding(at_least_float32(v_BT), mask_BT)
    return k_step_advantages(q_BT, v_BT, mask_BT, k=k, ending=ending) + value_BT


def k_step_advantages(
    q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor, *, k: int, ending: Ending = "paper"
) -> Tensor:
    """Return the K-step return less the value of its own state.

        g_t - v_t = sum_{i >= 0, t+ik <= T} (q_{t+ik} - v_{t+ik})

    The same as `k_step_returns` without v, but computed from differences of one state only: an
    offset common to a state's logits costs no digits.

    Args:
        q_BT: [B, T] teacher logit of the token emitted at t (nats).
        v_BT: [B, T] value of the state before t (nats).
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        k: steps between bootstraps, at least 1.
        ending: "paper" or "released", as for `k_step_returns`.

    Returns:
        [B, T] advantages, 0 on padding; never above 0 where v is the largest logit.

    Raises:
        ShapeError: shapes differ, or k < 1.

    Source: Fan et al. 2025, arXiv 2504.19024; the sum is its recursion written out.
    """
    if k < 1:
        raise ShapeError(f"`k` is {k}; it must be at least 1")
    q_BT, v_BT = _real(q_BT, v_BT, mask_BT)
    own_BT = q_BT - v_BT
    sum_BT = _strided_sum(own_BT, k)
    if ending == "released":
        sum_BT = sum_BT + _missed_ending(own_BT, mask_BT, k)
    return zero_padding(sum_BT, mask_BT)


def k_step_futures(
    q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor, *, k: int, ending: Ending = "paper"
) -> Tensor:
    """Return the K-step return less what the step's own token earns.

        g_t - q_t = sum_{i >= 1, t+ik <= T} (q_{t+ik} - v_{t+ik})

    What later tokens add to the weight of this one: the part of the return that has to be sampled
    where the part of the token itself is summed over all tokens. Exactly 0 for K beyond the end.

    Args:
        q_BT: [B, T] teacher logit of the token emitted at t (nats).
        v_BT: [B, T] value of the state before t (nats).
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        k: steps between bootstraps, at least 1.
        ending: "paper" or "released", as for `k_step_returns`.

    Returns:
        [B, T] future parts, 0 on padding.

    Raises:
        ShapeError: shapes differ, or k < 1.

    Source: Fan et al. 2025, arXiv 2504.19024; the split of its return is ours.
    """
    later_BT = _ahead(k_step_advantages(q_BT, v_BT, mask_BT, k=k), k)
    if ending == "released":
        q_BT, v_BT = _real(q_BT, v_BT, mask_BT)
        later_BT = later_BT + _missed_ending(q_BT - v_BT, mask_BT, k)
    return zero_padding(later_BT, mask_BT)


def discounted_returns(r_BT: Tensor, mask_BT: Tensor, *, discount: float = 1.0) -> Tensor:
    """Return the discounted sum of rewards from every step on.

        g_t = r_t + discount * g_{t+1},   g = 0 past the last token

    Args:
        r_BT: [B, T] rewards.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        discount: 0 to 1; 0 gives the rewards themselves.

    Returns:
        [B, T] returns, 0 on padding.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("r_BT mask_BT", r_BT, mask_BT)
    g_BT = zero_padding(at_least_float32(r_BT), mask_BT)
    step = 1
    # doubling, not cumsum over cumprod: a zero discount would divide by zero
    while step < g_BT.shape[1]:
        g_BT = g_BT + discount**step * _ahead(g_BT, step)
        step *= 2
    return zero_padding(g_BT, mask_BT)


def discounted_means(r_BT: Tensor, mask_BT: Tensor, *, discount: float = 1.0) -> Tensor:
    """Return the discounted mean of rewards from every step on.

        sum_i discount^i r_{t+i} / sum_i discount^i   over the real tokens t+i from t on

    Equal rewards give that reward at every step, however long the completion: a longer one earns
    no more, and no less, for its length.

    Args:
        r_BT: [B, T] rewards.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        discount: 0 to 1; 0 gives the rewards themselves, 1 the mean over what is left.

    Returns:
        [B, T] means, 0 on padding.

    Raises:
        ShapeError: shapes differ.

    Source: Gu et al. 2024, arXiv 2306.08543, for the division by the length that is left.
    """
    sum_BT = discounted_returns(r_BT, mask_BT, discount=discount)
    weight_BT = discounted_returns(mask_BT.bool().to(sum_BT.dtype), mask_BT, discount=discount)
    return sum_BT / weight_BT.clamp(min=1)


def of_next_step(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the value of the step after each; 0 after the last token.

    Args:
        x_BT: [B, T] values.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T], 0 on padding.

    Raises:
        ShapeError: shapes differ.
    """
    return zero_padding(_ahead(zero_padding(x_BT, mask_BT), 1), mask_BT)


def _real(q_BT: Tensor, v_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return q and v, at least float32, with 0 on padding."""
    check_shapes(_NAMES, q_BT, v_BT, mask_BT)
    return (
        zero_padding(at_least_float32(q_BT), mask_BT),
        zero_padding(at_least_float32(v_BT), mask_BT),
    )


def _ahead(x_BT: Tensor, steps: int) -> Tensor:
    """Return x_{t+steps}, with 0 past the end."""
    return torch.nn.functional.pad(x_BT[:, steps:], (0, min(steps, x_BT.shape[1])))


def _strided_sum(x_BT: Tensor, k: int) -> Tensor:
    """Return x_t + x_{t+k} + x_{t+2k} + ... to the end."""
    batch, steps = x_BT.shape
    strides = -(-steps // k)
    x_BNK = torch.nn.functional.pad(x_BT, (0, strides * k - steps)).view(batch, strides, k)
    return x_BNK.flip(1).cumsum(1).flip(1).reshape(batch, strides * k)[:, :steps]


def _missed_ending(own_BT: Tensor, mask_BT: Tensor, k: int) -> Tensor:
    """Return the last real step's advantage at every real step whose strides pass over it."""
    last_B1 = lengths(mask_BT)[:, None] - 1
    ending_B1 = own_BT.gather(1, last_B1.clamp(min=0))
    left_BT = last_B1 - torch.arange(own_BT.shape[1], device=own_BT.device)
    return torch.where(left_BT % k != 0, ending_B1, 0.0)
