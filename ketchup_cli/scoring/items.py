"""Hypotheses beside their references: joined by id, checked before any library sees them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import DataError
from ketchup_cli.records import Example, Generation

_SHAPE = "hypotheses are a list of texts, references a list of texts for every item"


@final
@dataclass(frozen=True, slots=True)
class Items:
    """One hypothesis and its references per example, in the corpus' order."""

    ids: tuple[str, ...]
    hypotheses: tuple[str, ...]
    """Sample 0 of every example: what is scored."""
    references: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...] = ()
    """What was asked; empty where nobody said."""
    unfinished: tuple[bool, ...] = ()
    """Whether the hypothesis was cut at a length; empty where nobody said."""
    groups: tuple[str, ...] = ()
    """What each example is counted with by group; empty where nobody said."""
    samples: tuple[tuple[str, ...], ...] = ()
    """All texts of an example, sample 0 first; empty where there is one of each."""
    base: tuple[tuple[str, ...], ...] = ()
    """All texts of another model for each example; empty where it is held against none."""


def join(examples: Sequence[Example], generations: Sequence[Generation]) -> Items:
    """Return the first text (sample 0) of every example beside its references.

    Raises:
        DataError: an example without a text, a text without an example, or a text twice; three
            of their ids are named.
    """
    first = [row for row in generations if row.sample == 0]
    counts = Counter(row.id for row in first)
    texts = {row.id: row.text for row in first}
    wanted = [example.id for example in examples]
    known = set(wanted)
    _refuse((id for id in wanted if id not in texts), "examples have no generation (sample 0)")
    _refuse((row.id for row in generations if row.id not in known), "generations have no example")
    _refuse((id for id, count in counts.items() if count > 1), "examples have two generations")
    _refuse((id for id, count in Counter(wanted).items() if count > 1), "examples occur twice")
    unfinished = {row.id for row in first if row.stop == "length"}
    return Items(
        ids=tuple(wanted),
        hypotheses=tuple(texts[id] for id in wanted),
        references=tuple(example.references for example in examples),
        prompts=tuple(example.prompt for example in examples),
        unfinished=tuple(id in unfinished for id in wanted),
        groups=tuple(example.group for example in examples),
        samples=_samples(wanted, generations),
    )


def _samples(ids: Sequence[str], generations: Sequence[Generation]) -> tuple[tuple[str, ...], ...]:
    """Return all texts of every example in the order of their samples, where there are several."""
    several = Counter((row.id, row.sample) for row in generations)
    _refuse((id for (id, _), count in several.items() if count > 1), "examples have a sample twice")
    if len(several) == len(ids):
        return ()
    by_id: dict[str, list[Generation]] = {id: [] for id in ids}
    for row in sorted(generations, key=lambda row: row.sample):
        by_id[row.id].append(row)
    return tuple(tuple(row.text for row in by_id[id]) for id in ids)


def _refuse(ids: Iterable[str], what: str) -> None:
    found = list(dict.fromkeys(ids))
    if found:
        named = ", ".join(f"`{id}`" for id in found[:3])
        raise DataError(
            f"{len(found)} {what}, among them {named}",
            hint="generate and score the same split of the same corpus, without skipped rows",
        )


def check_items(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse anything but n texts and n non-empty lists of texts, n >= 1.

    A metric library takes other shapes without a word and returns a wrong number.

    Raises:
        DataError: with the index of the first item that is wrong.
    """
    for name, value in (("hypotheses", hypotheses), ("references", references)):
        if not isinstance(value, (list, tuple)):
            raise DataError(f"{name} are a {type(value).__name__}, not a list", hint=_SHAPE)
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} hypotheses and references for {len(references)} items", hint=_SHAPE
        )
    if not hypotheses:
        raise DataError("there is nothing to score", hint="give at least one item")
    for index, (text, several) in enumerate(zip(hypotheses, references, strict=True)):
        if not isinstance(text, str):
            raise DataError(f"hypothesis {index} is a {type(text).__name__}, not a text")
        if not isinstance(several, (list, tuple)):
            what = type(several).__name__
            raise DataError(f"references of item {index} are a {what}, not a list", hint=_SHAPE)
        if not several or not all(isinstance(reference, str) for reference in several):
            raise DataError(f"item {index} has no reference, or one that is no text", hint=_SHAPE)
