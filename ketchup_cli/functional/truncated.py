"""Divergences from a teacher of whom only the largest logits are known.

The mass of all other entries is known too (`TopEntries.tail_BT`); what is unknown is how it is
spread. A rule for it is named, never silent. Dropping the tail is not offered: sum over the kept
entries of p log(p/q) can be negative, and its optimum is not the teacher.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from ketchup_cli.functional.checks import check_shapes, row_blocks
from ketchup_cli.functional.logprobs import LOGIT_FLOOR, tempered
from ketchup_cli.signals import TopEntries

Tail = Literal["bucket", "renormalise"]


def kl_truncated(
    top: TopEntries, q_logits_BTV: Tensor, *, tail: Tail = "bucket", temperature: float = 1.0
) -> Tensor:
    """Return the forward Kullback-Leibler divergence from a truncated teacher.

        bucket       sum_m p_m log(p_m / q_m) + p_tail log(p_tail / q_tail)
        renormalise  sum_m p'_m log(p'_m / q_m),   p' = p / (1 - p_tail)

    "bucket" treats the tail as one more token. It is the exact divergence less p_tail times the
    divergence inside the tail: a lower bound that grows with M, never negative; its gradient on
    the student's logits is exact on the kept entries and off by at most 2 p_tail in all (L1).
    "renormalise" has the teacher cut to its top entries as its optimum. Both equal `kl` for M = V.
    Gradients flow into the student's logits only: what is truncated is data.

    Args:
        top: the teacher's M largest logits as gaps from the largest, and the mass of the tail at
            `temperature`.
        q_logits_BTV: [B, T, V] student logits in the same states, finite.
        tail: the rule for the unknown entries.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes(
        "top.ids_BTM top.gaps_BTM top.tail_BT q_logits_BTV",
        top.ids_BTM,
        top.gaps_BTM,
        top.tail_BT,
        q_logits_BTV,
    )
    q_logits_BTV = tempered(q_logits_BTV, temperature)
    logp_BTM, tail_BT = kept_log_probs(top, q_logits_BTV, tail=tail, temperature=temperature)
    flat = (x.flatten(0, 1) for x in (q_logits_BTV, top.ids_BTM.long(), logp_BTM, tail_BT))
    divergence_N: Tensor = _BucketKl.apply(*flat)  # type: ignore[no-untyped-call]
    return divergence_N.view(tail_BT.shape)


