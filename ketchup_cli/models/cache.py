"""A teacher cache as one list of rows, whatever shards it is in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final

import msgspec
import torch
from safetensors import safe_open
from torch import Tensor

from ketchup_cli.errors import Damaged, NotFound, TooNew
from ketchup_cli.models.layout import FORMAT, Extent, Layout, flat_places, offsets_of
from ketchup_cli.models.shards import Shard

META = "meta.json"


@final
class ShardEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One shard as `meta.json` lists it."""

    file: str
    rows: int
    tokens: int
    entries: int = 0
    """Drawn tokens in it, each counted once a step."""

    @property
    def extent(self) -> Extent:
        """How much it holds."""
        return Extent(rows=self.rows, tokens=self.tokens, entries=self.entries)


@final
class CacheMeta(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of `meta.json`: what a teacher cache holds, and of what."""

    format: int
    layout: Layout
    completions: Literal["references", "pseudo-targets"]
    split: str
    rows: int
    tokens: int
    truncated: int
    skipped: int
    shards: tuple[ShardEntry, ...]

    @property
    def bytes_per_token(self) -> float:
        """Bytes on disk for one completion token, on average."""
        entries = sum(entry.entries for entry in self.shards)
        columns = self.layout.columns.values()
        per_entry = sum(column.bytes for column in columns if column.per == "entry")
        per_token = sum(column.bytes for column in columns if column.per == "token")
        return per_token + per_entry * entries / max(1, self.tokens)


def shard_name(number: int) -> str:
    """Return the file name of shard `number`."""
    return f"shard-{number:05d}.safetensors"


def read_meta(folder: Path) -> CacheMeta:
    """Return the `meta.json` of a teacher cache.

    Raises:
        NotFound: there is none.
        TooNew: a later version wrote it.
        Damaged: it is not what a cache's `meta.json` is.
    """
    path = folder / META
    if not path.is_file():
        raise NotFound(f"`{folder}` holds no teacher cache", hint="ketchup cache-teacher")
    try:
        raw = json.loads(path.read_bytes())
        written = raw.get("format")
        if isinstance(written, int) and written > FORMAT:
            raise TooNew(
                f"`{folder.name}` is a teacher cache of format {written}; this ketchup knows"
                f" {FORMAT}",
                hint="pip install --upgrade ketchup-kd",
            )
        meta = msgspec.convert(raw, type=CacheMeta, strict=True)
    except (ValueError, AttributeError, msgspec.ValidationError) as error:
        raise Damaged(f"`{path}` is damaged: {error}", hint="ketchup verify") from None
    if meta.format != meta.layout.format:
        raise Damaged(f"`{path}` is of another format than its layout", hint="ketchup verify")
    if [entry.file for entry in meta.shards] != [shard_name(n) for n in range(len(meta.shards))]:
        raise Damaged(f"`{path}` lists shards by other names than its own", hint="ketchup verify")
    return meta


def open_shards(folder: Path, meta: CacheMeta) -> list[Shard]:
    """Return the shards of a cache in order, their headers checked.

    Raises:
        Damaged: one is missing, or not laid out as `meta` says.
    """
    shards: list[Shard] = []
    first = 0
    for entry in meta.shards:
        path = folder / entry.file
        shards.append(Shard(path, meta.layout, extent=entry.extent, first=first))
        first += entry.rows
    return shards


def entries_in(path: Path) -> int:
    """Return how many drawn entries a finished shard holds."""
    with safe_open(path, framework="pt") as file:
        (count,) = file.get_slice("drawn").get_shape()
    return int(count)


def tail_masses(folder: Path, meta: CacheMeta) -> dict[str, float]:
    """Return the mean mass outside the kept entries, by temperature; reads that column whole.

    Raises:
        Damaged: a shard is missing, or not laid out as `meta` says.
    """
    tails = [shard.column("tail").double().sum(dim=0) for shard in open_shards(folder, meta)]
    totals = torch.stack(tails).sum(dim=0).tolist()
    pairs = zip(meta.layout.temperatures, totals, strict=True)
    return {str(temperature): total / meta.tokens for temperature, total in pairs}


@final
class CacheReader:
    """All rows of a cache, in the order of their positions in the data source.

    Invariant: positions rise from row to row. Shards stay in memory up to `memory_bytes`; of the
    others only the rows asked for are read.
    """

    def __init__(self, folder: Path, *, memory_bytes: int) -> None:
        """Open every shard and keep what there is per row, 24 bytes.

        Raises:
            NotFound, TooNew, Damaged: there is no cache, or none this version can read.
        """
        self.meta = read_meta(folder)
        self._shards = open_shards(folder, self.meta)
        self._ends = torch.tensor([entry.rows for entry in self.meta.shards]).cumsum(0)
        self._positions = torch.cat([shard.positions for shard in self._shards])
        self.lengths = torch.cat([shard.offsets.diff() for shard in self._shards])
        self.prompts = torch.cat([shard.prompts for shard in self._shards])
        if bool((self._positions.diff() <= 0).any()):
            raise Damaged(f"`{folder.name}`: rows out of order", hint="ketchup verify")
        self._resident: dict[int, dict[str, Tensor]] = {}
        self._bytes_left = memory_bytes

    def find(self, positions: Sequence[int]) -> Tensor:
        """Return the rows at these positions in the data source, -1 where there is none."""
        wanted = torch.tensor(positions, dtype=torch.int64)
        rows = torch.searchsorted(self._positions, wanted)
        near = rows.clamp(max=len(self._positions) - 1)
        return torch.where(self._positions[near] == wanted, rows, -1)

    def read(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the columns of all tokens of these rows, row after row.

        Raises:
            Damaged: a value no teacher can have given.
        """
        homes = torch.searchsorted(self._ends, rows, right=True)
        parts: list[dict[str, Tensor]] = []
        order: list[Tensor] = []
        for number in sorted(set(homes.tolist())):
            chosen = (homes == number).nonzero()[:, 0]
            first = int(self._ends[number]) - self.meta.shards[number].rows
            parts.append(self._of_shard(number, rows[chosen] - first))
            order.append(chosen)
        gathered = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        back = _places_back(self.lengths[rows], torch.cat(order))
        return {name: column[back] for name, column in gathered.items()}

    def _of_shard(self, number: int, rows: Tensor) -> dict[str, Tensor]:
        shard = self._shards[number]
        if number not in self._resident:
            if shard.byte_count > self._bytes_left:
                return shard.of_rows(rows.tolist())
            self._resident[number] = shard.everything()
            self._bytes_left -= shard.byte_count
        return shard.chosen(self._resident[number], rows)


def _places_back(lengths: Tensor, order: Tensor) -> Tensor:
    """Return where tokens stand once their rows were rearranged as `order`."""
    return flat_places(offsets_of(lengths[order]), order.argsort())
