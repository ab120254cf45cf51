"""L1 distances between all pairs of two sets of distributions, in blocks.

A tensor over pairs and vocabulary is never whole: a block of it is made, summed and forgotten, and
made again where the gradient needs its signs.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ketchup_cli.functional.checks import check_shapes

_BLOCK_ENTRIES = {"cpu": 1 << 17}
"""Entries of a block by device: on a CPU a block should stay near the core; measured."""

_BLOCK_ENTRIES_ELSEWHERE = 1 << 26


def l1_costs(p_NV: Tensor, q_KV: Tensor) -> Tensor:
    """Return the L1 distance of every pair.

        D_ij = sum_v |p_i(v) - q_j(v)|,   gradient on q_j: sum_i G_ij sign(q_j(v) - p_i(v))

    For distributions this is twice the total variation distance, 0 to 2. Where the two are equal
    the gradient is 0.

    Args:
        p_NV: [N, V] probabilities; gradients flow.
        q_KV: [K, V] probabilities; gradients flow.

    Returns:
        [N, K] distances.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("p_NV q_KV", p_NV, q_KV)
    found: Tensor = _L1Costs.apply(p_NV, q_KV)  # type: ignore[no-untyped-call]
    return found


def kept_l1_costs(ids_NM: Tensor, p_NM: Tensor, tail_N: Tensor, q_KV: Tensor) -> Tensor:
    """Return the L1 distance of every pair, of whose first part only M entries are known.

        D_ij = sum_m |p_im - q_j(v_im)| + |tail_i - (1 - sum_m q_j(v_im))|

    The entries v_im belong to i, so each i merges the vocabulary in its own way. Merging entries can
    only lower a distance: it is too small by at most 2 min(tail_i, the tail's mass in q_j).

    Args:
        ids_NM: [N, M] entries kept for each i, no two the same.
        p_NM: [N, M] their probabilities; no gradient.
        tail_N: [N] the mass of all others; no gradient.
        q_KV: [K, V] probabilities; gradients flow.

    Returns:
        [N, K] distances.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("ids_NM p_NM tail_N q_KV", ids_NM, p_NM, tail_N, q_KV)
    found: Tensor = _KeptL1Costs.apply(ids_NM, p_NM, tail_N, q_KV)  # type: ignore[no-untyped-call]
    return found


def _blocks(count: int, entries: int, like: Tensor) -> list[slice]:
    """Return slices of `count` rows of `entries` numbers that fit a block on that device."""
    most = _BLOCK_ENTRIES.get(like.device.type, _BLOCK_ENTRIES_ELSEWHERE)
    size = max(1, most // max(1, entries))
    return [slice(start, start + size) for start in range(0, count, size)]


def _slope(p_NV: Tensor, q_KV: Tensor, grad_NK: Tensor) -> Tensor:
    """Return the gradient on `q_KV`."""
    slope_KV = torch.zeros_like(q_KV)
    for j in range(q_KV.shape[0]):
        for rows in _blocks(p_NV.shape[0], p_NV.shape[1], p_NV):
            slope_KV[j].addmv_((q_KV[j] - p_NV[rows]).sign_().t(), grad_NK[rows, j])
    return slope_KV


@final
class _L1Costs(torch.autograd.Function):
    """Distances of all pairs; the signs of the differences are found again for the gradient."""

    @staticmethod
    def forward(ctx: Any, p_NV: Tensor, q_KV: Tensor) -> Tensor:
        ctx.save_for_backward(p_NV, q_KV)
        cost_NK = p_NV.new_empty(p_NV.shape[0], q_KV.shape[0])
        for i in range(p_NV.shape[0]):
            for rows in _blocks(q_KV.shape[0], q_KV.shape[1], q_KV):
                cost_NK[i, rows] = (q_KV[rows] - p_NV[i]).abs_().sum(dim=-1)
        return cost_NK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NK: Tensor) -> tuple[Tensor | None, Tensor | None]:
        p_NV, q_KV = ctx.saved_tensors
        of_p, of_q = ctx.needs_input_grad
        return (
            _slope(q_KV, p_NV, grad_NK.t()) if of_p else None,
            _slope(p_NV, q_KV, grad_NK) if of_q else None,
        )


@final
class _KeptL1Costs(torch.autograd.Function):
    """Distances of all pairs on the entries of each i and one for its tail."""

    @staticmethod
    def forward(ctx: Any, ids_NM: Tensor, p_NM: Tensor, tail_N: Tensor, q_KV: Tensor) -> Tensor:
        ctx.save_for_backward(ids_NM, p_NM, tail_N, q_KV)
        q_VK = q_KV.t().contiguous()
        costs: list[Tensor] = [q_KV.new_zeros(0, q_KV.shape[0])]
        for rows in _blocks(len(tail_N), ids_NM.shape[1] * q_KV.shape[0], q_KV):
            off_NMK, off_NK = _differences(q_VK, ids_NM[rows], p_NM[rows], tail_N[rows])
            costs.append(off_NMK.abs_().sum(dim=1) + off_NK.abs())
        return torch.cat(costs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NK: Tensor) -> tuple[None, None, None, Tensor]:
        ids_NM, p_NM, tail_N, q_KV = ctx.saved_tensors
        q_VK = q_KV.t().contiguous()
        slope_VK = torch.zeros_like(q_VK)
        for rows in _blocks(len(tail_N), ids_NM.shape[1] * q_KV.shape[0], q_KV):
            off_NMK, off_NK = _differences(q_VK, ids_NM[rows], p_NM[rows], tail_N[rows])
            # what an entry of q gains, the tail of q loses
            signs_NMK = off_NMK.sign_().sub_(off_NK.sign()[:, None])
            signs_NMK.mul_(grad_NK[rows, None])
            slope_VK.index_add_(0, ids_NM[rows].flatten(), signs_NMK.flatten(0, 1))
        return None, None, None, slope_VK.t()


def _differences(
    q_VK: Tensor, ids_NM: Tensor, p_NM: Tensor, tail_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Return q less p on the kept entries, [N, M, K], and on the tails, [N, K]."""
    q_NMK = q_VK[ids_NM]
    off_NK = 1 - q_NMK.sum(dim=1) - tail_N[:, None]
    return q_NMK.sub_(p_NM[..., None]), off_NK
