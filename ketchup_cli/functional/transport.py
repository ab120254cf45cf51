"""Entropic optimal transport between the teacher's distributions of a batch and the student's.

Every real token is two points in the simplex, what the teacher and what the student expect there.
A plan moves the one set of points onto the other; what it costs is the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.functional.distances import kept_l1_costs, l1_costs
from ketchup_cli.functional.logprobs import tempered
from ketchup_cli.functional.truncated import kept_log_probs
from ketchup_cli.signals import LogitRows, TopEntries

_Visit = Callable[[slice, Tensor], tuple[Tensor, Tensor]]
"""From the numbers of a group's points and the student's probabilities there, [n, V], to the loss
of the group a point and what its plan is short of."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How a transport cost is computed.

    `smoothing` is the weight lambda of the plan's entropy, in the unit of the cost; `sweeps` counts
    normalisations of all rows and all columns; `max_points` bounds the points of one plan.
    """

    smoothing: float = 0.1
    sweeps: int = 20
    temperature: float = 1.0
    debiased: bool = False
    max_points: int = 128


def transport_plan(cost_NN: Tensor, *, smoothing: float, sweeps: int) -> Tensor:
    """Return the entropic transport plan between two sets of N points of equal weight.

        log K = -D / lambda;   sweeps times:  log K -= logsumexp over columns of log K
                                              log K -= logsumexp over rows of log K;   P = K

    In logarithms nothing underflows however small lambda is. As lambda vanishes and the sweeps grow
    the plan becomes the cheapest assignment; as lambda grows it becomes 1/N everywhere. Columns sum
    to 1 exactly, rows as far as the sweeps have come. Gradients flow through every sweep.

    Args:
        cost_NN: [N, N] cost D_ij of moving point i to point j.
        smoothing: lambda > 0.
        sweeps: normalisations of rows and columns, >= 1.

    Returns:
        [N, N] plan, of total mass N.

    Raises:
        ShapeError: the costs are not square, smoothing <= 0 or sweeps < 1.

    Source: Cui et al. 2024, arXiv 2402.17110. Differs: in logarithms.
    """
    check_shapes("cost_NN", cost_NN)
    if smoothing <= 0 or sweeps < 1:
        raise ShapeError(
            f"`smoothing` is {smoothing:g} and `sweeps` {sweeps}; they must be above 0"
        )
    log_NN = -cost_NN / smoothing
    for _ in range(sweeps):
        log_NN = log_NN - log_NN.logsumexp(dim=1, keepdim=True)
        log_NN = log_NN - log_NN.logsumexp(dim=0, keepdim=True)
    return log_NN.exp()


def transport_cost(cost_NN: Tensor, *, smoothing: float, sweeps: int) -> Tensor:
    """Return what the entropic plan costs a point.

        (1/N) sum_ij P_ij D_ij,   P = transport_plan(D)

    One point has one place to go to: N = 1 gives D itself. The gradient goes through the costs and
    through every sweep of the plan, as in the method's own code; the plan's entropy guides the plan
    and is not part of the cost.

    Args:
        cost_NN: [N, N] cost D_ij of moving point i to point j.
        smoothing: weight of the plan's entropy, > 0.
        sweeps: normalisations of rows and columns, >= 1.

    Returns:
        A scalar, in the unit of the costs.

    Raises:
        ShapeError: as `transport_plan`.

    Source: Cui et al. 2024, arXiv 2402.17110. Differs: divided by N, so that the size of the batch
    does not set the size of the loss.
    """
    return _plan_and_cost(cost_NN, smoothing=smoothing, sweeps=sweeps)[1]


def _plan_and_cost(cost_NN: Tensor, *, smoothing: float, sweeps: int) -> tuple[Tensor, Tensor]:
    plan_NN = transport_plan(cost_NN, smoothing=smoothing, sweeps=sweeps)
    return plan_NN, (plan_NN * cost_NN).sum() / cost_NN.shape[0]


def transport_loss(
    teacher: LogitRows | TopEntries, q_logits_BTV: Tensor, mask_BT: Tensor, *, how: Transport
) -> tuple[Tensor, Tensor]:
    """Return what it costs a token to carry the teacher's distributions to the student's.

        D_ij = sum_v |p_i(v) - q_j(v)|,   L(p, q) = (1/N) sum_ij P_ij D_ij
        debiased:  L(p, q) - L(p, p) / 2 - L(q, q) / 2

    N runs over the real tokens, in row-major order of the mask. More than `max_points` of them are
    cut into groups of like size, a plan each, and the loss is the mean over tokens. A smoothed plan
    costs something even between equal points: with one point the loss is twice the total variation
    distance, with several it is not 0 for p = q, but debiased it is. The points of a group are a set:
    the student's in another order cost the same.

    From a teacher's top entries D_ij is computed on the M entries kept for i and one for its tail:
    too small by at most twice the smaller of the two tail masses, exact for M = V. Debiasing takes
    all of the teacher's logits.

    Of the student's size one tensor is made, the gradient; no [N, N, V] tensor ever exists, and
    L(q, q) aside the costs from top entries touch M + 1 numbers a pair instead of V. No gradient
    reaches the teacher.

    Args:
        teacher: all logits of the N real tokens, or the largest ones of every token.
        q_logits_BTV: [B, T, V] student logits in the same states, finite; gradients flow, once.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        how: smoothing, sweeps, temperature, debiasing and the size of a group.

    Returns:
        The loss, a scalar of at least float32, and without gradient the mean of |row sum - 1| over
        the plans from teacher to student: what more sweeps would still change.

    Raises:
        ShapeError: shapes differ, or not as many teacher rows as real tokens; as `transport_plan`;
            debiasing is asked for without all of the teacher's logits.

    Source: Cui et al. 2024, arXiv 2402.17110. Differs: points are tokens, in logarithms, divided by
    N; the debiased form after Genevay et al. 2018, arXiv 1706.00292.
    """
    check_shapes("q_logits_BTV mask_BT", q_logits_BTV, mask_BT)
    places_N = mask_BT.flatten().nonzero()[:, 0]
    if isinstance(teacher, TopEntries):
        visit = _from_top(teacher, places_N, how)
    elif teacher.count == len(places_N):
        visit = _from_rows(teacher, how)
    else:
        raise ShapeError(f"{teacher.count} rows of teacher logits for {len(places_N)} real tokens")
    flat_NV = tempered(q_logits_BTV, how.temperature).flatten(0, 1)
    found: tuple[Tensor, Tensor] = _Groups.apply(  # type: ignore[no-untyped-call]
        flat_NV, places_N, visit, how.max_points
    )
    return found


def point_groups(count: int, most: int) -> list[slice]:
    """Return slices of `count` points, `most` at most in each, whose sizes differ by one at most."""
    parts = -(-count // most)
    return [slice(count * k // parts, count * (k + 1) // parts) for k in range(parts)]


def _from_rows(rows: LogitRows, how: Transport) -> _Visit:
    def visit(which: slice, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        p_NV = tempered(rows.logits(which).detach(), how.temperature).softmax(dim=-1).to(q_NV)
        loss, short = _short_of(l1_costs(p_NV, q_NV), how)
        if how.debiased:
            for own_NV in (p_NV, q_NV):
                loss = loss - _short_of(l1_costs(own_NV, own_NV), how)[0] / 2
        return loss, short

    return visit


def _from_top(top: TopEntries, places_N: Tensor, how: Transport) -> _Visit:
    if how.debiased:
        raise ShapeError("debiasing takes all of the teacher's logits; there are top entries only")

    def visit(which: slice, q_NV: Tensor) -> tuple[Tensor, Tensor]:
        places = places_N[which]
        kept = TopEntries(
            ids_BTM=top.ids_BTM.flatten(0, 1)[places][None],
            gaps_BTM=top.gaps_BTM.flatten(0, 1)[places][None],
            tail_BT=top.tail_BT.flatten()[places][None],
        )
        logp_BTM, tail_BT = kept_log_probs(
            kept, q_NV[None], tail="bucket", temperature=how.temperature
        )
        ids_NM = kept.ids_BTM[0].long()
        cost_NN = kept_l1_costs(ids_NM, logp_BTM[0].exp(), tail_BT[0], q_NV)
        return _short_of(cost_NN, how)

    return visit


def _short_of(cost_NN: Tensor, how: Transport) -> tuple[Tensor, Tensor]:
    """Return the cost a point, and how far the plan's rows are from a sum of 1."""
    plan_NN, cost = _plan_and_cost(cost_NN, smoothing=how.smoothing, sweeps=how.sweeps)
    return cost, (plan_NN.detach().sum(dim=1) - 1).abs().mean()


