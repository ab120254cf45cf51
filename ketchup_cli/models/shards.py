"""The files of a teacher cache: flat, unpadded tensors, one shard at a time.

A shard of R rows and N tokens holds `offsets [R+1]` (row r owns tokens `offsets[r]` to
`offsets[r+1]`), `positions [R]` (a row's place in the data source), `prompts [R]` (a digest of its
prompt's ids) and, per token, `tokens`, `taken`, `best`, `mean [N]`, `expected`, `lse`, `tail
[N, K]` for K temperatures, and `ids`, `gaps [N, M]` for the M largest logits. Nothing in it depends
on how rows were batched.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ketchup_cli.errors import Damaged, DataError
from ketchup_cli.functional.logprobs import Statistics
from ketchup_cli.models.encode import Row
from ketchup_cli.spec import canonical

FORMAT = 1
METADATA_KEY = "ketchup"
"""The one key of a shard's `__metadata__`: safetensors writes several in random order."""

GAP_LIMIT = torch.finfo(torch.float16).max
"""Gaps are cut here; exp(-65504) is 0 in float32, so no probability changes."""

DTYPES = {
    "float16": torch.float16,
    "float32": torch.float32,
    "int32": torch.int32,
    "int64": torch.int64,
}
CODES = {"float16": "F16", "float32": "F32", "int32": "I32", "int64": "I64"}
"""What safetensors calls them."""


