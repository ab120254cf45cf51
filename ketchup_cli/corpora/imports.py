"""From rows to examples: ids, and a count of everything that was left out."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from ketchup_cli.corpora.hub import read_dataset
from ketchup_cli.corpora.readers import READERS, Record, read_moses, read_parquet
from ketchup_cli.corpora.rows import Problem, Row
from ketchup_cli.corpora.template import Template, Texts
from ketchup_cli.errors import DataError
from ketchup_cli.records import Example
from ketchup_cli.spec import canonical
from ketchup_cli.specs import CorpusSpec

SHOWN_PROBLEMS = 3
"""Problems of each reason the report tells the place of."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the rows of one split come from."""

    split: str
    format: str
    """jsonl, csv, tsv, parquet, moses or datasets."""
    files: tuple[Path, ...] = ()
    """One file; for moses the prompts and then the references; for datasets a local folder."""
    dataset: str = ""
    """`name@revision` on the hub, for datasets without a folder."""
    part: str = ""
    """What the data set itself calls the split."""

    @property
    def owner(self) -> str:
        """The name messages call it by."""
        return str(self.files[0]) if self.files else self.dataset


@final
@dataclass(slots=True)
class Tally:
    """What an import has seen so far; filled while the examples are drawn."""

    examples: int = 0
    references: int = 0
    repeats: int = 0
    """Examples equal to an earlier one of the split, prompt and references."""
    prompt_characters: int = 0
    reference_characters: int = 0
    longest_prompt: int = 0
    longest_reference: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    prompts: Counter[bytes] = field(default_factory=Counter)
    """How often each prompt occurs, by digest."""
    documents: set[str] = field(default_factory=set)

    def add(self, texts: Texts) -> None:
        """Count one example."""
        self.examples += 1
        self.references += len(texts.references)
        self.prompt_characters += len(texts.prompt)
        self.reference_characters += sum(len(text) for text in texts.references)
        self.longest_prompt = max(self.longest_prompt, len(texts.prompt))
        self.longest_reference = max(self.longest_reference, *map(len, texts.references))
        self.prompts[_digest([texts.prompt])] += 1
        if texts.document:
            self.documents.add(texts.document)

    def skip(self, problem: Problem) -> None:
        """Count one row left out."""
        self.skipped[problem.reason] += 1
        shown = self.places.setdefault(problem.reason, [])
        if len(shown) < SHOWN_PROBLEMS:
            shown.append(f"{problem.place}: {problem.detail}")

    def report(self) -> dict[str, Any]:
        """Return the counts as plain tables."""
        documents = {"documents": len(self.documents)} if self.documents else {}
        return {
            "examples": self.examples,
            "references": self.references,
            "repeated_examples": self.repeats,
            "repeated_prompts": self.prompts.total() - len(self.prompts),
            **documents,
            "prompt_characters_mean": round(self.prompt_characters / max(self.examples, 1), 3),
            "prompt_characters_max": self.longest_prompt,
            "reference_characters_mean": round(
                self.reference_characters / max(self.references, 1), 3
            ),
            "reference_characters_max": self.longest_reference,
            "skipped": {
                reason: {"count": count, "first": self.places[reason]}
                for reason, count in sorted(self.skipped.items())
            },
        }


def read_records(source: Source, template: Template) -> Iterator[Record]:
    """Return the rows and problems of a source, in order."""
    if source.format == "moses":
        names = [template.prompt_fields[0], *template.reference_fields]
        return read_moses(source.files, names)
    if source.format == "parquet":
        return read_parquet(source.files[0], template.columns)
    if source.format == "datasets":
        folder = source.files[0] if source.files else None
        return read_dataset(source.dataset, part=source.part, folder=folder)
    return READERS[source.format](source.files[0])


def read_examples(source: Source, spec: CorpusSpec, tally: Tally) -> Iterator[Example]:
    """Return the examples of a source in order, counting into `tally` what becomes of each row.

    Ids are the SHA-256 of the canonical `[prompt, references]`; from the second occurrence of
    the same row on, the number of the occurrence is hashed with them, so that ids are unique
    in a split.

    Raises:
        SpecError: a field no row has.
        DataError: a bad row, unless they are to be skipped; or nothing usable at all.
    """
    template = Template.of(spec)
    seen: Counter[bytes] = Counter()
    first: Row | None = None
    for record in read_records(source, template):
        if first is None and isinstance(record, Row):
            first = record
            if spec.bad_rows == "error":
                template.check_fields(first, owner=source.owner)
        texts = template.apply(record) if isinstance(record, Row) else record
        if isinstance(texts, Problem):
            _refuse(texts, source, spec)
            tally.skip(texts)
            continue
        tally.add(texts)
        example = _example(texts, seen)
        tally.repeats += seen[_digest([texts.prompt, texts.references])] > 1
        yield example
    if not tally.examples:
        raise _nothing(source, template, tally, first)


def _refuse(problem: Problem, source: Source, spec: CorpusSpec) -> None:
    if spec.bad_rows == "error":
        raise DataError(
            f"`{source.owner}` {problem.place}: {problem.reason}: {problem.detail}",
            hint="mend the row, or count and leave out such rows with --set bad_rows=skip",
        )


def _nothing(source: Source, template: Template, tally: Tally, first: Row | None) -> DataError:
    if first is not None and set(tally.skipped) == {"field missing"}:
        template.check_fields(first, owner=source.owner)
    counts = ", ".join(
        f"{count} {reason} ({tally.places[reason][0]})"
        for reason, count in sorted(tally.skipped.items())
    )
    told = f": {counts}" if counts else ""
    return DataError(
        f"split `{source.split}` is empty: no usable row in `{source.owner}`{told}",
        hint="give a file that holds rows, or leave the split out",
    )


def _example(texts: Texts, seen: Counter[bytes]) -> Example:
    content: list[object] = [texts.prompt, texts.references]
    key = _digest(content)
    seen[key] += 1
    if seen[key] > 1:
        content.append(seen[key])
    return Example(
        id=hashlib.sha256(canonical(content)).hexdigest(),
        prompt=texts.prompt,
        references=texts.references,
        document=texts.document,
    )


def _digest(content: object) -> bytes:
    return hashlib.sha256(canonical(content)).digest()[:16]
