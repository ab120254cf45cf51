"""Rows that another tool has cached, found for the examples they are about."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ketchup_cli.corpora.readers import read_parquet
from ketchup_cli.corpora.rows import Problem
from ketchup_cli.errors import DataError, NotFound
from ketchup_cli.models import foreign
from ketchup_cli.models.encode import Row
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import ImportCacheSpec

FIELDS = (
    "input_ids",
    "compressed_logprobs",
    "bytepacked_indices",
    "token_ids",
    "top_values",
    "packed_indices",
    "target_token_ids",
)
Entries = list[list[tuple[float, int]]]
"""Log-probability and id of the entries of every completion token, most likely first."""


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """An example that is looked for, and its tokens."""

    example: Example
    row: Row


def row_files(path: Path) -> list[Path]:
    """Return the parquet files at a path: itself, or those in the folder, by name.

    Raises:
        NotFound: there is none.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise NotFound(f"`{path}` holds no parquet file", hint=f"ls {shlex.quote(str(path))}")
    return files


def compression_of(path: Path, file: Path) -> foreign.Compression | None:
    """Return how rows were packed; None where the fields say that they were not."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as opened:
        packed = "compressed_logprobs" in opened.schema_arrow.names
    return foreign.read_compression(path if path.is_dir() else path.parent) if packed else None


def find_rows(
    spec: ImportCacheSpec,
    path: Path,
    wanted: Sequence[Wanted],
    *,
    policy: Policy,
    reporter: Reporter,
) -> tuple[list[Entries], int]:
    """Return the entries of every wanted example, and how many rows were about no example.

    Raises:
        DataError: a row cannot be read, or an example has none.
    """
    found: list[Entries | None] = [None] * len(wanted)
    unused = 0
    matches = _matches(spec, path, wanted, policy=policy)
    with reporter.progress("importing", total=len(wanted), unit="examples") as progress:
        for numbers, entries in matches:
            fresh = [number for number in numbers if found[number] is None]
            for number in fresh:
                found[number] = entries
            unused += not fresh
            progress.advance(len(fresh), tokens=len(fresh) * len(entries))
    whole = [entries for entries in found if entries is not None]
    if len(whole) < len(found):
        first = wanted[found.index(None)].example
        raise DataError(
            f"example `{first.id[:12]}` has no row in `{path.name}`: {len(whole):,} of"
            f" {len(found):,} examples were found, and {unused:,} rows are about none of them",
            hint="import the corpus the rows were captured from, with the same template; texts that"
            " were packed together cannot be told apart",
        )
    return whole, unused


def _matches(
    spec: ImportCacheSpec, path: Path, wanted: Sequence[Wanted], *, policy: Policy
) -> Iterator[tuple[list[int], Entries]]:
    """Yield, for every row, which examples it is about and the entries of their tokens."""
    files = row_files(path)
    if spec.format == "axolotl":
        by_text: dict[str, list[int]] = {}
        for number, item in enumerate(wanted):
            by_text.setdefault(item.example.references[0].strip(), []).append(number)
        for place, fields in _rows(files, (*FIELDS, spec.messages_field, spec.logprobs_field)):
            yield _of_messages(spec, fields, place, wanted=wanted, by_text=by_text)
        return
    compression = compression_of(path, files[0])
    by_ids: dict[tuple[int, ...], list[int]] = {}
    for number, item in enumerate(wanted):
        by_ids.setdefault((*item.row.prompt, *item.row.completion), []).append(number)
    for place, fields in _rows(files, FIELDS):
        ids = _candidates(fields.get("input_ids"), policy, place)
        numbers = next((by_ids[key] for key in ids if key in by_ids), [])
        entries: Entries = []
        if numbers:
            first = wanted[numbers[0]].row
            steps = foreign.distillkit_steps(fields, compression, place)
            entries = _aligned(steps, first, place)
        yield numbers, entries


def _rows(files: Sequence[Path], fields: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for file in files:
        for record in read_parquet(file, fields):
            place = f"`{file.name}`, {record.place}"
            if isinstance(record, Problem):
                raise DataError(f"{place}: {record.reason}, {record.detail}")
            yield place, record.fields


def _candidates(ids: Any, policy: Policy, place: str) -> list[tuple[int, ...]]:
    """Return the token lists a row may be about: DistillKit adds one padding token at the end."""
    if not isinstance(ids, list) or not ids:
        raise DataError(f"{place} has no `input_ids`", hint="is it a DistillKit capture?")
    whole = tuple(int(token) for token in ids)
    found = [whole]
    if whole[-1] == policy.pad_id:
        found += [(*whole[:-1], policy.eos_id), whole[:-1]]
    return found


def _aligned(steps: foreign.Steps, row: Row, place: str) -> Entries:
    """Return the steps of the completion: step i is about token i + 1 of prompt and completion."""
    total = len(row.prompt) + len(row.completion)
    if len(steps) < total - 1:
        raise DataError(
            f"{place} has {len(steps)} steps for a text of {total} tokens, of which each but the"
            " first needs one",
            hint="capture it again",
        )
    first = len(row.prompt) - 1
    return [foreign.finite_entries(step) for step in steps[first : first + len(row.completion)]]


def _of_messages(
    spec: ImportCacheSpec,
    fields: Mapping[str, Any],
    place: str,
    *,
    wanted: Sequence[Wanted],
    by_text: Mapping[str, list[int]],
) -> tuple[list[int], Entries]:
    """Return which examples a conversation is about, and the entries of their tokens.

    Its answer must be their reference, and its question stand in their prompt.
    """
    messages = fields.get(spec.messages_field)
    if not isinstance(messages, list):
        raise DataError(
            f"{place} has no list `{spec.messages_field}`",
            hint="--set messages_field=NAME, the field that has the conversation",
        )
    said = {str(item.get("role")): str(item.get("content")) for item in messages}
    question, answer = said.get("user", ""), said.get("assistant", "").strip()
    if len(messages) > len(said):
        return [], []
    numbers = [
        number
        for number in by_text.get(answer, [])
        if question and question.strip() in wanted[number].example.prompt
    ]
    if not numbers:
        return [], []
    steps = foreign.axolotl_steps(fields, spec.logprobs_field, place)
    size = len(wanted[numbers[0]].row.completion)
    if len(steps) != size:
        raise DataError(
            f"{place} has {len(steps)} steps for an answer of {size} tokens, its end token included",
            hint="the answer must end in one step for the end token, and hold the tokenizer's tokens",
        )
    return numbers, [foreign.finite_entries(step) for step in steps]
