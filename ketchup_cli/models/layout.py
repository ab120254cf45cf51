"""What a teacher cache holds of every token, and how it lies in a shard.

A shard of R rows and N tokens holds `offsets [R+1]` (row r owns tokens `offsets[r]` to
`offsets[r+1]`), `positions [R]` (a row's place in the data source), `prompts [R]` (a digest of its
prompt's ids) and, per token, `tokens`, `taken`, `best`, `mean [N]`, `expected`, `lse [N, K]` for K
temperatures. Beside them a cache keeps one of these:

    top       `tail [N, K]` and `ids`, `gaps [N, M]` of the M largest logits; M may be 0
    sampled   `distinct [N]`, how many different tokens were drawn, and of E in all `drawn`,
              `counts [E]`, token after token; row r owns `starts[r]` to `starts[r+1]`
    hidden    `states [N, H]`, which the head makes the logits of; the head is a file of its own

Nothing in it depends on how rows were batched.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import msgspec
import torch
from torch import Tensor

from ketchup_cli.spec import canonical

FORMAT = 2
"""The newest format; a cache is written in the oldest that can say what it holds."""
METADATA_KEY = "ketchup"
"""The one key of a shard's `__metadata__`: safetensors writes several in random order."""

DTYPES = {
    "float16": torch.float16,
    "float32": torch.float32,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
}
CODES = {"float16": "F16", "float32": "F32", "uint8": "U8", "int32": "I32", "int64": "I64"}
"""What safetensors calls them."""

MOST_DRAWS = 255
"""A count fits one byte."""

Dtype = Literal["float16", "float32", "uint8", "int32", "int64"]
Keep = Literal["top", "sampled", "hidden"]


@final
@dataclass(frozen=True, slots=True)
class Extent:
    """How much a shard holds."""

    rows: int
    tokens: int
    entries: int = 0
    """Drawn tokens, each counted once a step."""


@final
@dataclass(frozen=True, slots=True)
class Column:
    """One tensor of a shard: its type, and what there is one of in it."""

    dtype: Dtype
    per: Literal["row", "bound", "token", "entry"]
    """bound: one for every row and one more."""
    width: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of one of them."""
        return DTYPES[self.dtype].itemsize * math.prod(self.width)

    def shape(self, extent: Extent) -> tuple[int, ...]:
        """Return the shape of the whole tensor."""
        counts = {
            "row": extent.rows,
            "bound": extent.rows + 1,
            "token": extent.tokens,
            "entry": extent.entries,
        }
        return (counts[self.per], *self.width)


@final
class Layout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all shards of a cache have in common.

    Fields with a default came later: left out where they say nothing, they leave the bytes of a
    cache that needs none of them as they were.
    """

    vocabulary: int
    top: int
    """Kept entries per token; 0 keeps statistics only."""
    temperatures: tuple[float, ...]
    gap_dtype: Literal["float16", "float32"]
    tokenizer: str
    """Fingerprint of the teacher's tokenizer."""
    keep: Keep = "top"
    draws: int = 0
    """Tokens drawn per step, where `keep` is sampled."""
    width: int = 0
    """Size of a state, where `keep` is hidden."""
    state_dtype: Literal["float16", "float32"] = "float16"
    partial: bool = False
    """Whether only log-probabilities were known: no `taken`, `mean` and `expected`, and `lse` 0."""

    @property
    def format(self) -> int:
        """The oldest format that can say what this cache holds."""
        return 1 if self.keep == "top" and not self.partial else 2

    @property
    def bytes_per_token(self) -> int:
        """Bytes on disk for one completion token; the most it can take where tokens are drawn."""
        drawn = min(self.draws, self.vocabulary)
        times = {"row": 0, "bound": 0, "token": 1, "entry": drawn}
        return sum(times[column.per] * column.bytes for column in self.columns.values())

    @property
    def columns(self) -> dict[str, Column]:
        """Every tensor of a shard by its name."""
        several = (len(self.temperatures),)
        found = {
            "offsets": Column("int64", "bound"),
            "positions": Column("int64", "row"),
            "prompts": Column("int64", "row"),
            "tokens": Column("int32", "token"),
            "taken": Column("float32", "token"),
            "best": Column("float32", "token"),
            "mean": Column("float32", "token"),
            "expected": Column("float32", "token", several),
            "lse": Column("float32", "token", several),
            **self._kept(several),
        }
        if self.partial:
            del found["taken"], found["mean"], found["expected"]
        return found

    def _kept(self, several: tuple[int, ...]) -> dict[str, Column]:
        if self.keep == "sampled":
            return {
                "distinct": Column("uint8", "token"),
                "starts": Column("int64", "bound"),
                "drawn": Column("int32", "entry"),
                "counts": Column("uint8", "entry"),
            }
        if self.keep == "hidden":
            return {"states": Column(self.state_dtype, "token", (self.width,))}
        return {
            "tail": Column("float32", "token", several),
            "ids": Column("int32", "token", (self.top,)),
            "gaps": Column(self.gap_dtype, "token", (self.top,)),
        }

    def names(self, *per: str) -> tuple[str, ...]:
        """Return the names of the tensors that hold one number, or several, per any of these."""
        return tuple(name for name, column in self.columns.items() if column.per in per)


def described(layout: Layout, *, first: int) -> str:
    """Return the one line of metadata of a shard whose first row is row `first` of the cache."""
    return canonical({"format": layout.format, "first": first, "layout": layout}).decode()


def prompt_digest(ids: Sequence[int]) -> int:
    """Return a signed 64-bit digest of a prompt's token ids."""
    packed = struct.pack(f"<{len(ids)}i", *ids)
    return int.from_bytes(hashlib.sha256(packed).digest()[:8], "little", signed=True)


def offsets_of(lengths: Tensor) -> Tensor:
    """Return where runs of these lengths begin, and where the last one ends."""
    return torch.cat([torch.zeros(1, dtype=torch.int64), lengths.long().cumsum(0)])


def flat_places(offsets: Tensor, rows: Tensor) -> Tensor:
    """Return the flat places of the tokens of `rows`, row after row."""
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    before = lengths.cumsum(0) - lengths
    inside = torch.arange(int(lengths.sum())) - before.repeat_interleave(lengths)
    return starts.repeat_interleave(lengths) + inside
