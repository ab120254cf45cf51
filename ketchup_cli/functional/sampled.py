"""A teacher remembered by a few tokens drawn from its distribution, and the divergence they give.

The M largest entries leave a tail nobody knows. Draws leave none: the share of each token among n
draws is right on average, so every quantity linear in the teacher's probabilities is too, and the
gradient of the forward divergence is one of them.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import check_shapes, row_blocks
from ketchup_cli.functional.logprobs import draw_by_inverse_cdf, tempered
from ketchup_cli.signals import TopEntries


def sampled_entries(
    logits_NV: Tensor, u_NG: Tensor, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return which tokens G draws gave, and how often each.

        a_g = min { v : sum_{w <= v} p_w > u_g },   p = softmax(f / temperature)

    Args:
        logits_NV: [N, V] teacher logits f of N states; hand them over in blocks.
        u_NG: [N, G] uniform numbers in [0, 1], G for every state.
        temperature: divides the logits.

    Returns:
        ids [N, G] int32, rising, and counts [N, G] int32 that sum to G; a place past the last
        different token has id 0 and count 0.

    Raises:
        ShapeError: shapes differ.
        NonFiniteError: a row of logits is no distribution.

    Source: Sparse Logit Sampling, 2025, arXiv 2503.16870, sampling from the teacher itself.
    """
    check_shapes("logits_NV u_NG", logits_NV, u_NG)
    tokens_NG = draw_by_inverse_cdf(tempered(logits_NV, temperature), u_NG.sort(dim=-1).values)
    new_NG = torch.ones_like(tokens_NG, dtype=torch.bool)
    new_NG[:, 1:] = tokens_NG[:, 1:] != tokens_NG[:, :-1]
    slots_NG = new_NG.long().cumsum(dim=-1) - 1
    empty_NG = torch.zeros_like(tokens_NG, dtype=torch.int32)
    counts_NG = empty_NG.scatter_add(1, slots_NG, torch.ones_like(empty_NG))
    return empty_NG.scatter(1, slots_NG, tokens_NG.int()), counts_NG


def kl_sampled(
    top: TopEntries,
    q_logits_BTV: Tensor,
    *,
    lse_BT: Tensor,
    expected_BT: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Return the forward Kullback-Leibler divergence, estimated from draws of the teacher.

        sum_m w_m (-log q_m) - H(p),   H(p) = logsumexp(f / tau) - E_p[f] / tau

    w_m is the share of token m among n draws from p. E[w] = p, so the value and its gradient
    (q - w) / tau are right on average over the draws; the gradient's variance, summed over the
    vocabulary, is (1 - sum_v p_v^2) / (n tau^2) in every state. The entropy is exact, for it takes
    two statistics of the teacher, and carries no gradient; a single state's value can be negative.

    Args:
        top: the drawn tokens and their shares, `weights_BTM`; 0 where fewer were drawn.
        q_logits_BTV: [B, T, V] student logits in the same states, finite; gradients flow.
        lse_BT: [B, T] logsumexp(f / tau) of the teacher.
        expected_BT: [B, T] the teacher's expectation of its own logits f at tau.
        temperature: tau, divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32.

    Raises:
        ShapeError: shapes differ, or the entries are no draws.

    Source: Sparse Logit Sampling, 2025, arXiv 2503.16870. Differs: the teacher's entropy is taken off, so
    that the value is the divergence and not the cross-entropy.
    """
    if top.weights_BTM is None:
        raise ShapeError("`top` holds the largest entries, not draws: it has no `weights_BTM`")
    check_shapes(
        "top.ids_BTM top.weights_BTM q_logits_BTV lse_BT expected_BT",
        top.ids_BTM,
        top.weights_BTM,
        q_logits_BTV,
        lse_BT,
        expected_BT,
    )
    logits_NV = tempered(q_logits_BTV, temperature).flatten(0, 1)
    weights_NM = top.weights_BTM.flatten(0, 1).to(logits_NV.dtype)
    ids_NM = top.ids_BTM.flatten(0, 1).long()
    cross_N: Tensor = _CrossEntropy.apply(logits_NV, ids_NM, weights_NM)  # type: ignore[no-untyped-call]
    entropy_BT = lse_BT - expected_BT / temperature
    return cross_N.view(lse_BT.shape) - entropy_BT.detach().to(cross_N.dtype)


@final
class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy from a few weighted tokens: nothing of the logits' size is kept.

    sum_m w_m (logsumexp f - f_m),   gradient: (sum_m w_m) softmax(f)_v - sum_{m: id = v} w_m
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, ids_NM: Tensor, weights_NM: Tensor) -> Tensor:
        """Return cross-entropies [N] for logits of at least float32."""
        lse_N1 = torch.cat([
            logits_NV[rows].logsumexp(dim=-1, keepdim=True) for rows in row_blocks(logits_NV)
        ])
        ctx.save_for_backward(logits_NV, ids_NM, weights_NM, lse_N1)
        found_N: Tensor = (weights_NM * (lse_N1 - logits_NV.gather(1, ids_NM))).sum(dim=-1)
        return found_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the logits."""
        logits_NV, ids_NM, weights_NM, lse_N1 = ctx.saved_tensors
        scale_N1 = (weights_NM.sum(dim=-1) * grad_N)[:, None]
        found_NV = torch.empty_like(logits_NV)
        for rows in row_blocks(logits_NV):
            torch.sub(logits_NV[rows], lse_N1[rows], out=found_NV[rows])
            found_NV[rows].exp_().mul_(scale_N1[rows])
        return found_NV.scatter_add_(1, ids_NM, -weights_NM * grad_N[:, None]), None, None
