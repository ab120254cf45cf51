"""Seeded order: which rows make which batch, the same on every machine and after every resume."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, final

from ketchup_cli.models.encode import Row, by_length, collate
from ketchup_cli.signals import Batch, Prefixes

POOL_ROWS = 4096
"""Rows among which batches of like length are formed: many batches, so that order stays random."""

Group = Sequence[int]
"""Row numbers of one batch."""


def derived_seed(*parts: object) -> int:
    """Return a 63-bit seed that depends on every part and on nothing else."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Source(Protocol):
    """Where batches come from."""

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly."""


def shuffled(count: int, *, seed: int, epoch: int) -> list[int]:
    """Return 0..count-1 in the order of that epoch."""
    order = list(range(count))
    random.Random(derived_seed("order", seed, epoch)).shuffle(order)
    return order


def epoch_groups(
    rows: Sequence[Row], group: Callable[[Sequence[Row]], list[list[int]]], *, seed: int, epoch: int
) -> list[list[int]]:
    """Return the batches of one epoch as row numbers: random, but of like length inside.

    Args:
        rows: all rows.
        group: splits a pool of rows into batches, as numbers inside the pool.
        seed: seed of the run.
        epoch: number of the pass over the rows.
    """
    order = shuffled(len(rows), seed=seed, epoch=epoch)
    groups: list[list[int]] = []
    for start in range(0, len(order), POOL_ROWS):
        pool = order[start : start + POOL_ROWS]
        picked = group([rows[index] for index in pool])
        groups += [[pool[index] for index in item] for item in picked]
    random.Random(derived_seed("batches", seed, epoch)).shuffle(groups)
    return groups


def endless_groups(
    rows: Sequence[Row], group: Callable[[Sequence[Row]], list[list[int]]], *, seed: int
) -> Iterator[tuple[int, list[int]]]:
    """Return (epoch, row numbers) of batch after batch, epoch after epoch."""
    for epoch in itertools.count():
        for item in epoch_groups(rows, group, seed=seed, epoch=epoch):
            yield epoch, item


@final
class RowSource:
    """Batches of rows that have completions, within a token budget."""

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        tokens_per_batch: int,
        pad_id: int,
        seed: int,
        source: Prefixes,
    ) -> None:
        self._rows = rows
        self._tokens_per_batch = tokens_per_batch
        self._pad_id = pad_id
        self._seed = seed
        self._source: Prefixes = source

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly."""
        for _epoch, batch in self.numbered(first, stride):
            yield batch

    def numbered(self, first: int, stride: int) -> Iterator[tuple[int, Batch]]:
        """Return the same batches, each with the number of its pass over the rows."""
        groups = endless_groups(
            self._rows, lambda pool: by_length(pool, self._tokens_per_batch), seed=self._seed
        )
        for epoch, group in itertools.islice(groups, first, None, stride):
            rows = [self._rows[index] for index in group]
            yield epoch, collate(rows, pad_id=self._pad_id, source=self._source)


def equal_groups(pool: Sequence[Row], size: int) -> list[list[int]]:
    """Return rows in groups of `size` prompts of like length; the last may be smaller."""
    order = sorted(range(len(pool)), key=lambda index: len(pool[index].prompt))
    return [order[start : start + size] for start in range(0, len(order), size)]


@final
class PromptSource:
    """Groups of prompts the student answers itself."""

    def __init__(self, rows: Sequence[Row], *, prompts: int, seed: int) -> None:
        self._rows = rows
        self._prompts = prompts
        self._seed = seed

    def prompts(self, first: int, stride: int) -> Iterator[tuple[int, list[Row]]]:
        """Return (epoch, rows) of groups `first`, `first + stride`, ... endlessly."""
        groups = endless_groups(
            self._rows, lambda pool: equal_groups(pool, self._prompts), seed=self._seed
        )
        for epoch, group in itertools.islice(groups, first, None, stride):
            yield epoch, [self._rows[index] for index in group]
