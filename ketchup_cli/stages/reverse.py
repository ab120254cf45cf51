"""Turn the texts of a corpus around: a corpus with both directions of a split, or one of each.

For causal models. A row becomes the whole text, prompt and first reference, from last to first; its
prompt is then the first piece, a word or an entity, and all others are learnt, as there is nothing
to predict the first from. Other splits are copied as they are.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import msgspec

from ketchup_cli import corpora
from ketchup_cli.corpora import reversal
from ketchup_cli.corpora.lines import read_lines
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.records import Example
from ketchup_cli.reporting import Reporter
from ketchup_cli.spec import canonical
from ketchup_cli.specs import ReverseSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

ENTITIES = "entities"
Entities = frozenset[tuple[str, ...]]


@final
@dataclass(slots=True)
class Tally:
    """What was turned around so far."""

    texts: int = 0
    words_before: int = 0
    words_after: int = 0
    entities: int = 0
    entities_cut: int = 0
    forward: set[bytes] = field(default_factory=set)
    """Digests of the texts of the split, in either direction."""


def plan(spec: ReverseSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines.

    Raises:
        SpecError: entities are asked for from a file, and none is named.
        DataError: the file of entities holds none.
    """
    names = _entities(spec, inputs)
    told = f", {len(names):,} listed entities" if names else ""
    how = "both directions" if spec.match == "data" else f"{spec.share:.0%} turned around"
    return (("reverse", f"{spec.mode} by {spec.mode} in `{spec.split}`{told}: {how}"),)


def run(
    spec: ReverseSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write every split, one of them turned around, and `report.json`.

    Returns:
        Counts of texts, words and entities, and what other splits share with it.

    Raises:
        SpecError: no such split, or no file of entities where one is asked for.
        DataError: an example without a reference, or of one piece.
    """
    names = _entities(spec, inputs)
    folder = inputs["corpus"].path
    examples = corpora.read_split(folder, spec.split)
    tally = Tally()
    build.write_rows(f"{spec.split}.jsonl", _both(examples, spec, names, tally))
    shared, counts = 0, {spec.split: len(examples) + tally.texts * (spec.match == "data")}
    for other in corpora.split_names(folder):
        if other != spec.split:
            rows = corpora.read_split(folder, other)
            counts[other] = len(rows)
            build.write_rows(f"{other}.jsonl", iter(rows))
            shared += sum(_digest(_words(row)) in tally.forward for row in rows)
    if shared:
        reporter.note("warning", f"{shared:,} texts of other splits are in it, in a direction")
    report = {
        "languages": list(corpora.languages(folder)),
        "turned": tally.texts,
        "words_before": tally.words_before,
        "words_after": tally.words_after,
        "entities": tally.entities,
        "entities_cut": tally.entities_cut,
        "shared_texts": shared,
    }
    build.write_json("report.json", report)
    del report["languages"]
    return {"examples": counts, **report}


def _both(
    examples: list[Example], spec: ReverseSpec, names: Entities, tally: Tally
) -> Iterator[Example]:
    """Yield every example, its reverse after it or in its place."""
    for example in examples:
        words = _words(example)
        tally.words_before += len(words)
        drawn = random.Random(f"{spec.seed}\x1f{example.id}")
        turns = spec.match == "data" or drawn.random() < spec.share
        if spec.match == "data" or not turns:
            tally.words_after += len(words)
            tally.forward.add(_digest(words))
            yield example
        if turns:
            tally.texts += 1
            yield _turned(example, words, spec, names, drawn=drawn, tally=tally)


def _turned(
    example: Example,
    words: list[str],
    spec: ReverseSpec,
    names: Entities,
    *,
    drawn: random.Random,
    tally: Tally,
) -> Example:
    """Return a row from last to first, marked as such."""
    content = [example.id, spec.mode, example.group]
    id = hashlib.sha256(canonical(["reversed", *content])).hexdigest()
    if spec.mode == "tokens":
        # the words stay: ids are turned around once there is a tokenizer
        tally.words_after += len(words)
        return msgspec.structs.replace(example, id=id, reversed="tokens")
    spans = _spans(words, spec, names, drawn)
    if spec.mode == "random":
        after = reversal.separated(words, spans)
        first = spans[-1][1] - spans[-1][0]
    else:
        after = reversal.turned(words, spans)
        first = next((end - start for start, end in spans if end == len(words)), 1)
    cut, known = reversal.cut_entities(words, after, names)
    tally.entities_cut += cut
    tally.entities += known
    tally.words_after += len(after)
    tally.forward.add(_digest(after))
    if first >= len(after):
        first = 1
    prompt, rest = " ".join(after[:first]), " ".join(after[first:])
    return Example(
        id=id,
        prompt=prompt,
        references=(f" {rest}",),
        group=example.group,
        document=example.document,
        reversed="text",
    )


def _spans(
    words: list[str], spec: ReverseSpec, names: Entities, drawn: random.Random
) -> list[reversal.Span]:
    if spec.mode == "random":
        return reversal.segments(len(words), most=spec.most, random_=drawn)
    if spec.mode == "word":
        return []
    if spec.entities == "listed":
        return reversal.listed_spans(words, names)
    return reversal.capitalised_spans(words)


def _words(example: Example) -> list[str]:
    """Return the words of the whole text.

    Raises:
        DataError: there is no reference, or a single word.
    """
    words = [
        *example.prompt.split(),
        *(example.references[0].split() if example.references else ()),
    ]
    if not example.references or len(words) < 2:
        raise DataError(
            f"example `{example.id[:12]}` has no text to turn around: a prompt and a reference",
            hint="leave such rows out of the corpus",
        )
    return words


def _digest(words: list[str]) -> bytes:
    return hashlib.sha256(" ".join(words).encode()).digest()[:16]


def _entities(spec: ReverseSpec, inputs: Mapping[str, Input]) -> Entities:
    """Return the entities of the file, a tuple of words each; none without a file."""
    if ENTITIES not in inputs:
        if spec.mode == "entity" and spec.entities == "listed":
            raise SpecError(
                "mode `entity` keeps listed entities whole, and no list is named",
                hint="--entities FILE, a name a line, or --set entities=capitalised",
            )
        return frozenset()
    path = inputs[ENTITIES].path
    lines = [(line or b"").decode("utf-8", errors="replace").split() for line in read_lines(path)]
    found = frozenset(tuple(words) for words in lines if words)
    if not found:
        raise DataError(f"`{path}` holds no entity", hint="a name a line")
    return found
