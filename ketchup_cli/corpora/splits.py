"""Reading the rows that stages wrote: the splits of a corpus, and generations."""

import json
import shlex
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import msgspec

from ketchup_cli.corpora.lines import read_lines
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.records import Example, Generation, Rollout
from ketchup_cli.spec import unknown

AnyRecord = TypeVar("AnyRecord", Example, Generation, Rollout)
FIRST_SPLITS = ("train", "dev", "test")
PSEUDO_TARGETS = "pseudo-targets.jsonl"
"""Texts that complete the prompts of their examples."""
PSEUDO_PROMPTS = "pseudo-prompts.jsonl"
"""Texts that are prompts for the first references of their examples."""


def split_order(names: Collection[str]) -> list[str]:
    """Return split names with train, dev and test first and the others by the alphabet."""
    rest = sorted(set(names) - set(FIRST_SPLITS))
    return [name for name in FIRST_SPLITS if name in names] + rest


def split_names(folder: Path) -> list[str]:
    """Return the names of the splits a corpus artifact holds."""
    return split_order({path.stem for path in folder.glob("*.jsonl")})


def read_split(folder: Path, split: str) -> list[Example]:
    """Return the examples of one split of a corpus artifact, in file order.

    Raises:
        SpecError: the corpus has no such split; the splits there are get named.
        DataError: the split is empty or a row cannot be read.
    """
    names = split_names(folder)
    if not names:
        raise SpecError(f"`{folder}` holds no split", hint="ketchup corpus --train FILE")
    if split not in names:
        nearest = get_close_matches(split, names, n=1, cutoff=0.0)[0]
        raise unknown(
            "a split of this corpus", split, names, hint=f"--set split={shlex.quote(nearest)}"
        )
    path = folder / f"{split}.jsonl"
    examples = _read(path, Example)
    _check_unique(path, [example.id for example in examples])
    return examples


def read_generations(path: Path) -> list[Generation]:
    """Return the rows of a `generations.jsonl` or `pseudo-targets.jsonl`, in file order.

    Raises:
        DataError: the file is empty, a row cannot be read, or one sample occurs twice.
    """
    rows = _read(path, Generation)
    _check_unique(path, [f"{row.id}` sample `{row.sample}" for row in rows])
    return rows


def read_rollouts(path: Path) -> list[Rollout]:
    """Return the rows of a `rollouts.jsonl`, in file order.

    Raises:
        DataError: the file is empty, a row cannot be read, or one sample occurs twice.
    """
    rows = _read(path, Rollout)
    _check_unique(path, [f"{row.id}` sample `{row.sample}" for row in rows])
    return rows


def read_pseudo_targets(folder: Path) -> list[Generation]:
    """Return the completions of an artifact of pseudo-targets that holds nothing else.

    Raises:
        SpecError: it holds prompts for references.
        DataError: as `read_generations`.
    """
    if (folder / PSEUDO_PROMPTS).is_file():
        raise SpecError(
            "these pseudo-targets hold prompts for references too, which only a loss without a"
            " teacher reads",
            hint="ketchup seqkd --direction forward",
        )
    return read_generations(folder / PSEUDO_TARGETS)


def read_both_directions(folder: Path) -> tuple[list[Generation], list[Generation]]:
    """Return the completions of an artifact of pseudo-targets, and its prompts; one may be empty.

    Raises:
        DataError: as `read_generations`.
    """
    prompts = folder / PSEUDO_PROMPTS
    if not prompts.is_file():
        return read_generations(folder / PSEUDO_TARGETS), []
    completions = folder / PSEUDO_TARGETS
    there = read_generations(completions) if completions.is_file() else []
    return there, read_generations(prompts)


def languages(folder: Path) -> tuple[str, ...]:
    """Return the language codes declared when the corpus was imported, or nothing."""
    path = folder / "report.json"
    if not path.is_file():
        return ()
    report = json.loads(path.read_bytes())
    return tuple(report.get("languages", ()))


def _read(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    decoder = msgspec.json.Decoder(kind)
    rows: list[AnyRecord] = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            rows.append(decoder.decode(line or b""))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(
                f"`{path}` line {number} is no {kind.__name__.lower()}: {error}",
                hint="ketchup verify",
            ) from None
    if not rows:
        raise DataError(f"`{path}` holds no rows", hint="ketchup show")
    return rows


def _check_unique(path: Path, ids: list[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    twice = [name for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    raise DataError(
        f"`{path}` holds {len(twice)} ids twice, among them "
        + ", ".join(f"`{name}`" for name in twice[:3]),
        hint="ketchup verify",
    )
