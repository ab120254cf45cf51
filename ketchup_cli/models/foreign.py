"""Teacher entries as other tools have cached them, read without running their code.

DistillKit keeps, for a text of L tokens, L - 1 steps (or one more, past its end): step i is about
token i + 1. A step is `compressed_logprobs`, bytes that `Compression` describes, and
`bytepacked_indices`, ids of as many bits as the vocabulary needs, first bit first; or, unpacked,
`top_values` and `token_ids`. axolotl keeps a list of log-probabilities for every token of the
completion and `target_token_ids` beside it, or, as vLLM gives them, `{token: "token_id:7",
logprob}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import msgspec
import torch
from torch import Tensor

from ketchup_cli.errors import DataError, NotFound

CONFIG = "compression_config.yaml"
"""The file in which DistillKit says how it has packed log-probabilities."""

MOST_MASS = 1.02
"""Mass above which numbers are no rounded log-probabilities."""

Float = Literal["float16", "bfloat16", "float32", "float64"]
TYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
_TERMS = {"sqrt": torch.sqrt, "exp": torch.exp}


@final
class Bin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of residuals of so many bits each, with one scale."""

    scale_dtype: Float
    element_bits: int
    num_elements: int


@final
class Compression(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the k largest log-probabilities of a step were packed, by DistillKit's own names.

    The first `exact_k` as they are; of the others the coefficients of `polynomial_terms` over their
    rank, and quantised residuals, bin by bin.
    """

    d: int
    """Size of the vocabulary."""
    k: int
    exact_k: int
    exact_dtype: Float = "float32"
    polynomial_terms: tuple[int | Literal["sqrt", "exp"], ...] | None = None
    term_dtype: Float = "float32"
    residual_bins: tuple[Bin, ...] = ()
    delta_encoding: bool = True
    error_diffusion: bool = False
    """Spreads errors while packing; says nothing about unpacking."""
    normalize_t: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of a step's log-probabilities."""
        bins = sum(
            TYPES[item.scale_dtype].itemsize + -(-item.element_bits * item.num_elements // 8)
            for item in self.residual_bins
        )
        terms = len(self.polynomial_terms or ()) * TYPES[self.term_dtype].itemsize
        return self.exact_k * TYPES[self.exact_dtype].itemsize + terms + bins

    @property
    def id_bits(self) -> int:
        """Bits of an id."""
        return max(1, (self.d - 1).bit_length())


def read_compression(folder: Path) -> Compression:
    """Return how the rows in a folder were packed.

    Raises:
        NotFound: it does not say.
        DataError: it says it in a way DistillKit does not.
    """
    import yaml  # type: ignore[import-untyped]

    path = folder / CONFIG
    if not path.is_file():
        raise NotFound(
            f"`{folder}` has no `{CONFIG}`, without which packed rows mean nothing",
            hint=f"put the `{CONFIG}` of the capture beside the parquet files",
        )
    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()), type=Compression)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"`{path}` is no description of packed rows: {first}") from None


def unpack_bits(packed_NX: Tensor, *, bits: int, count: int) -> Tensor:
    """Return `count` integers a row, of so many bits each, from bytes; the first bit is the highest.

    Args:
        packed_NX: [N, X] bytes.
        bits: of one integer, 1 to 62.
        count: of integers in a row; what is left of the last byte is padding.

    Returns:
        [N, count] int64.
    """
    shifts = torch.arange(7, -1, -1)
    flat = ((packed_NX.long()[:, :, None] >> shifts) & 1).flatten(1)[:, : bits * count]
    weights = 1 << torch.arange(bits - 1, -1, -1)
    return (flat.view(len(packed_NX), count, bits) * weights).sum(dim=-1)


def unpack_log_probs(packed_NX: Tensor, compression: Compression) -> Tensor:
    """Return log-probabilities [N, k], float32, of steps packed as `compression` says."""
    cursor = _Cursor(packed_NX)
    exact_NE = cursor.floats(compression.exact_k, compression.exact_dtype)
    rest = compression.k - compression.exact_k
    terms = compression.polynomial_terms or ()
    fit_NR = torch.zeros(len(packed_NX), rest)
    if terms:
        coefficients_NP = cursor.floats(len(terms), compression.term_dtype)
        fit_NR = (coefficients_NP[:, None, :] * _powers(compression, rest)).sum(dim=-1)
    residuals = [cursor.quantised(item) for item in compression.residual_bins]
    if residuals:
        residual_NX = torch.cat(residuals, dim=1)
        fit_NR[:, : residual_NX.shape[1]] += residual_NX
    found_NK = torch.cat([exact_NE, fit_NR], dim=1)
    return found_NK.cumsum(dim=1) if compression.delta_encoding else found_NK


def _powers(compression: Compression, count: int) -> Tensor:
    """Return the polynomial's terms at every rank, [count, P]."""
    ranks = torch.arange(count, dtype=torch.float32)
    if compression.normalize_t:
        ranks = torch.linspace(0, 1, steps=count)
    terms = compression.polynomial_terms or ()
    columns = [_TERMS[term](ranks) if isinstance(term, str) else ranks**term for term in terms]
    return torch.stack(columns, dim=-1)


