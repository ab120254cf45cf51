"""The teacher read back from a cache, row by row, held against the text it is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ketchup_cli.errors import MismatchError
from ketchup_cli.functional.logprobs import teacher_statistics
from ketchup_cli.models.cache import CacheMeta, CacheReader
from ketchup_cli.models.heads import Head, read_head
from ketchup_cli.models.layout import prompt_digest
from ketchup_cli.models.reduction import CHUNK_TOKENS, STATISTICS, spread
from ketchup_cli.models.teacher import StateLogits, Teacher, check_offers
from ketchup_cli.signals import (
    Batch,
    HeldLogits,
    LogitRows,
    Needs,
    Offers,
    Prefixes,
    StudentSignal,
    TeacherSignal,
    TopEntries,
    to_device,
)

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Row

MEMORY_BYTES = 1 << 30
"""Shards of a cache kept in memory; rows of the others are read from disk each time."""

SOURCES: dict[str, Prefixes] = {"references": "data", "pseudo-targets": "teacher"}
"""Who wrote the completions of a cache."""


def cache_offers(meta: CacheMeta) -> Offers:
    """Return what a cache can give; all logits kept in float32 are as good as the teacher.

    From the last states logits are made anew, so any temperature can be had, and a network beside
    the head can be trained.
    """
    layout = meta.layout
    complete = layout.top == layout.vocabulary and layout.gap_dtype == "float32"
    states = layout.keep == "hidden"
    return Offers(
        detail="dense" if complete or states else "top" if layout.top else "stats",
        temperatures=None if states else layout.temperatures,
        any_prefix=False,
        gradient=states,
        sampled=layout.keep == "sampled",
        statistics=not layout.partial,
        top=layout.top if layout.keep == "top" and not layout.partial else None,
    )


@final
class CachedTeacher(Teacher):
    """A teacher cache, read back by a row's position in the data source.

    Invariant: prompt and completion of every row it answers for are, id by id, those it was made
    of. Shards stay in memory up to `memory_bytes`; of the others only the rows asked for are read.
    Example: `CachedTeacher(artifact.path, name="3f9c1b2a").signal(batch, Needs(teacher="top"))`.
    """

    def __init__(self, folder: Path, *, name: str, memory_bytes: int = MEMORY_BYTES) -> None:
        """Open the cache; reads what there is per row, not per token.

        Raises:
            NotFound, TooNew, Damaged: there is no cache, or none this version can read.
        """
        self.name = name
        self.cache = CacheReader(folder, memory_bytes=memory_bytes)
        layout = self.cache.meta.layout
        self._head = read_head(folder, layout) if layout.keep == "hidden" else None

    @property
    def offers(self) -> Offers:
        """What was stored, and only for the completions it was stored for."""
        return cache_offers(self.cache.meta)

    def signal(
        self, batch: Batch, needs: Needs, student: StudentSignal | None = None
    ) -> TeacherSignal:
        """Return what `needs` asks for.

        Raises:
            MismatchError: it was not stored, or batch and cache hold different text; the example
                is named.
            Damaged: a value no teacher can have given.
        """
        del student
        check_offers(needs, self.offers, self.name, prefixes=batch.source)
        self._check_source(batch)
        local = to_device(batch, "cpu")
        columns = self.cache.read(self._find(local))
        places_N = local.mask_BT.flatten().nonzero()[:, 0]
        self._check_tokens(local, columns["tokens"], places_N)
        rows = self._rows(columns, needs, device=batch.tokens_BT.device)
        if isinstance(rows, StateLogits) and needs.temperature not in self.temperatures:
            columns |= _statistics_of(rows, columns["tokens"], temperature=needs.temperature)
        signal = self._signal(columns, places_N, batch.tokens_BT.shape, needs)
        return to_device(replace(signal, dense=rows), batch.tokens_BT.device)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures statistics were stored for."""
        return self.cache.meta.layout.temperatures

    def states(self, batch: Batch) -> tuple[Tensor, Head]:
        """Return the last states [N, H] at the batch's real tokens, and the head that reads them.

        Raises:
            MismatchError: no states were stored, or batch and cache hold different text.
        """
        if self._head is None:
            raise MismatchError(
                f"teacher cache `{self.name}` holds no states",
                hint="ketchup cache-teacher --set keep=hidden",
            )
        self._check_source(batch)
        local, device = to_device(batch, "cpu"), batch.tokens_BT.device
        columns = self.cache.read(self._find(local))
        self._check_tokens(local, columns["tokens"], local.mask_BT.flatten().nonzero()[:, 0])
        return columns["states"].to(device).float(), self._head_on(device)

    def _head_on(self, device: torch.device) -> Head:
        assert self._head is not None
        if self._head.weight_VH.device != device:
            self._head = self._head.to(device)
        return self._head

    def _rows(
        self, columns: dict[str, Tensor], needs: Needs, *, device: torch.device
    ) -> LogitRows | None:
        """Return all logits where they were kept whole, or can be made of states."""
        if needs.teacher not in {"top", "dense"}:
            return None
        if self._head is not None:
            return StateLogits(
                head=self._head_on(device), hidden_NH=columns["states"].to(device).float()
            )
        if needs.teacher == "top":
            return None
        logits_NV = columns["best"][:, None] - columns["gaps"]
        return HeldLogits(torch.zeros_like(logits_NV).scatter_(1, columns["ids"].long(), logits_NV))

    def _check_source(self, batch: Batch) -> None:
        completions = self.cache.meta.completions
        if batch.source != SOURCES[completions]:
            raise MismatchError(
                f"teacher cache `{self.name}` is about {completions}; the completions of this batch"
                f" come from the {batch.source}",
                hint="name a cache made with the same `completions`",
            )
        if len(batch.rows) != len(batch.ids):
            raise MismatchError(
                f"a batch of {len(batch.ids)} rows with {len(batch.rows)} positions cannot be read"
                f" from teacher cache `{self.name}`"
            )

    def check_rows(self, rows: Sequence[Row]) -> None:
        """Refuse rows the cache was not made of, before anything is learnt from the others.

        Their completions are compared by length alone; `signal` compares them id by id.

        Raises:
            MismatchError: the example is named.
        """
        self._places(
            [row.id for row in rows],
            [row.position for row in rows],
            prompts=[row.prompt for row in rows],
            lengths=torch.tensor([len(row.completion) for row in rows]),
        )

    def _find(self, batch: Batch) -> Tensor:
        """Return the rows of the batch; prompts and lengths are those of the cache."""
        sizes = batch.prompt_mask_BS.sum(dim=1).tolist()
        padded = zip(batch.prompt_BS.tolist(), sizes, strict=True)
        return self._places(
            batch.ids,
            batch.rows,
            prompts=[prompt[: int(size)] for prompt, size in padded],
            lengths=batch.mask_BT.sum(dim=1).long(),
        )

    def _places(
        self,
        ids: Sequence[str],
        positions: Sequence[int],
        *,
        prompts: Sequence[Sequence[int]],
        lengths: Tensor,
    ) -> Tensor:
        rows = self.cache.find(positions)
        if bool((rows < 0).any()):
            index = int((rows < 0).nonzero()[0])
            raise MismatchError(
                f"teacher cache `{self.name}` holds no row for example `{ids[index][:12]}`,"
                f" number {positions[index]}",
                hint="make the cache again, with the limits training uses",
            )
        digests = torch.tensor([prompt_digest(prompt) for prompt in prompts])
        other = (digests != self.cache.prompts[rows]) | (lengths != self.cache.lengths[rows])
        if bool(other.any()):
            raise self._stale(ids[int(other.nonzero()[0])])
        return rows

    def _check_tokens(self, batch: Batch, tokens_N: Tensor, places_N: Tensor) -> None:
        other_N = batch.tokens_BT.flatten()[places_N] != tokens_N
        if bool(other_N.any()):
            row = int(places_N[int(other_N.nonzero()[0])]) // batch.tokens_BT.shape[1]
            raise self._stale(batch.ids[row])

    def _stale(self, example: str) -> MismatchError:
        return MismatchError(
            f"teacher cache `{self.name}` holds another text for example `{example[:12]}`: other"
            " data, other limits or another tokenizer",
            hint="ketchup cache-teacher, on the corpus that is trained on",
        )

    def _signal(
        self, columns: dict[str, Tensor], places_N: Tensor, shape: Sequence[int], needs: Needs
    ) -> TeacherSignal:
        known = {
            name: columns.get(name, columns["best"].new_full(columns["best"].shape, torch.nan))
            for name in ("taken", "best", "mean", "expected", "lse")
        }
        if needs.temperature in self.temperatures:
            k = self.temperatures.index(needs.temperature)
            known = {name: x[:, k] if x.ndim > 1 else x for name, x in known.items()}
        spreads = {name: spread(x, places_N, shape) for name, x in known.items()}
        return TeacherSignal(
            taken_BT=spreads["taken"],
            best_BT=spreads["best"],
            mean_BT=spreads["mean"],
            expected_BT=spreads["expected"],
            lse_BT=spreads["lse"],
            temperature=needs.temperature,
            top=self._entries(columns, places_N, shape, needs) if needs.teacher == "top" else None,
        )

    def _entries(
        self, columns: dict[str, Tensor], places_N: Tensor, shape: Sequence[int], needs: Needs
    ) -> TopEntries | None:
        """Return the kept entries of every step, the largest or those drawn."""
        layout = self.cache.meta.layout
        if layout.keep == "top":
            k = layout.temperatures.index(needs.temperature)
            return TopEntries(
                ids_BTM=spread(columns["ids"], places_N, shape),
                gaps_BTM=spread(columns["gaps"].float(), places_N, shape),
                tail_BT=spread(columns["tail"][:, k], places_N, shape),
            )
        if layout.keep == "hidden":
            return None
        most = int((columns["counts"] > 0).sum(dim=1).max())
        shares_NM = columns["counts"][:, :most].float() / layout.draws
        weights_BTM = spread(shares_NM, places_N, shape)
        return TopEntries(
            ids_BTM=spread(columns["drawn"][:, :most], places_N, shape),
            gaps_BTM=torch.full_like(weights_BTM, torch.nan),
            tail_BT=torch.zeros_like(weights_BTM[..., 0]),
            weights_BTM=weights_BTM,
        )


def _statistics_of(rows: StateLogits, tokens_N: Tensor, *, temperature: float) -> dict[str, Tensor]:
    """Return the statistics of logits at one temperature, a chunk at a time."""
    parts = []
    for start in range(0, rows.count, CHUNK_TOKENS):
        which = slice(start, start + CHUNK_TOKENS)
        logits_NV = rows.logits(which)
        own_N = tokens_N[which].to(logits_NV.device)
        parts.append(teacher_statistics(logits_NV, own_N, temperatures=(temperature,)))
    return {
        name.rpartition("_")[0]: torch
        .cat([getattr(part, name) for part in parts])
        .reshape(rows.count)
        .cpu()
        for name in STATISTICS
    }