@final
class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What all shards of a cache have in common."""

    vocabulary: int
    top: int
    """Kept entries per token; 0 keeps statistics only."""
    temperatures: tuple[float, ...]
    gap_dtype: Literal["float16", "float32"]
    tokenizer: str
    """Fingerprint of the teacher's tokenizer."""

    @property
    def bytes_per_token(self) -> int:
        """Bytes on disk for one completion token."""
        columns = self.columns(rows=0, tokens=1)
        per_row = {"offsets", "positions", "prompts"}
        sizes = {"float16": 2, "float32": 4, "int32": 4, "int64": 8}
        return sum(
            sizes[dtype] * (shape[1] if len(shape) > 1 else 1)
            for name, (dtype, shape) in columns.items()
            if name not in per_row
        )

    def columns(self, *, rows: int, tokens: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return dtype and shape of every tensor of a shard."""
        per_temperature = (tokens, len(self.temperatures))
        entries = (tokens, self.top)
        return {
            "offsets": ("int64", (rows + 1,)),
            "positions": ("int64", (rows,)),
            "prompts": ("int64", (rows,)),
            "tokens": ("int32", (tokens,)),
            "taken": ("float32", (tokens,)),
            "best": ("float32", (tokens,)),
            "mean": ("float32", (tokens,)),
            "expected": ("float32", per_temperature),
            "lse": ("float32", per_temperature),
            "tail": ("float32", per_temperature),
            "ids": ("int32", entries),
            "gaps": (self.gap_dtype, entries),
        }


def prompt_digest(ids: Sequence[int]) -> int:
    """Return a signed 64-bit digest of a prompt's token ids."""
    packed = struct.pack(f"<{len(ids)}i", *ids)
    return int.from_bytes(hashlib.sha256(packed).digest()[:8], "little", signed=True)


@final
class ShardWriter:
    """Gathers what the teacher says about some rows, in any order, and gives the shard's bytes.

    Invariant: the bytes depend on the rows and on the teacher's numbers alone.
    """

    def __init__(self, layout: Layout, rows: Sequence[Row], *, first: int) -> None:
        lengths = torch.tensor([len(row.completion) for row in rows], dtype=torch.int64)
        self.layout = layout
        self.first = first
        self.offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        columns = layout.columns(rows=len(rows), tokens=int(self.offsets[-1]))
        self.tensors = {
            name: torch.zeros(shape, dtype=DTYPES[dtype])
            for name, (dtype, shape) in columns.items()
        }
        self.tensors["offsets"] = self.offsets
        self.tensors["positions"] = torch.tensor([row.position for row in rows])
        self.tensors["prompts"] = torch.tensor([prompt_digest(row.prompt) for row in rows])
        self.tensors["tokens"] = torch.tensor(
            [token for row in rows for token in row.completion], dtype=torch.int32
        )
        self._missing = torch.ones(int(self.offsets[-1]), dtype=torch.bool)

    def places(self, rows: Sequence[int]) -> Tensor:
        """Return where the tokens of these rows go, row after row."""
        return flat_places(self.offsets, torch.tensor(rows, dtype=torch.int64))

    def put(
        self,
        places_N: Tensor,
        statistics: Statistics,
        entries: tuple[Tensor, Tensor, Tensor] | None,
    ) -> None:
        """Take the statistics and, where kept, `(ids_NM, gaps_NM, tail_NK)` of some tokens."""
        columns = {
            "taken": statistics.taken_N,
            "best": statistics.best_N,
            "mean": statistics.mean_N,
            "expected": statistics.expected_NK,
            "lse": statistics.lse_NK,
        }
        if entries is not None:
            ids_NM, gaps_NM, tail_NK = entries
            columns |= {"ids": ids_NM, "gaps": gaps_NM.clamp(max=GAP_LIMIT), "tail": tail_NK}
        else:
            columns["tail"] = torch.ones_like(statistics.lse_NK)
        for name, values in columns.items():
            column = self.tensors[name]
            column[places_N] = values.to("cpu", column.dtype)
        self._missing[places_N] = False

    def to_bytes(self) -> bytes:
        """Return the shard as a safetensors file.

        Raises:
            DataError: the teacher said nothing about some token.
        """
        missing = int(self._missing.sum())
        if missing:
            raise DataError(
                f"{missing} of {len(self._missing)} tokens of a shard were never scored",
                hint="this is a defect of ketchup; report it with the command",
            )
        described = {"format": FORMAT, "first": self.first, "layout": self.layout}
        return bytes(save(self.tensors, metadata={METADATA_KEY: canonical(described).decode()}))


def flat_places(offsets: Tensor, rows: Tensor) -> Tensor:
    """Return the flat places of the tokens of `rows`, row after row."""
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    before = lengths.cumsum(0) - lengths
    inside = torch.arange(int(lengths.sum())) - before.repeat_interleave(lengths)
    return starts.repeat_interleave(lengths) + inside


TOKEN_COLUMNS = ("tokens", "taken", "best", "mean", "expected", "lse", "tail", "ids", "gaps")


@final
class Shard:
    """One shard that can be read, whole or row by row.

    Invariant: names, types, shapes and offsets were checked when it was opened; values are checked
    as they are read. No file stays open, and reading goes through `pread` where safetensors can: a
    file cut short under a memory map would kill the process.
    """

    def __init__(self, path: Path, layout: Layout, *, shape: tuple[int, int], first: int) -> None:
        """Read the header and what there is per row.

        Args:
            path: the file.
            layout: of the cache.
            shape: its rows and tokens, as `meta.json` counts them.
            first: rows in the shards before it.

        Raises:
            Damaged: it is missing, or not laid out like that.
        """
        self.path = path
        self.layout = layout
        self.rows, self.tokens = shape
        with self._reading() as file:
            self._check_header(file, first)
            self.offsets: Tensor = file.get_tensor("offsets")
            self.positions: Tensor = file.get_tensor("positions")
            self.prompts: Tensor = file.get_tensor("prompts")
        self._check_offsets()
        self._starts = _starts(path)

    @property
    def byte_count(self) -> int:
        """Bytes its tensors take in memory."""
        return self.tokens * self.layout.bytes_per_token

    def column(self, name: str) -> Tensor:
        """Return one tensor, its values not checked."""
        with self._reading() as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def everything(self) -> dict[str, Tensor]:
        """Return the values of all tokens.

        Raises:
            Damaged: a value no teacher can have given.
        """
        with self._reading() as file:
            values = {name: file.get_tensor(name) for name in TOKEN_COLUMNS}
        return self._checked(values)

    def of_rows(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the values of the tokens of some rows, row after row; reads nothing else.

        Raises:
            Damaged: a value no teacher can have given.
        """
        spans = [(int(self.offsets[row]), int(self.offsets[row + 1])) for row in rows]
        columns = self.layout.columns(rows=self.rows, tokens=self.tokens)
        with self._descriptor() as file:
            values = {
                name: self._read(file, self._starts[name], columns[name], spans)
                for name in TOKEN_COLUMNS
            }
        return self._checked(values)

    def _read(
        self,
        file: int,
        start: int,
        column: tuple[str, tuple[int, ...]],
        spans: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Return the tokens of some spans of one column, which begins at byte `start`."""
        dtype = DTYPES[column[0]]
        shape = column[1][1:]
        width = dtype.itemsize * math.prod(shape)
        # not get_slice: with pread it reads the whole tensor, with a memory map it may be killed
        parts = [os.pread(file, (b - a) * width, start + a * width) for a, b in spans]
        content = bytearray(b"".join(parts))
        if len(content) != width * sum(b - a for a, b in spans):
            raise self._damaged("it ends early")
        if not content:
            return torch.empty((sum(b - a for a, b in spans), *shape), dtype=dtype)
        return torch.frombuffer(content, dtype=dtype).reshape(-1, *shape)

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._damaged(f"cannot be read: {error.strerror}") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        try:
            with _opened(self.path) as file:
                yield file
        except (OSError, SafetensorError) as error:
            raise self._damaged(f"cannot be read: {error}") from None

    def _check_header(self, file: Any, first: int) -> None:
        expected = self.layout.columns(rows=self.rows, tokens=self.tokens)
        names = set(file.keys())
        if names != set(expected):
            odd = sorted(names ^ set(expected))
            raise self._damaged(f"tensors missing or unknown: {', '.join(odd)}")
        for name, (dtype, shape) in expected.items():
            tensor = file.get_slice(name)
            found = (tensor.get_dtype(), tuple(tensor.get_shape()))
            if found != (CODES[dtype], shape):
                raise self._damaged(
                    f"`{name}` is {found[0]} {list(found[1])}, not {CODES[dtype]} {list(shape)}"
                )
        described = {"format": FORMAT, "first": first, "layout": self.layout}
        if (file.metadata() or {}).get(METADATA_KEY) != canonical(described).decode():
            raise self._damaged("it belongs to another cache, or to another place in this one")

    def _check_offsets(self) -> None:
        steps = self.offsets.diff()
        if int(self.offsets[0]) != 0 or int(self.offsets[-1]) != self.tokens:
            raise self._damaged(f"`offsets` do not span 0 to {self.tokens}")
        if bool((steps < 0).any()):
            raise self._damaged(f"`offsets` fall after row {int((steps < 0).nonzero()[0])}")

    def _checked(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        for name in ("tokens", "ids"):
            column = values[name]
            if column.numel() and not 0 <= int(column.min()) <= int(column.max()) < (
                self.layout.vocabulary
            ):
                raise self._damaged(
                    f"`{name}` run from {int(column.min())} to {int(column.max())}; the vocabulary"
                    f" has {self.layout.vocabulary} entries"
                )
        for name, column in values.items():
            if column.is_floating_point() and not bool(column.isfinite().all()):
                raise self._damaged(f"`{name}` holds a value that is not finite")
        if values["gaps"].numel() and float(values["gaps"].min()) < 0:
            raise self._damaged("`gaps` holds a negative value")
        return values

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"`{self.path.name}`: {what}", hint="ketchup verify, then make it again")


def _starts(path: Path) -> dict[str, int]:
    """Return the byte each tensor begins at; the header is sound, safetensors has read it."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    del header["__metadata__"]
    return {name: 8 + size + int(tensor["data_offsets"][0]) for name, tensor in header.items()}


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", backend="pread")
    except TypeError:  # safetensors before 0.8 knows memory maps alone
        return safe_open(path, framework="pt")