@final
class _Cursor:
    """Takes numbers off the front of every row's bytes."""

    def __init__(self, packed_NX: Tensor) -> None:
        self._rest_NX = packed_NX

    def _bytes(self, count: int) -> Tensor:
        taken_NX, self._rest_NX = self._rest_NX[:, :count], self._rest_NX[:, count:]
        # not contiguous(): a single row is that already, and would be seen as numbers at an odd byte
        return taken_NX.clone(memory_format=torch.contiguous_format)

    def floats(self, count: int, dtype: Float) -> Tensor:
        """Return `count` numbers of each row, little-endian, as float32."""
        if count == 0:
            return torch.zeros(len(self._rest_NX), 0)
        return self._bytes(count * TYPES[dtype].itemsize).view(TYPES[dtype]).float()

    def quantised(self, item: Bin) -> Tensor:
        """Return the residuals of a bin."""
        scale_N1 = self.floats(1, item.scale_dtype)
        packed_NX = self._bytes(-(-item.element_bits * item.num_elements // 8))
        whole = unpack_bits(packed_NX, bits=item.element_bits, count=item.num_elements)
        if item.element_bits == 1:
            return (2.0 * whole.float() - 1.0) * scale_N1
        return (whole - (1 << (item.element_bits - 1))).float() * scale_N1


Steps = list[tuple[list[int], list[float]]]
"""Ids and log-probabilities of the entries of every step, as many as it has."""


def distillkit_steps(row: Mapping[str, Any], compression: Compression | None, place: str) -> Steps:
    """Return the entries of every step of one row.

    Raises:
        DataError: the row is laid out in no way that can be read; it says which it is.
    """
    if "compressed_logprobs" in row and "bytepacked_indices" in row:
        assert compression is not None
        values_NK = unpack_log_probs(
            _byte_rows(row["compressed_logprobs"], compression.bytes, place), compression
        )
        width = -(-compression.id_bits * compression.k // 8)
        packed_NX = _byte_rows(row["bytepacked_indices"], width, place)
        ids_NK = unpack_bits(packed_NX, bits=compression.id_bits, count=compression.k)
        return list(zip(ids_NK.tolist(), values_NK.tolist(), strict=True))
    if "top_values" in row and "token_ids" in row:
        return _pairs(row["token_ids"], row["top_values"], place)
    if "packed_indices" in row:
        raise DataError(
            f"{place} is packed in DistillKit's legacy layout, which is not read",
            hint="capture it again, or unpack it into `token_ids` and `top_values`",
        )
    raise DataError(
        f"{place} has none of the fields DistillKit writes",
        hint="`input_ids` with `compressed_logprobs` and `bytepacked_indices`, or with `token_ids`"
        " and `top_values`",
    )


def axolotl_steps(row: Mapping[str, Any], field: str, place: str) -> Steps:
    """Return the entries of every step of one row; steps vLLM left empty have none.

    Raises:
        DataError: the row is laid out in no way that can be read.
    """
    steps = row.get(field)
    if not isinstance(steps, list):
        raise DataError(
            f"{place} has no list `{field}`",
            hint="--set logprobs_field=NAME, the field that has it",
        )
    if row.get("target_token_ids") is not None:
        return _pairs(row["target_token_ids"], steps, place)
    return [_named(step or (), place) for step in steps]


def _named(entries: Sequence[Any], place: str) -> tuple[list[int], list[float]]:
    ids, values = [], []
    for entry in entries:
        word = entry.get("token", "") if isinstance(entry, dict) else ""
        head, _, number = str(word).partition(":")
        if head != "token_id" or not number.isdigit():
            raise DataError(
                f"{place} names a token `{word}`, which is no id",
                hint="capture with vLLM's `return_tokens_as_token_ids`, or give `target_token_ids`",
            )
        ids.append(int(number))
        values.append(float(entry["logprob"]))
    return ids, values


def _pairs(ids: Sequence[Any], values: Sequence[Any], place: str) -> Steps:
    sizes = [(len(a or ()), len(b or ())) for a, b in zip(ids, values, strict=False)]
    if len(ids) != len(values) or any(a != b for a, b in sizes):
        raise DataError(f"{place} has other ids than log-probabilities")
    return [
        ([int(x) for x in a or ()], [float(x) for x in b or ()])
        for a, b in zip(ids, values, strict=True)
    ]


def _byte_rows(rows: Sequence[Sequence[int]], width: int, place: str) -> Tensor:
    if any(len(row) != width for row in rows):
        found = next(len(row) for row in rows if len(row) != width)
        raise DataError(
            f"{place} has {found} bytes a step; `{CONFIG}` says {width}",
            hint=f"use the `{CONFIG}` these rows were captured with",
        )
    return torch.tensor(rows, dtype=torch.uint8).reshape(-1, width)


def finite_entries(step: tuple[list[int], list[float]]) -> list[tuple[float, int]]:
    """Return a step's entries, most likely first, each id once; what is not finite is no entry."""
    found: dict[int, float] = {}
    for token, value in zip(*step, strict=True):
        if math.isfinite(value):
            found[token] = max(value, found.get(token, -math.inf))
    return sorted(((value, token) for token, value in found.items()), key=lambda e: (-e[0], e[1]))


def check_log_probs(entries: Sequence[tuple[float, int]], place: str) -> None:
    """Refuse numbers that are no log-probabilities: together they would be more than all.

    Raises:
        DataError: with the mass they would have.
    """
    mass = sum(math.exp(min(value, 50.0)) for value, _ in entries)
    if mass > MOST_MASS:
        raise DataError(
            f"{place} holds numbers whose exponentials sum to {mass:.3g}: logits, or at another"
            " temperature; a cache needs log-probabilities",
            hint="--set temperature=T says at which they were taken; logits cannot be imported, for"
            " their normaliser is not there",
        )