@final
class _Groups(torch.autograd.Function):
    """Loss of all groups and its gradient on the logits, group by group."""

    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, places_N: Tensor, visit: _Visit, most: int
    ) -> tuple[Tensor, Tensor]:
        asked = ctx.needs_input_grad[0]
        slope_NV = torch.zeros_like(logits_NV) if asked else None
        loss, short = logits_NV.new_zeros(()), logits_NV.new_zeros(())
        for which in point_groups(len(places_N), most):
            places = places_N[which]
            share = len(places) / len(places_N)
            own_NV = logits_NV[places].softmax(dim=-1).requires_grad_(asked)
            with torch.enable_grad():
                found, missing = visit(which, own_NV)
            if slope_NV is not None:
                (of_own_NV,) = torch.autograd.grad(found, own_NV)
                slope_NV[places] = _through_softmax(own_NV.detach(), of_own_NV).mul_(share)
            loss, short = loss + share * found.detach(), short + share * missing
        if slope_NV is not None:
            ctx.save_for_backward(slope_NV)
        ctx.mark_non_differentiable(short)
        return loss, short

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        (slope_NV,) = ctx.saved_tensors
        # in place: there is no second backward, and this is the largest tensor there is
        return slope_NV.mul_(grad), None, None, None


def _through_softmax(q_NV: Tensor, slope_NV: Tensor) -> Tensor:
    """Turn the gradient on probabilities into that on their logits, in its own place."""
    slope_NV -= torch.linalg.vecdot(q_NV, slope_NV)[:, None]
    return slope_NV.mul_(q_NV)
