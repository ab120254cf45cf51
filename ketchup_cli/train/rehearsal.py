"""Completions of a reference, drawn once and stored with their log-probabilities, as batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import final

import torch

from ketchup_cli.models.encode import Row
from ketchup_cli.signals import Batch, Prefixes
from ketchup_cli.train.data import RowSource

SOURCE: Prefixes = "rehearsal"


@final
class RehearsalSource:
    """Batches of stored rows, epoch after epoch, each token with its stored log-probability."""

    def __init__(
        self,
        rows: Sequence[Row],
        logps: Mapping[int, Sequence[float]],
        *,
        put: Mapping[int, Sequence[int]] | None = None,
        tokens_per_batch: int,
        pad_id: int,
        seed: int,
    ) -> None:
        """Begin at the first batch.

        Args:
            rows: with completions.
            logps: log-probabilities of a row's tokens (nats), by its position.
            put: places of the tokens a calculator put in a row, by its position.
            tokens_per_batch: padded tokens.
            pad_id: fills what is shorter than its batch.
            seed: decides the order.
        """
        self._logps = logps
        self._put = put or {}
        self._rows = RowSource(
            rows, tokens_per_batch=tokens_per_batch, pad_id=pad_id, seed=seed, source=SOURCE
        )

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly."""
        for batch in self._rows.batches(first, stride):
            yield with_logps(batch, self._logps, put=self._put)


def with_logps(
    batch: Batch, logps: Mapping[int, Sequence[float]], *, put: Mapping[int, Sequence[int]]
) -> Batch:
    """Return the batch with what is stored of its tokens: log-probabilities, and which were put."""
    stored_BT = torch.zeros(batch.tokens_BT.shape)
    forced_BT = torch.zeros(batch.tokens_BT.shape, dtype=torch.bool) if put else None
    sizes = batch.mask_BT.sum(dim=1).int().tolist()
    for index, (position, size) in enumerate(zip(batch.rows, sizes, strict=True)):
        stored_BT[index, :size] = torch.tensor(logps[position][:size])
        if forced_BT is not None:
            forced_BT[index, [place for place in put.get(position, ()) if place < size]] = True
    return replace(batch, behaviour_logp_BT=stored_BT, forced_BT=forced_BT)
