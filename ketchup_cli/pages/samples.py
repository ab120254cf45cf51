"""Items of a page, drawn by the hash of their ids: the prompt, the reference, and every model's text."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ketchup_cli import corpora
from ketchup_cli.pages import words
from ketchup_cli.pages.differences import pieces
from ketchup_cli.pages.parts import Sample, Samples, Section, Side, Words
from ketchup_cli.pages.sources import Source, Sources, checked, has_file, read
from ketchup_cli.pages.systems import System, systems
from ketchup_cli.records import Example

TEXTS = "generations.jsonl"
ITEMS = "items.jsonl"
LONGEST = 4000
"""Letters of a text that are shown."""

Texts = Mapping[str, tuple[str, str]]
"""Id to text and why it ended."""


def samples(sources: Sources, *, count: int) -> Section | None:
    """Return some items side by side, from the largest group of texts for one split.

    Raises:
        Damaged: texts or their corpus are not what the manifests say.
    """
    group = _group(systems(sources))
    if not group or count < 1:
        return None
    first = group[0].texts
    corpus = sources.get(first.input("corpus"))
    texts = [_texts(system.texts) for system in group]
    examples = _examples(corpus, group[0].split, set.intersection(*map(set, texts)))
    if isinstance(examples, str):
        return _section((Words(paragraphs=(examples,)),))
    chosen = sorted(examples, key=lambda row: hashlib.sha256(row.id.encode()).digest())[:count]
    figures = [_figures(system) for system in group]
    items = tuple(_sample(row, group, texts, figures) for row in chosen)
    metric = next((system.figures[0].metric for system in group if system.figures), "")
    note = f" The figure is {words.metric(metric)} of the one text." if metric else ""
    lead = (
        f"{len(items)} of the {len(examples):,} items of {group[0].split} that all these systems"
        f" answered, drawn by the hash of their ids and not by anybody's choice.{note}"
    )
    return _section((Samples(items=items),), lead)


def _section(blocks: tuple[Any, ...], lead: str = "") -> Section:
    return Section(anchor="items", title="Items", lead=lead, blocks=blocks)


def _group(found: Sequence[System]) -> list[System]:
    """Return the largest group of systems that answered one split of one corpus."""
    groups: dict[tuple[str, str], dict[str, System]] = {}
    for system in found:
        artifact = system.texts.artifact
        if artifact is not None and has_file(artifact, TEXTS):
            place = (system.texts.input("corpus") or "", system.split)
            groups.setdefault(place, {}).setdefault(system.texts.key, system)
    return list(max(groups.values(), key=len, default={}).values())


def _texts(source: Source) -> Texts:
    assert source.artifact is not None
    rows = corpora.read_generations(checked(source.artifact, TEXTS))
    return {row.id: (row.text, row.stop) for row in rows if row.sample == 0}


def _examples(corpus: Source | None, split: str, wanted: set[str]) -> list[Example] | str:
    """Return the examples of a split that are wanted, or why there are none."""
    if corpus is None or corpus.artifact is None:
        return "The corpus is not in the store, so the items cannot be shown."
    name = f"{split}.jsonl"
    if not has_file(corpus.artifact, name):
        return f"The corpus has no split {split}, so the items cannot be shown."
    checked(corpus.artifact, name)
    rows = corpora.read_split(corpus.artifact.path, split)
    return [row for row in rows if row.id in wanted]


def _figures(system: System) -> Mapping[str, float]:
    """Return the first metric's value of every item, by id."""
    source = system.scores
    if source is None or source.artifact is None or not has_file(source.artifact, ITEMS):
        return {}
    metric = system.figures[0].metric if system.figures else ""
    rows = [json.loads(line) for line in read(source.artifact, ITEMS).splitlines() if line]
    return {
        row["id"]: float(row["values"][metric])
        for row in rows
        if row.get("values", {}).get(metric) is not None
    }


def _sample(
    row: Example,
    group: Sequence[System],
    texts: Sequence[Texts],
    figures: Sequence[Mapping[str, float]],
) -> Sample:
    sides = []
    for system, written, values in zip(group, texts, figures, strict=True):
        text, stop = written[row.id]
        notes = [f"{values[row.id]:.1f}"] if row.id in values else []
        notes += ["cut"] if stop == "length" else []
        held = pieces(_cut(text), [_cut(reference) for reference in row.references])
        sides.append(
            Side(
                label=system.label,
                number=system.number,
                note=", ".join(notes),
                pieces=tuple((mark, words.shown(piece)) for mark, piece in held),
            )
        )
    return Sample(
        id=row.id[: words.SHORT_ID],
        prompt=words.shown(_cut(row.prompt)),
        references=tuple(words.shown(_cut(reference)) for reference in row.references),
        sides=tuple(sides),
    )


def _cut(text: str) -> str:
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[:LONGEST]} […] ({more:,} letters more)"
