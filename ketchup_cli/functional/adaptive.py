"""Forward and reverse KL weighed by where the student errs: the teacher's head or its tail."""

import math

import torch
from torch import Tensor

from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.functional.logprobs import tempered

_FIRST_LOOK = 64
"""Entries searched for the head first; where that is too few, eight times as many."""

_TAIL_FLOOR = 1e-6
"""Least mass taken for a truncated teacher's tail in the reverse KL. In float32 a smaller one is
the rounding of its log-sum-exp, and its logarithm would decide the loss."""


def adaptive_kl(
    p_logits_BTV: Tensor,
    q_logits_BTV: Tensor,
    *,
    mu: float,
    temperature: float = 1.0,
    bucket: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the adaptive divergence of every step, and the weight of its forward part.

        g_head = sum_{v in head} |p_v - q_v|,   g_tail = sum of the others
        w = g_head / (g_head + g_tail),         w = 1/2 where p = q
        w KL(p || q) + (1 - w) KL(q || p),      no gradient through w

    The head is that of `head_entries`. From a truncated teacher (`bucket`) the last entry is the
    mass of all others: it belongs to the tail, or to the head where the kept entries do not reach
    mu. The gap of the tail is then a lower bound, and so are both divergences.

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states, finite.
        mu: mass of the head, 0 to 1.
        temperature: divides both; the result is not multiplied by its square.
        bucket: whether the last entry stands for a tail.

    Returns:
        Divergence and weight, [B, T], at least float32.

    Raises:
        ShapeError: shapes differ.

    Source: Wu et al. 2024, arXiv 2404.02657. Differs: equals are told apart by their position, and
    where p = q, 0/0 is 1/2.
    """
    check_shapes("p_logits_BTV q_logits_BTV", p_logits_BTV, q_logits_BTV)
    logp_BTV = tempered(p_logits_BTV, temperature).log_softmax(dim=-1)
    logq_BTV = tempered(q_logits_BTV, temperature).log_softmax(dim=-1)
    p_BTV, q_BTV = logp_BTV.exp(), logq_BTV.exp()
    weight_BT = _weight(p_BTV.detach(), q_BTV.detach(), mu=mu, bucket=bucket)
    forward_BT = (p_BTV * (logp_BTV - logq_BTV)).sum(dim=-1)
    if bucket:
        floor_V = torch.full_like(logp_BTV[0, 0], -torch.inf)
        floor_V[-1] = math.log(_TAIL_FLOOR)
        logp_BTV = logp_BTV.maximum(floor_V)
    reverse_BT = (q_BTV * (logq_BTV - logp_BTV)).sum(dim=-1)
    return weight_BT * forward_BT + (1 - weight_BT) * reverse_BT, weight_BT


def head_entries(p_BTV: Tensor, *, mu: float) -> Tensor:
    """Return which entries are the head of every distribution.

    The head is the smallest set of largest probabilities whose mass reaches mu: the entry that
    crosses mu belongs to it, so it is never empty. Of equal probabilities the first come first.
    Where all entries together do not reach mu, all are the head.

    Args:
        p_BTV: [B, T, V] probabilities; they may sum to less than 1.
        mu: mass to reach, 0 to 1.

    Returns:
        [B, T, V] bool.

    Source: Wu et al. 2024, arXiv 2404.02657.
    """
    check_shapes("p_BTV", p_BTV)
    if mu >= 1:
        return torch.ones_like(p_BTV, dtype=torch.bool)
    top_BTk, reached_BTk = _largest(p_BTV, mu)
    crossing_BT1 = reached_BTk.int().argmax(dim=-1, keepdim=True)
    least_BT1 = top_BTk.gather(-1, crossing_BT1)
    above_BTV, equal_BTV = p_BTV > least_BT1, p_BTV == least_BT1
    wanted_BT1 = crossing_BT1 + 1 - above_BTV.sum(dim=-1, keepdim=True)
    if bool((equal_BTV.sum(dim=-1, keepdim=True) > wanted_BT1).any()):
        equal_BTV &= equal_BTV.cumsum(dim=-1) <= wanted_BT1
    return above_BTV | equal_BTV | ~reached_BTk[..., -1:]


def _largest(p_BTV: Tensor, mu: float) -> tuple[Tensor, Tensor]:
    """Return enough of the largest probabilities, and from where on their sum reaches mu."""
    # not a sort of the whole vocabulary: the head is a few entries nearly always
    count, vocabulary = min(_FIRST_LOOK, p_BTV.shape[-1]), p_BTV.shape[-1]
    while True:
        top_BTk = p_BTV.topk(count, dim=-1).values
        reached_BTk = top_BTk.cumsum(dim=-1) >= mu
        if count == vocabulary or bool(reached_BTk[..., -1].all()):
            return top_BTk, reached_BTk
        count = min(8 * count, vocabulary)


def _weight(p_BTV: Tensor, q_BTV: Tensor, *, mu: float, bucket: bool) -> Tensor:
    """Return the head's share of the gap between both distributions."""
    gap_BTV = (p_BTV - q_BTV).abs_()
    if bucket:
        kept_BTM = p_BTV[..., :-1]
        short_BT1 = kept_BTM.sum(dim=-1, keepdim=True) < (mu if mu < 1 else torch.inf)
        head_BTV = torch.cat([head_entries(kept_BTM, mu=mu), short_BT1], dim=-1)
    else:
        head_BTV = head_entries(p_BTV, mu=mu)
    total_BT = gap_BTV.sum(dim=-1)
    of_head_BT = gap_BTV.mul_(head_BTV).sum(dim=-1)
    return torch.where(total_BT > 0, of_head_BT / total_BT, 0.5)
