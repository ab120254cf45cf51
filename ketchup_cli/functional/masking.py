"""Sums and means over real tokens, and the one place where a loss becomes a number."""

import torch
from torch import Tensor

from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.signals import BatchLoss, Loss, TokenLoss


def lengths(mask_BT: Tensor) -> Tensor:
    """Return the number of real tokens of every sequence.

    Args:
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B] int64.
    """
    check_shapes("mask_BT", mask_BT)
    return mask_BT.bool().sum(dim=1)


def zero_padding(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return `x_BT` with 0 on padding, whatever stood there, NaN included.

    Args:
        x_BT: [B, T] values.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T].
    """
    check_shapes("x_BT mask_BT", x_BT, mask_BT)
    # not a product with the mask: 0 times NaN is NaN
    return torch.where(mask_BT.bool(), x_BT, torch.zeros_like(x_BT))


def masked_sum(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the sum over real tokens.

        sum_bt m_bt x_bt

    Args:
        x_BT: [B, T] values; what stands on padding does not matter.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        A scalar.
    """
    return zero_padding(x_BT, mask_BT).sum()


def masked_mean(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean over real tokens; 0 where there are none.

        sum_bt m_bt x_bt / sum_bt m_bt

    Args:
        x_BT: [B, T] values; what stands on padding does not matter.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        A scalar.
    """
    return masked_sum(x_BT, mask_BT) / mask_BT.bool().sum().clamp(min=1)


def row_means(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean over the real tokens of every row; 0 where there are none.

        sum_t m_bt x_bt / sum_t m_bt

    Args:
        x_BT: [B, T] values; what stands on padding does not matter.
        mask_BT: [B, T] non-zero on real tokens, 0 on padding.

    Returns:
        [B].
    """
    return zero_padding(x_BT, mask_BT).sum(dim=1) / lengths(mask_BT).clamp(min=1)


def reduce(loss: Loss, mask_BT: Tensor, *, count: Tensor | float | None = None) -> Tensor:
    """Return the one number of a loss; nothing else in ketchup reduces a loss.

        TokenLoss     sum over real tokens / count      count: real tokens
        SequenceLoss  sum over sequences / count        count: sequences with a real token
        BatchLoss     loss x real tokens of the batch / count      count: real tokens

    The loss of a batch is a mean over its tokens, so over several batches it is weighed by them.

    Args:
        loss: unreduced.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        count: tokens (or sequences, for a SequenceLoss) of the whole update, over all its batches
            and processes, so that a token weighs the same wherever it stands; this batch's own
            count if not given.

    Returns:
        A scalar; 0 for a batch without tokens.

    Raises:
        ShapeError: loss and mask differ in an axis.
    """
    check_shapes("mask_BT", mask_BT)
    own = mask_BT.bool().sum()
    if isinstance(loss, BatchLoss):
        total = loss.loss * own
    elif isinstance(loss, TokenLoss):
        total = masked_sum(loss.loss_BT, mask_BT)
    else:
        check_shapes("mask_BT loss_B", mask_BT, loss.loss_B)
        real_B = lengths(mask_BT) > 0
        total, own = torch.where(real_B, loss.loss_B, 0).sum(), real_B.sum()
    return total / (own.clamp(min=1) if count is None else count)


def reduce_metrics(loss: Loss, mask_BT: Tensor) -> dict[str, Tensor]:
    """Return mean and variance of every metric, over real tokens or over sequences.

    A metric of shape [B, T] is averaged over real tokens, one of shape [B] over the sequences
    with a real token; a scalar stays. The variance stands under `<name>_variance`.

    Args:
        loss: any loss.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        Scalars by name, detached.

    Raises:
        ShapeError: a metric and the mask differ in an axis.
    """
    check_shapes("mask_BT", mask_BT)
    reduced: dict[str, Tensor] = {}
    for name, value in loss.metrics.items():
        value = value.detach()
        if value.ndim == 0:
            reduced[name] = value
            continue
        mask = mask_BT if value.ndim == 2 else (lengths(mask_BT) > 0)[:, None]
        x_BT = value if value.ndim == 2 else value[:, None]
        mean = masked_mean(x_BT, mask)
        reduced[name] = mean
        reduced[f"{name}_variance"] = masked_mean((x_BT - mean).square(), mask)
    return reduced
