"""The files of a teacher cache read back: whole, or some rows of one. `layout.py` says what they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ketchup_cli.errors import Damaged
from ketchup_cli.models.layout import (
    CODES,
    DTYPES,
    METADATA_KEY,
    Column,
    Extent,
    Layout,
    described,
    flat_places,
    offsets_of,
)


@final
class Shard:
    """One shard that can be read, whole or row by row.

    Invariant: names, types, shapes and offsets were checked when it was opened; values are checked
    as they are read. No file stays open, and reading goes through `pread` where safetensors can: a
    file cut short under a memory map would kill the process.
    """

    def __init__(self, path: Path, layout: Layout, *, extent: Extent, first: int) -> None:
        """Read the header and what there is per row.

        Args:
            path: the file.
            layout: of the cache.
            extent: its rows, tokens and drawn entries, as `meta.json` counts them.
            first: rows in the shards before it.

        Raises:
            Damaged: it is missing, or not laid out like that.
        """
        self.path = path
        self.layout = layout
        self.extent = extent
        with self._reading() as file:
            self._check_header(file, first)
            self.offsets: Tensor = file.get_tensor("offsets")
            self.positions: Tensor = file.get_tensor("positions")
            self.prompts: Tensor = file.get_tensor("prompts")
            self.starts = file.get_tensor("starts") if layout.keep == "sampled" else self.offsets
        self._check_bounds("offsets", self.offsets, extent.tokens)
        if layout.keep == "sampled":
            self._check_bounds("starts", self.starts, extent.entries)
        self._begins = _begins(path)

    @property
    def byte_count(self) -> int:
        """Bytes its tensors take in memory."""
        times = {"row": 0, "bound": 0, "token": self.extent.tokens, "entry": self.extent.entries}
        return sum(times[column.per] * column.bytes for column in self.layout.columns.values())

    def column(self, name: str) -> Tensor:
        """Return one tensor, its values not checked."""
        with self._reading() as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def everything(self) -> dict[str, Tensor]:
        """Return the values of all tokens, as they lie in the file.

        Raises:
            Damaged: a value no teacher can have given.
        """
        with self._reading() as file:
            values = {name: file.get_tensor(name) for name in self.layout.names("token", "entry")}
        return self._checked(values)

    def chosen(self, values: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """Return the tokens of some rows, row after row, out of `everything`."""
        places = {"token": flat_places(self.offsets, rows), "entry": flat_places(self.starts, rows)}
        columns = self.layout.columns
        return self._spread({
            name: values[name][places[columns[name].per]]
            for name in self.layout.names("token", "entry")
        })

    def of_rows(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the values of the tokens of some rows, row after row; reads nothing else.

        Raises:
            Damaged: a value no teacher can have given.
        """
        spans = {
            per: [(int(bounds[row]), int(bounds[row + 1])) for row in rows]
            for per, bounds in (("token", self.offsets), ("entry", self.starts))
        }
        columns = self.layout.columns
        with self._descriptor() as file:
            values = {
                name: self._read(file, self._begins[name], columns[name], spans[columns[name].per])
                for name in self.layout.names("token", "entry")
            }
        return self._spread(self._checked(values))

    def _spread(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give every token as many places as tokens were drawn; counts of 0 fill the rest."""
        if self.layout.keep != "sampled":
            return values
        distinct_N = values.pop("distinct").long()
        places_E = torch.arange(len(values["drawn"])) - offsets_of(distinct_N)[
            :-1
        ].repeat_interleave(distinct_N)
        tokens_E = torch.arange(len(distinct_N)).repeat_interleave(distinct_N)
        for name in ("drawn", "counts"):
            wide_NG = values[name].new_zeros((len(distinct_N), self.layout.draws))
            wide_NG[tokens_E, places_E] = values[name]
            values[name] = wide_NG
        return values

    def _read(
        self, file: int, begin: int, column: Column, spans: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Return some spans of one column, which begins at byte `begin`."""
        size = column.bytes
        # not get_slice: with pread it reads the whole tensor, with a memory map it may be killed
        parts = [os.pread(file, (b - a) * size, begin + a * size) for a, b in spans]
        content = bytearray(b"".join(parts))
        count = sum(b - a for a, b in spans)
        if len(content) != size * count:
            raise self._damaged("it ends early")
        dtype = DTYPES[column.dtype]
        if not content:
            return torch.empty((count, *column.width), dtype=dtype)
        return torch.frombuffer(content, dtype=dtype).reshape(-1, *column.width)

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
        columns = self.layout.columns
        names = set(file.keys())
        if names != set(columns):
            odd = sorted(names ^ set(columns))
            raise self._damaged(f"tensors missing or unknown: {', '.join(odd)}")
        for name, column in columns.items():
            tensor, shape = file.get_slice(name), column.shape(self.extent)
            found = (tensor.get_dtype(), tuple(tensor.get_shape()))
            if found != (CODES[column.dtype], shape):
                raise self._damaged(
                    f"`{name}` is {found[0]} {list(found[1])}, not {CODES[column.dtype]}"
                    f" {list(shape)}"
                )
        if (file.metadata() or {}).get(METADATA_KEY) != described(self.layout, first=first):
            raise self._damaged("it belongs to another cache, or to another place in this one")

    def _check_bounds(self, name: str, bounds: Tensor, end: int) -> None:
        steps = bounds.diff()
        if int(bounds[0]) != 0 or int(bounds[-1]) != end:
            raise self._damaged(f"`{name}` do not span 0 to {end}")
        if bool((steps < 0).any()):
            raise self._damaged(f"`{name}` fall after row {int((steps < 0).nonzero()[0])}")

    def _checked(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        for name in {"tokens", "ids", "drawn"} & set(values):
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
        if "gaps" in values and values["gaps"].numel() and float(values["gaps"].min()) < 0:
            raise self._damaged("`gaps` holds a negative value")
        if self.layout.keep == "sampled":
            self._check_draws(values["distinct"].long(), values["counts"].long())
        return values

    def _check_draws(self, distinct_N: Tensor, counts_E: Tensor) -> None:
        """Refuse draws that are not as many at every step."""
        ends_N = offsets_of(distinct_N)
        if int(ends_N[-1]) != len(counts_E):
            raise self._damaged("`distinct` counts other draws than there are")
        sums_N = offsets_of(counts_E)[ends_N].diff()
        if bool((sums_N != self.layout.draws).any()) or bool((counts_E < 1).any()):
            raise self._damaged(f"`counts` of a step do not sum to {self.layout.draws} draws")

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"`{self.path.name}`: {what}", hint="ketchup verify, then make it again")


def _begins(path: Path) -> dict[str, int]:
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
