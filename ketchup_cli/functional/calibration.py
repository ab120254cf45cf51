"""Whether a model is right as often as it is sure: bins of confidence, and scores."""

import torch
from torch import Tensor

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import at_least_float32, check_shapes

CALIBRATION_BINS = 15
"""Bins of equal width, the usual number; the error depends on it."""


def confidence(logits_NV: Tensor, tokens_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return how sure a model is of its likeliest token, and whether that token is the right one.

        conf = max_v softmax(f)_v,   right = [argmax_v f_v = a]

    Args:
        logits_NV: [N, V] logits f.
        tokens_N: [N] the right tokens a.

    Returns:
        conf [N], at least float32, and right [N], 0 or 1, of the same type.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("logits_NV tokens_N", logits_NV, tokens_N)
    f_NV = at_least_float32(logits_NV)
    best_N, place_N = f_NV.max(dim=-1)
    conf_N = (best_N - f_NV.logsumexp(dim=-1)).exp()
    return conf_N, (place_N == tokens_N).to(conf_N.dtype)


def brier_scores(logits_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """Return the squared distance of every distribution from the token that was right.

        sum_v (p_v - [v = a])^2,   p = softmax(f)

    Args:
        logits_NV: [N, V] logits f.
        tokens_N: [N] the right tokens a.

    Returns:
        [N], at least float32; 0 where all mass is on the right token, 2 where all is on one other.

    Raises:
        ShapeError: shapes differ.

    Source: Brier 1950, the form over all classes.
    """
    check_shapes("logits_NV tokens_N", logits_NV, tokens_N)
    # not 1 - 2 p_a + sum p^2: what is left of a sure and right token would be rounding
    p_NV = at_least_float32(logits_NV).softmax(dim=-1)
    off_NV = p_NV.scatter_add(1, tokens_N.long()[:, None], p_NV.new_full((len(p_NV), 1), -1.0))
    return off_NV.square().sum(dim=-1)


def calibration_bins(conf_N: Tensor, right_N: Tensor, *, bins: int = CALIBRATION_BINS) -> Tensor:
    """Return count, summed confidence and summed accuracy of bins of equal width.

        bin b of K holds the confidences in (b/K, (b+1)/K], and the first one 0 as well

    They add up: the bins of all batches are the sum of the bins of each.

    Args:
        conf_N: [N] confidences, 0 to 1.
        right_N: [N] 1 where the model was right, 0 elsewhere.
        bins: K, at least 1.

    Returns:
        [3, K] float64: how many, the sum of their confidences, how many of them were right.

    Raises:
        ShapeError: shapes differ, or there is no bin.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    check_shapes("conf_N right_N", conf_N, right_N)
    if bins < 1:
        raise ShapeError(f"`bins` is {bins}; it must be at least 1")
    edges = torch.arange(1, bins, dtype=torch.float64, device=conf_N.device) / bins
    # the edges of the confidences' own precision, so that one of exactly b/K is on the left of it
    which_N = torch.bucketize(conf_N, edges.to(conf_N.dtype))
    rows_3N = torch.stack([torch.ones_like(conf_N), conf_N, right_N.to(conf_N.dtype)]).double()
    return rows_3N.new_zeros(3, bins).index_add_(1, which_N, rows_3N)


def calibration_error(bins_3K: Tensor) -> Tensor:
    """Return the expected calibration error.

        sum_b (n_b / N) |acc_b - conf_b|;   an empty bin adds nothing

    Args:
        bins_3K: [3, K] as `calibration_bins` gives it, or a sum of such.

    Returns:
        A scalar, 0 to 1; 0 where there is nothing.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    # n_b acc_b and n_b conf_b are the sums themselves: no division by an empty bin
    count_K, confidence_K, right_K = bins_3K.unbind()
    return (right_K - confidence_K).abs().sum() / count_K.sum().clamp(min=1)
