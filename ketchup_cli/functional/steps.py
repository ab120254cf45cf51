"""A comparison of two distributions at every step, without a second tensor of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.sweeps import TakenLogProb
from ketchup_cli.functional.truncated import bucketed
from ketchup_cli.signals import LogitRows, TopEntries

Measure = Callable[..., Tensor | tuple[Tensor, ...]]
"""From teacher's and student's logits, both [1, n, V], and any numbers beside them, [1, n], to
numbers [1, n]: those with the gradient first, any others after them."""

View = Callable[[TopEntries, Tensor], tuple[Tensor, Tensor]]
"""From top entries and the student's logits to both distributions over one set of entries."""

_Visit = Callable[[slice, Tensor], Tensor | tuple[Tensor, ...]]
"""From the numbers of some steps and the student's logits there, [n, V], to what `Measure` gives."""

_COMPARED_ENTRIES = {"cpu": 1 << 18}
"""Entries compared at once, by device: what a comparison writes down on its way is some ten times as
much, and on a CPU it should stay near the core; measured."""

_COMPARED_SHARE = 1 << 7
"""Elsewhere a block is this part of the student's logits, so that it stays small beside them."""

_COMPARED_LEAST, _COMPARED_MOST = 1 << 20, 1 << 26
"""Bounds of such a block: smaller ones cost calls, larger ones gain nothing."""

_READ_BLOCKS = {"cpu": 16}
"""Blocks whose teacher logits are read at once, by device. They are one tensor, and a head goes
through all of its weights for every reading, however few the rows; measured."""

_READ_BLOCKS_ELSEWHERE = 4


