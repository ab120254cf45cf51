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
        tokens_per_batch: int,
        pad_id: int,
        seed: int,
    ) -> None:
        """Begin at the first batch.

        Args:
            rows: with completions.
            logps: log-probabilities of a row's tokens (nats), by its position.
            tokens_per_batch: padded tokens.
            pad_id: fills what is shorter than its batch.
            seed: decides the order.
        """
        self._logps = logps
        self._rows = RowSource(
            rows, tokens_per_batch=tokens_per_batch, pad_id=pad_id, seed=seed, source=SOURCE
        )

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly."""
        for batch in self._rows.batches(first, stride):
            yield with_logps(batch, self._logps)


def with_logps(batch: Batch, logps: Mapping[int, Sequence[float]]) -> Batch:
    """Return the batch with the stored log-probabilities of its tokens, 0 on padding."""
    stored_BT = torch.zeros(batch.tokens_BT.shape)
    sizes = batch.mask_BT.sum(dim=1).int().tolist()
    for index, (position, size) in enumerate(zip(batch.rows, sizes, strict=True)):
        stored_BT[index, :size] = torch.tensor(logps[position][:size])
    return replace(batch, behaviour_logp_BT=stored_BT)
