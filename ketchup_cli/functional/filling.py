"""What a masked language model is shown and what it fills in, while it learns and while it writes."""

from __future__ import annotations

import torch
from torch import Tensor

from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.functional.masking import lengths


def drawn_places(u_B: Tensor, u_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return which tokens are hidden from a masked language model that learns.

        n = floor(N u) + 1 of a row's N tokens, those with the n smallest numbers

    With u uniform on [0, 1) every n from 1 to N is equally likely, N among them: writing begins
    with all tokens hidden.

    Args:
        u_B: [B] numbers in [0, 1), how many.
        u_BT: [B, T] numbers in [0, 1), which; any on padding.
        mask_BT: [B, T] non-zero on tokens that may be hidden.

    Returns:
        [B, T] boolean; no place in a row without tokens.

    Raises:
        ShapeError: the shapes differ.

    Source: fairseq's reading of Ghazvininejad et al. 2019, arXiv 1904.09324, whose own code draws
    from 1 to N - 1.
    """
    check_shapes("mask_BT u_BT", mask_BT, u_BT)
    size_B = lengths(mask_BT)
    count_B = (size_B * u_B).floor().long() + 1
    return _smallest(u_BT, mask_BT, count_B.minimum(size_B.long()))


def least_certain(logp_BT: Tensor, mask_BT: Tensor, count_B: Tensor) -> Tensor:
    """Return the tokens that are hidden again: those of the smallest log-probability.

    Args:
        logp_BT: [B, T] log-probability a token was chosen with (nats).
        mask_BT: [B, T] non-zero on tokens that may be hidden.
        count_B: [B] how many; all where there are fewer.

    Returns:
        [B, T] boolean; of equal ones the first.

    Raises:
        ShapeError: the shapes differ.
    """
    check_shapes("mask_BT logp_BT", mask_BT, logp_BT)
    return _smallest(logp_BT, mask_BT, count_B)


def hidden_counts(size_B: Tensor, step: int, *, steps: int) -> Tensor:
    """Return how many of a row's tokens are hidden at a step of mask-predict, 1 at least.

        n_t = max(1, floor(N (1 - t / T))),   n_0 = N

    Args:
        size_B: [B] tokens N of every row.
        step: t, from 0.
        steps: T.

    Returns:
        [B] int64.

    Source: Ghazvininejad et al. 2019, arXiv 1904.09324, section 3.
    """
    # in whole numbers: 1 - t / T in floating point may fall below the next one
    return (size_B.long() * (steps - step)).div(steps, rounding_mode="floor").clamp(min=1)


def _smallest(x_BT: Tensor, mask_BT: Tensor, count_B: Tensor) -> Tensor:
    """Return the places of the `count_B` smallest values of every row, padding left out."""
    real_BT = mask_BT.bool()
    order_BT = x_BT.masked_fill(~real_BT, torch.inf).sort(dim=1, stable=True).indices
    rank_BT = torch.empty_like(order_BT).scatter_(
        1, order_BT, torch.arange(x_BT.shape[1], device=x_BT.device).expand_as(order_BT)
    )
    return (rank_BT < count_B[:, None]) & real_BT