def at_steps(
    measure: Measure,
    rows: LogitRows,
    q_logits_BTV: Tensor,
    mask_BT: Tensor,
    *,
    beside: Sequence[Tensor] = (),
    tokens_BT: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Return what `measure` says of teacher and student at every real step.

        out_bt = measure(p_logits_bt, q_logits_bt, *beside_bt)
        d out_bt / d q_logits_bt is found in the same sweep

    The teacher's logits are asked for some blocks at a time and forgotten; what measure keeps for
    its gradient lives as long as its block. Of the size of the student's logits one tensor is made,
    the gradient; a loss that takes the log-probabilities of tokens too has one gradient of both if
    they come from here. No gradient reaches the teacher.

    Args:
        measure: a pure function whose value at a step depends on that step alone.
        rows: the teacher's logits at the N real steps, in row-major order of the mask.
        q_logits_BTV: [B, T, V] student logits; gradients flow, once.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        beside: [B, T] numbers of each step that measure is given too; no gradient reaches them.
        tokens_BT: [B, T] token ids, if the student's log-probabilities of them are wanted.

    Returns:
        [B, T] tensors, 0 on padding, at least float32: one if measure gives a tensor, else as many
        as it gives; the first carries the gradient. Log-probabilities come last, with theirs.

    Raises:
        ShapeError: shapes differ, or there are not as many rows as real steps.
    """
    check_shapes("q_logits_BTV mask_BT", q_logits_BTV, mask_BT)
    places_N = mask_BT.flatten().nonzero()[:, 0]
    if rows.count != len(places_N):
        raise ShapeError(f"{rows.count} rows of teacher logits for {len(places_N)} real steps")

    ahead = _Ahead(rows, q_logits_BTV.flatten(0, 1))

    def visit(which: slice, q_NV: Tensor) -> Tensor | tuple[Tensor, ...]:
        near = _at(beside, places_N[which])
        return measure(ahead.logits(which)[None], q_NV[None], *near)

    if tokens_BT is not None:
        check_shapes("mask_BT tokens_BT", mask_BT, tokens_BT)
        tokens_BT = tokens_BT.long()
    return _everywhere(visit, q_logits_BTV, places_N, tokens_BT=tokens_BT)


def at_top(
    measure: Measure,
    top: TopEntries,
    q_logits_BTV: Tensor,
    mask_BT: Tensor,
    *,
    view: View = bucketed,
    beside: Sequence[Tensor] = (),
) -> tuple[Tensor, ...]:
    """Return what `measure` says at every real step of a teacher known by its largest logits.

    Measure takes for logits the log-probabilities that `view` gives of both. Otherwise as
    `at_steps`.

    Args:
        measure: a pure function whose value at a step depends on that step alone.
        top: the teacher's M largest logits as gaps, and the mass of the tail.
        q_logits_BTV: [B, T, V] student logits, finite; gradients flow, once.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        view: `bucketed`, with its rule for the tail and its temperature.
        beside: [B, T] numbers of each step that measure is given too; no gradient reaches them.

    Returns:
        [B, T] tensors, 0 on padding, at least float32, as many as measure gives.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes(
        "q_logits_BTV mask_BT top.ids_BTM top.tail_BT",
        q_logits_BTV,
        mask_BT,
        top.ids_BTM,
        top.tail_BT,
    )
    places_N = mask_BT.flatten().nonzero()[:, 0]

    def visit(which: slice, q_NV: Tensor) -> Tensor | tuple[Tensor, ...]:
        own = TopEntries(
            ids_BTM=top.ids_BTM.flatten(0, 1)[places_N[which]][None],
            gaps_BTM=top.gaps_BTM.flatten(0, 1)[places_N[which]][None],
            tail_BT=top.tail_BT.flatten()[places_N[which]][None],
        )
        near = _at(beside, places_N[which])
        return measure(*view(own, q_NV[None]), *near)

    return _everywhere(visit, q_logits_BTV, places_N)


def _at(beside: Sequence[Tensor], places: Tensor) -> list[Tensor]:
    return [x_BT.detach().flatten()[places][None] for x_BT in beside]


def _everywhere(
    visit: _Visit, q_logits_BTV: Tensor, places_N: Tensor, *, tokens_BT: Tensor | None = None
) -> tuple[Tensor, ...]:
    flat_NV = at_least_float32(q_logits_BTV).flatten(0, 1)
    tokens_N1 = None if tokens_BT is None else tokens_BT.reshape(-1, 1)
    found: tuple[Tensor, ...] = _AtSteps.apply(flat_NV, places_N, visit, tokens_N1)  # type: ignore[no-untyped-call]
    return tuple(out.view(q_logits_BTV.shape[:2]) for out in found)


def step_blocks(count: int, like_NV: Tensor) -> list[slice]:
    """Return slices of `count` steps, as many at a time as a comparison of them should keep."""
    return _slices(count, _steps_compared(like_NV))


def read_blocks(count: int, like_NV: Tensor) -> list[slice]:
    """Return slices of `count` steps, as many at a time as a teacher's logits should be read."""
    return _slices(count, _steps_read(like_NV))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _steps_compared(like_NV: Tensor) -> int:
    share = min(max(like_NV.numel() // _COMPARED_SHARE, _COMPARED_LEAST), _COMPARED_MOST)
    return max(1, _COMPARED_ENTRIES.get(like_NV.device.type, share) // like_NV.shape[-1])


def _steps_read(like_NV: Tensor) -> int:
    blocks = _READ_BLOCKS.get(like_NV.device.type, _READ_BLOCKS_ELSEWHERE)
    return blocks * _steps_compared(like_NV)


@final
class _Ahead:
    """A teacher's logits, read more rows at a time than are asked for; ask in order."""

    def __init__(self, rows: LogitRows, like_NV: Tensor) -> None:
        self._rows = rows
        self._size = _steps_read(like_NV)
        self._first = 0
        self._held_NV: Tensor | None = None

    def logits(self, which: slice) -> Tensor:
        """Return rows `which`, [n, V]."""
        if self._held_NV is None or which.stop > self._first + len(self._held_NV):
            self._held_NV = None  # let go of it before the next is made
            end = min(max(which.stop, which.start + self._size), self._rows.count)
            self._held_NV = self._rows.logits(slice(which.start, end)).detach()
            self._first = which.start
        return self._held_NV[which.start - self._first : which.stop - self._first]


@final
class _AtSteps(torch.autograd.Function):
    """Value and gradient of a measure, block by block, and of log-probabilities if asked for."""

    @staticmethod
    def forward(
        ctx: Any, q_NV: Tensor, places_N: Tensor, visit: _Visit, tokens_N1: Tensor | None
    ) -> tuple[Tensor, ...]:
        slope_NV = torch.zeros_like(q_NV) if ctx.needs_input_grad[0] else None
        outs: list[Tensor] = []
        for which in step_blocks(len(places_N), q_NV):
            places = places_N[which]
            with torch.enable_grad():
                found = _block(visit, which, q_NV[places], slope_NV=slope_NV, places=places)
            if not outs:
                outs = [q_NV.new_zeros(q_NV.shape[0]) for _ in found]
            for out, value in zip(outs, found, strict=True):
                out[places] = value.to(out.dtype)
        outs = outs or [q_NV.new_zeros(q_NV.shape[0])]
        ctx.mark_non_differentiable(*outs[1:])
        kept: list[Tensor | None] = [slope_NV]
        if tokens_N1 is not None:
            lse_N1 = TakenLogProb.log_sum_exp(q_NV)
            real_N1 = torch.zeros_like(lse_N1).index_fill_(0, places_N, 1)
            outs.append(((q_NV.gather(1, tokens_N1) - lse_N1) * real_N1)[:, 0])
            kept += [q_NV, tokens_N1, lse_N1, real_N1]
        if slope_NV is not None:
            ctx.save_for_backward(*kept)
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor, *others: Tensor) -> tuple[Tensor, None, None, None]:
        slope_NV, *kept = ctx.saved_tensors
        # in place: there is no second backward, and this is the largest tensor there is
        slope_NV.mul_(grad_N[:, None])
        if kept:
            q_NV, tokens_N1, lse_N1, real_N1 = kept
            grad_N1 = others[-1][:, None] * real_N1
            TakenLogProb.add_slope(slope_NV, q_NV, tokens_N1, lse_N1=lse_N1, grad_N1=grad_N1)
        return slope_NV, None, None, None


def _block(
    visit: _Visit, which: slice, q_NV: Tensor, *, slope_NV: Tensor | None, places: Tensor
) -> list[Tensor]:
    """Return what a visit says of a block, and write its gradient into `slope_NV`."""
    own_NV = q_NV.detach().requires_grad_(slope_NV is not None)
    found = visit(which, own_NV)
    found = found if isinstance(found, tuple) else (found,)
    if slope_NV is not None and found[0].requires_grad:
        (slope_NV[places],) = torch.autograd.grad(found[0].sum(), own_NV)
    return [value.detach()[0] for value in found]
