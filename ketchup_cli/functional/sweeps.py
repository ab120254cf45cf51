"""Gradients of a few numbers per row of logits, in as few sweeps over the vocabulary as it takes.

Left to itself, autograd keeps every log-probability and writes a tensor of the logits' size for
each step of the way back. Here nothing of that size is kept, and one is written.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ketchup_cli.functional.checks import row_blocks


@final
class TakenLogProb(torch.autograd.Function):
    """The log-probability of one entry of each row.

    log softmax(f)[a] = f_a - logsumexp f,   gradient: [v = a] - softmax(f)_v
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, tokens_N1: Tensor) -> Tensor:
        """Return log-probabilities [N, 1] of `tokens_N1` under logits of at least float32."""
        lse_N1 = TakenLogProb.log_sum_exp(logits_NV)
        ctx.save_for_backward(logits_NV, tokens_N1, lse_N1)
        return logits_NV.gather(1, tokens_N1) - lse_N1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N1: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the logits."""
        logits_NV, tokens_N1, lse_N1 = ctx.saved_tensors
        found_NV = torch.empty_like(logits_NV)
        for rows in row_blocks(logits_NV):
            torch.sub(logits_NV[rows], lse_N1[rows], out=found_NV[rows])
            found_NV[rows].exp_().mul_(-grad_N1[rows])
        return found_NV.scatter_add_(1, tokens_N1, grad_N1), None

    @staticmethod
    def log_sum_exp(logits_NV: Tensor) -> Tensor:
        """Return the log-sum-exp of each row, [N, 1]."""
        return torch.cat([
            logits_NV[rows].logsumexp(dim=-1, keepdim=True) for rows in row_blocks(logits_NV)
        ])

    @staticmethod
    def add_slope(
        slope_NV: Tensor, logits_NV: Tensor, tokens_N1: Tensor, *, lse_N1: Tensor, grad_N1: Tensor
    ) -> None:
        """Add the gradient of the logits to one that is there."""
        for rows in row_blocks(logits_NV):
            p_NV = (logits_NV[rows] - lse_N1[rows]).exp_()
            slope_NV[rows].addcmul_(p_NV, -grad_N1[rows])
        slope_NV.scatter_add_(1, tokens_N1, grad_N1)


@final
class MeanLessTaken(torch.autograd.Function):
    """The mean of each row less one of its entries.

    (1/V) sum_v f_v - f_a,   gradient: 1/V - [v = a]
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, tokens_N1: Tensor) -> Tensor:
        """Return differences [N, 1] for logits of at least float32."""
        ctx.save_for_backward(tokens_N1)
        ctx.vocabulary = logits_NV.shape[1]
        return logits_NV.mean(dim=-1, keepdim=True) - logits_NV.gather(1, tokens_N1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N1: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the logits."""
        (tokens_N1,) = ctx.saved_tensors
        found_NV = (grad_N1 / ctx.vocabulary).repeat(1, ctx.vocabulary)
        return found_NV.scatter_add_(1, tokens_N1, -grad_N1), None


@final
class Entropy(torch.autograd.Function):
    """The entropy of each row's distribution.

    H = -sum_v p_v log p_v,   gradient: -p_v (log p_v + H)
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor) -> Tensor:
        """Return entropies [N] of logits of at least float32."""
        parts = [_entropy_of(logits_NV[rows]) for rows in row_blocks(logits_NV)]
        entropy_N1, lse_N1 = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.save_for_backward(logits_NV, lse_N1, entropy_N1)
        return entropy_N1.squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> Tensor:
        """Return the gradient of the logits."""
        logits_NV, lse_N1, entropy_N1 = ctx.saved_tensors
        found_NV = torch.empty_like(logits_NV)
        for rows in row_blocks(logits_NV):
            logp_NV = logits_NV[rows] - lse_N1[rows]
            torch.exp(logp_NV, out=found_NV[rows])
            found_NV[rows].mul_(logp_NV.add_(entropy_N1[rows])).mul_(-grad_N[rows, None])
        return found_NV


def _entropy_of(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Return entropy and log-sum-exp of a few rows, [n, 1] each."""
    lse_N1 = logits_NV.logsumexp(dim=-1, keepdim=True)
    logp_NV = logits_NV - lse_N1
    return -(logp_NV.exp() * logp_NV).sum(dim=-1, keepdim=True), lse_N1
