"""Batches for a student that fills in: which tokens it is shown follows from seed, id and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from ketchup_cli import functional as F
from ketchup_cli.models.filling import hide
from ketchup_cli.models.generation.choosing import uniforms
from ketchup_cli.signals import Batch
from ketchup_cli.train.data import RowSource, derived_seed


@final
class MaskedSource:
    """The batches of a source with some tokens of every completion hidden, never its end token."""

    def __init__(self, rows: RowSource, *, seed: int, end_id: int) -> None:
        self._rows = rows
        self._seed = derived_seed("hidden", seed)
        self._end_id = end_id

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly."""
        for epoch, batch in self._rows.numbered(first, stride):
            yield self._hidden(batch, epoch)

    def _hidden(self, batch: Batch, epoch: int) -> Batch:
        keys = [(f"{id}\x1f{row}", epoch) for id, row in zip(batch.ids, batch.rows, strict=True)]
        u_BT = uniforms(self._seed, keys, steps=1 + batch.tokens_BT.shape[1])
        open_BT = batch.mask_BT * (batch.tokens_BT != self._end_id)
        return hide(batch, F.drawn_places(u_BT[:, 0], u_BT[:, 1:], open_BT))
