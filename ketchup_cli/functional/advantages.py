"""From returns to the weights of log-probabilities: baselines, scales and limits.

A baseline that depends on the state alone, or on other samples alone, leaves the expected
gradient as it is and changes its variance.
"""

import torch
from torch import Tensor

from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.masking import lengths, masked_mean, zero_padding

_WHITENING_EPSILON = 1e-8
"""What the released code adds to a variance."""


def batch_mean(w_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean weight of the batch, as a baseline.

        b = sum_bt m_bt w_bt / sum_bt m_bt

    A sample is part of its own baseline, which biases the gradient by one part in the number of
    samples.

    Args:
        w_BT: [B, T] weights.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T] the one number on real tokens, 0 on padding.

    Raises:
        ShapeError: shapes differ.
    """
    return zero_padding(masked_mean(w_BT, mask_BT).expand_as(w_BT), mask_BT)


def leave_one_out(w_BT: Tensor, mask_BT: Tensor, group_B: Tensor) -> Tensor:
    """Return, at every step, the mean weight of the other samples of the same prompt.

        b_it = sum_{j != i} m_jt w_jt / (G - 1)   over the G samples of i's prompt

    A sample that has ended by step t counts as 0; one without any real token does not count.
    Where a prompt has one sample only, the baseline is 0.

    Args:
        w_BT: [B, T] weights.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        group_B: [B] equal numbers mark samples of one prompt.

    Returns:
        [B, T] baseline, 0 on padding.

    Raises:
        ShapeError: shapes differ.

    Source: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free". Differs: per
        step, not per sequence.
    """
    check_shapes("w_BT mask_BT group_B", w_BT, mask_BT, group_B)
    real_BT = zero_padding(w_BT, mask_BT)
    first_B = (group_B[:, None] == group_B).int().argmax(dim=1)
    total_BT = torch.zeros_like(real_BT).index_add(0, first_B, real_BT)[first_B]
    present_B = (lengths(mask_BT) > 0).to(real_BT.dtype)
    size_B = torch.zeros_like(present_B).index_add(0, first_B, present_B)[first_B]
    others_B1 = (size_B - 1)[:, None]
    mean_BT = (total_BT - real_BT) / others_B1.clamp(min=1)
    return zero_padding(torch.where(others_B1 > 0, mean_BT, 0.0), mask_BT)


def step_mean(w_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return, at every step, the mean weight of the batch's other completions at that step.

        b_it = sum_{j != i} m_jt w_jt / sum_{j != i} m_jt

    Weights fall or rise along a completion, and a mean over all steps misses that. A completion is
    not part of its own baseline, so the expected gradient stays as it is; one that has ended by
    step t does not count there, and where no other is left the baseline is 0.

    Args:
        w_BT: [B, T] weights.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T] baseline, 0 on padding.

    Raises:
        ShapeError: shapes differ.
    """
    real_BT = zero_padding(w_BT, mask_BT)
    others_BT = (mask_BT.bool().sum(dim=0) - 1).expand_as(real_BT)
    mean_BT = (real_BT.sum(dim=0) - real_BT) / others_BT.clamp(min=1)
    return zero_padding(torch.where(others_BT > 0, mean_BT, 0.0), mask_BT)


def likeliest_reverse_kl(p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, k: int) -> Tensor:
    """Return the terms of the reverse KL on the student's most likely tokens.

        sum_{v in the k largest of q} q_v (log q_v - log p_v),   p, q = softmax(logits)

    Terms of the true distributions: nothing is scaled up to make a distribution of the k. For k = V
    it is the reverse KL; below, it may be negative.

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        k: tokens kept, at least 1; more than V means V.

    Returns:
        [B, T] nats, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("p_logits_BTV q_logits_BTV", p_logits_BTV, q_logits_BTV)
    p_BTV, q_BTV = at_least_float32(p_logits_BTV), at_least_float32(q_logits_BTV)
    kept_BTK, ids_BTK = q_BTV.topk(min(k, q_BTV.shape[-1]), dim=-1)
    logq_BTK = kept_BTK - q_BTV.logsumexp(dim=-1, keepdim=True)
    logp_BTK = p_BTV.gather(-1, ids_BTK) - p_BTV.logsumexp(dim=-1, keepdim=True)
    return (logq_BTK.exp() * (logq_BTK - logp_BTK)).sum(dim=-1)


def root_mean_square(w_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the root mean square of the weights of real tokens.

        sqrt(mean(w^2)); 1 for weights that are 0 throughout, so that one can divide by it

    Args:
        w_BT: [B, T] weights.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        A scalar above 0.

    Raises:
        ShapeError: shapes differ.
    """
    rms = masked_mean(zero_padding(w_BT, mask_BT).square(), mask_BT).sqrt()
    return torch.where(rms > 0, rms, 1.0)


def rms_normalise(w_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the weights divided by their root mean square over real tokens.

        w / sqrt(mean(w^2)); weights that are 0 throughout stay 0

    Args:
        w_BT: [B, T] weights.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T], 0 on padding.

    Raises:
        ShapeError: shapes differ.
    """
    return zero_padding(w_BT, mask_BT) / root_mean_square(w_BT, mask_BT)


def whiten(w_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the weights of real tokens with mean 0 and variance 1.

        (w - mean(w)) / sqrt(var(w) + 1e-8);   weights that are all alike become 0

    A sample is part of the mean that is taken off, and the scale follows the batch: neither leaves
    the expected gradient as it is.

    Args:
        w_BT: [B, T] weights.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T], 0 on padding.

    Raises:
        ShapeError: shapes differ.

    Source: the released code of Gu et al. 2024, arXiv 2306.08543. Differs: padding has no part in
    mean and variance.
    """
    off_BT = zero_padding(w_BT - masked_mean(w_BT, mask_BT), mask_BT)
    return off_BT / (masked_mean(off_BT.square(), mask_BT) + _WHITENING_EPSILON).sqrt()


def clip(w_BT: Tensor, limit: float) -> Tensor:
    """Return the weights held between -limit and limit; unchanged for a limit of 0.

    Args:
        w_BT: [B, T] weights.
        limit: largest magnitude; 0 means none.

    Returns:
        [B, T].
    """
    return w_BT.clamp(min=-limit, max=limit) if limit > 0 else w_BT
