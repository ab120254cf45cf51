"""Completions of which some tokens were put by somebody else: the steps at which the policy chose.

A calculator completes `<<95*7=` by `665>>`. Those tokens are no actions: they are part of what the
last one led to. A loss, whichever it is, therefore sees the policy's own steps one behind the other,
each in the state it was taken in, with all tokens before it:

    own steps  t_1 < t_2 < ... of the real steps that were not forced
    x'_u = x_{t_u}   for everything that is known of a step

So returns bootstrap K own steps ahead, what a teacher says of a forced token is nobody's reward,
divergence and entropy are those of states in which there was a choice, and no gradient reaches the
logits of a state where there was none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.signals import Batch, Inputs, LogitRows, StudentSignal, TeacherSignal, TopEntries

Signal = TypeVar("Signal", Batch, StudentSignal, TeacherSignal, TopEntries)

_Take = Callable[[Tensor, int], Tensor]
"""From a tensor and its axis of steps to the same of own steps."""


def own_mask(mask_BT: Tensor, forced_BT: Tensor | None) -> Tensor:
    """Return the mask of the tokens a policy chose itself.

    Args:
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        forced_BT: [B, T] true on tokens that were put, or None where none was.

    Returns:
        [B, T] as `mask_BT`, 0 on forced tokens too.

    Raises:
        ShapeError: shapes differ.
    """
    if forced_BT is None:
        return mask_BT
    check_shapes("mask_BT forced_BT", mask_BT, forced_BT)
    return mask_BT.masked_fill(forced_BT, 0)


def own_steps(inputs: Inputs) -> Inputs:
    """Return inputs without the steps at which a token was forced; the same where none was.

    Whatever has an axis of steps is moved together, what a teacher, a reference and the batch itself
    say of them too; of the student's logits that is one more tensor of their size.

    Args:
        inputs: with `batch.forced_BT`, or without.

    Returns:
        Inputs whose `mask_BT` has 1 on own steps, and no `forced_BT`.

    Raises:
        ShapeError: shapes differ.
    """
    batch = inputs.batch
    if batch.forced_BT is None or not bool(batch.forced_BT.any()):
        return inputs
    own_BT = own_mask(batch.mask_BT.bool(), batch.forced_BT)
    size = max(1, int(own_BT.sum(dim=1).max()))
    first_BU = own_BT.int().argsort(dim=1, descending=True, stable=True)[:, :size]
    own_BU = own_BT.gather(1, first_BU)
    places_BU = (
        torch.arange(len(own_BT), device=own_BT.device)[:, None] * own_BT.shape[1] + first_BU
    )

    def take(x: Tensor, axis: int) -> Tensor:
        flat = x.flatten(axis - 1, axis).index_select(axis - 1, places_BU.flatten())
        return flat.reshape(*x.shape[: axis - 1], *places_BU.shape, *x.shape[axis + 1 :])

    moved = replace(_moved(batch, take), mask_BT=own_BU.to(batch.mask_BT.dtype), forced_BT=None)
    teacher = inputs.teacher
    if teacher is not None:
        rows_N = own_BT[batch.mask_BT.bool()].nonzero()[:, 0]
        dense = None if teacher.dense is None else SomeRows(teacher.dense, rows_N)
        teacher = replace(_moved(teacher, take), dense=dense)
    return replace(
        inputs,
        batch=moved,
        student=_moved(inputs.student, take),
        teacher=teacher,
        reference=None if inputs.reference is None else _moved(inputs.reference, take),
    )


def _moved(signal: Signal, take: _Take) -> Signal:
    """Return a signal with every tensor taken that has steps, which its name says."""
    changed: dict[str, Any] = {}
    for entry in fields(signal):
        item = getattr(signal, entry.name)
        axes = entry.name.rpartition("_")[2]
        if isinstance(item, TopEntries):
            changed[entry.name] = _moved(item, take)
        elif isinstance(item, Tensor) and "BT" in axes:
            changed[entry.name] = take(item, axes.index("T"))
    return replace(signal, **changed)


@final
@dataclass(frozen=True, slots=True)
class SomeRows:
    """Some of the rows of a teacher's logits, in their order.

    Example: `SomeRows(rows, torch.tensor([0, 1, 4])).logits(slice(1, 3))` is rows 1 and 4.
    """

    rows: LogitRows
    which_N: Tensor

    @property
    def count(self) -> int:
        """The number of rows N."""
        return len(self.which_N)

    def logits(self, which: slice) -> Tensor:
        """Return rows `which`, [n, V]; those between them are read along."""
        wanted_N = self.which_N[which]
        if not len(wanted_N):
            return self.rows.logits(slice(0, 0))
        first, last = int(wanted_N[0]), int(wanted_N[-1])
        read_NV = self.rows.logits(slice(first, last + 1))
        return read_NV[(wanted_N - first).to(read_NV.device)]

    def to(self, device: object) -> SomeRows:
        """Return the same rows, answered on `device`."""
        return SomeRows(self.rows.to(device), self.which_N)