def bucketed(
    top: TopEntries, q_logits_BTV: Tensor, *, tail: Tail = "bucket", temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return teacher and student as distributions over the kept entries and one for the tail.

        p' = (p_1, ..., p_M, p_tail),   q' = (q_1, ..., q_M, 1 - sum_m q_m)

    Any divergence of p' and q' is at most that of p and q (data processing); "renormalise" divides
    the kept p by their sum and leaves the tail none. Both are log-probabilities, so they are their
    own logits. No gradient reaches the teacher.

    Args:
        top: the teacher's M largest logits as gaps, and the mass of the tail at `temperature`.
        q_logits_BTV: [B, T, V] student logits in the same states, finite; gradients flow.
        tail: the rule for the unknown entries.
        temperature: divides both.

    Returns:
        Log-probabilities [B, T, M + 1] of teacher and student, at least float32; what has no mass
        has `LOGIT_FLOOR`.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes(
        "top.ids_BTM top.gaps_BTM top.tail_BT q_logits_BTV",
        top.ids_BTM,
        top.gaps_BTM,
        top.tail_BT,
        q_logits_BTV,
    )
    q_BTV = tempered(q_logits_BTV, temperature)
    logp_BTM, tail_BT = kept_log_probs(top, q_BTV, tail=tail, temperature=temperature)
    ids_BTM = top.ids_BTM.long()
    lse_BT1 = q_BTV.logsumexp(dim=-1, keepdim=True)
    # not 1 - sum of the kept: nothing would be left of a small tail
    rest_BTV = q_BTV.scatter(-1, ids_BTM, -torch.inf)
    rest_BT1 = rest_BTV.clamp(min=LOGIT_FLOOR).logsumexp(dim=-1, keepdim=True)
    q_tail_BT1 = (rest_BT1 - lse_BT1).clamp(min=LOGIT_FLOOR)
    p_tail_BT1 = tail_BT[..., None].log().clamp(min=LOGIT_FLOOR)
    return (
        torch.cat([logp_BTM, p_tail_BT1], dim=-1),
        torch.cat([q_BTV.gather(-1, ids_BTM) - lse_BT1, q_tail_BT1], dim=-1),
    )


def kept_log_probs(
    top: TopEntries, like_BTV: Tensor, *, tail: Tail, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the teacher's log-probabilities of the kept entries, and the tail's mass by its rule."""
    # of the kept entries only their ratio is taken from the gaps: rounded gaps would otherwise
    # leave a total mass that is not 1, and a divergence below 0
    gaps_BTM = top.gaps_BTM.to(like_BTV.dtype).clamp(max=-LOGIT_FLOOR)
    logp_BTM = (-gaps_BTM / temperature).log_softmax(dim=-1)
    tail_BT = top.tail_BT.to(like_BTV.dtype)
    if tail == "renormalise" or top.ids_BTM.shape[-1] == like_BTV.shape[-1]:
        tail_BT = torch.zeros_like(tail_BT)
    return logp_BTM + torch.log1p(-tail_BT)[..., None], tail_BT


class _BucketKl(torch.autograd.Function):
    """KL over M kept entries and one tail: value and gradient in one sweep over the vocabulary.

    With r = softmax of the student's logits outside the kept entries, the gradient on its logits
    is q_m - p_m on a kept entry and (q_tail - p_tail) r_v on any other.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits_NV: Tensor, ids_NM: Tensor, logp_NM: Tensor, tail_N: Tensor
    ) -> Tensor:
        slope_NV = torch.empty_like(logits_NV)
        divergence_N = torch.cat([
            _bucket_block(
                logits_NV[rows], ids_NM[rows], logp_NM[rows], tail_N[rows], slope_NV=slope_NV[rows]
            )
            for rows in row_blocks(logits_NV)
        ])
        ctx.save_for_backward(slope_NV)
        return divergence_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None, None, None]:
        (slope_NV,) = ctx.saved_tensors
        return slope_NV * grad_N[:, None], None, None, None


def _bucket_block(
    logits_NV: Tensor, ids_NM: Tensor, logp_NM: Tensor, tail_N: Tensor, *, slope_NV: Tensor
) -> Tensor:
    """Return the divergences of a few states, and write their gradients into `slope_NV`."""
    kept_NM = logits_NV.gather(-1, ids_NM)
    rest_NV = slope_NV.copy_(logits_NV).scatter_(-1, ids_NM, -torch.inf)
    best_N1 = rest_NV.amax(dim=-1, keepdim=True).clamp(min=LOGIT_FLOOR)
    mass_N1 = rest_NV.sub_(best_N1).exp_().sum(dim=-1, keepdim=True)
    lse_rest_N1 = best_N1 + mass_N1.log()
    lse_N1 = torch.logaddexp(kept_NM.logsumexp(dim=-1, keepdim=True), lse_rest_N1)
    logq_NM, logq_tail_N1 = kept_NM - lse_N1, lse_rest_N1 - lse_N1
    # not log(1 - sum of the kept): nothing would be left of a small tail
    tail_N1 = tail_N[:, None]
    of_tail_N1 = torch.where(tail_N1 > 0, tail_N1 * (tail_N1.log() - logq_tail_N1), 0.0)
    p_NM = logp_NM.exp()
    slope_NV.mul_((logq_tail_N1.exp() - tail_N1) / mass_N1)
    slope_NV.scatter_(-1, ids_NM, logq_NM.exp() - p_NM)
    return (p_NM * (logp_NM - logq_NM)).sum(dim=-1) + of_tail_N1[:, 0]
