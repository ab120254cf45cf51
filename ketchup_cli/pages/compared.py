"""The comparisons of a page: what may be claimed, every difference with its interval and its test."""

from collections.abc import Iterator, Mapping

import msgspec

from ketchup_cli.pages import words
from ketchup_cli.pages.parts import Block, Figure, Figures, Section, Table, Words
from ketchup_cli.pages.sources import Source, Sources, read_document
from ketchup_cli.pages.valued import Look, Valued, valued

DOCUMENT = "comparison.json"
SMALLEST_P = 0.0001


class _Figure(msgspec.Struct, frozen=True):
    value: float
    runs: tuple[float, ...] = ()
    deviation: float | None = None
    interval: tuple[float, float] | None = None


class _System(msgspec.Struct, frozen=True):
    name: str
    figures: dict[str, _Figure]


class _Metric(msgspec.Struct, frozen=True):
    metric: str
    name: str
    signature: str
    better: str = "neither"


class _Pair(msgspec.Struct, frozen=True):
    one: str
    other: str
    metric: str
    difference: float
    interval: tuple[float, float] | None = None
    test: str = ""
    p: float | None = None
    p_holm: float | None = None
    detectable: float | None = None
    claim: str = ""


class _Document(msgspec.Struct, frozen=True):
    metrics: tuple[_Metric, ...]
    systems: tuple[_System, ...]
    pairs: tuple[_Pair, ...]
    split: str = ""
    examples: int = 0
    tests: int = 0
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def claims(sources: Sources) -> tuple[str, ...]:
    """Return what the comparisons of a page say may be claimed, and what may not.

    Raises:
        Damaged: a comparison is not what its manifest says.
    """
    found = sources.of("comparison")
    return tuple(sentence for source in found for sentence in _read(source).sentences)


def comparison(sources: Sources) -> Section | None:
    """Return every comparison: differences as a plot and a table, signatures.

    Raises:
        Damaged: a comparison is not what its manifest says.
    """
    found = sources.of("comparison")
    if not found:
        return None
    return Section(
        anchor="comparison",
        title="Comparison",
        lead="Paired tests on the same items. A difference is the second system less the first; its bar"
        " is the 95 % interval, and p is corrected after Holm over all tests of the comparison.",
        blocks=tuple(
            block for place, source in enumerate(found) for block in _blocks(source, place)
        ),
    )


def _blocks(source: Source, place: int) -> Iterator[Block]:
    document = _read(source)
    if document.warnings:
        yield Words(paragraphs=document.warnings)
    names = {item.metric: item.name for item in document.metrics}
    yield Figures(
        title=f"{source.name}: {document.examples:,} items of {document.split},"
        f" {document.tests} tests",
        figures=tuple(
            _figure(document, item, key=f"difference-{place}-{order}")
            for order, item in enumerate(document.metrics)
        ),
        caption="The dashed line is no difference.",
        table=_differences(document, names),
    )
    yield _values(document)
    yield Table(
        header=("metric", "signature"),
        rows=tuple((item.name, item.signature) for item in document.metrics),
        numeric=2,
        caption="Signatures",
    )


def _read(source: Source) -> _Document:
    return read_document(source, DOCUMENT, _Document, what="comparison")


def _figure(document: _Document, metric: _Metric, *, key: str) -> Figure:
    own = [pair for pair in document.pairs if pair.metric == metric.metric]
    rows = [
        Valued(
            label=f"{pair.other} {words.MINUS} {pair.one}",
            number=number,
            value=pair.difference,
            bounds=pair.interval,
        )
        for number, pair in enumerate(own)
    ]
    better = {"lower": " (lower is better)"}.get(metric.better, "")
    look = Look(
        title=f"difference in {metric.name}{better}",
        about=f"Difference in {metric.name}",
        mark=0.0,
    )
    return valued(rows, look, key=key)


def _differences(document: _Document, names: Mapping[str, str]) -> Table:
    header = ("metric", "first", "second", "difference", "p (Holm)", "detectable", "claim")
    rows = [
        (
            names.get(pair.metric, pair.metric),
            pair.one,
            pair.other,
            words.interval(pair.difference, pair.interval, digits=2),
            _p(pair),
            words.number(pair.detectable),
            _claim(pair),
        )
        for pair in document.pairs
    ]
    return Table(
        header=header,
        rows=tuple(rows),
        numeric=3,
        caption="Detectable is the smallest difference that these items show with 80 % power",
    )


def _p(pair: _Pair) -> str:
    return " ".join(
        f"({told})" if corrected else told
        for corrected, value in enumerate((pair.p, pair.p_holm))
        if (told := _told_p(value))
    )


def _told_p(value: float | None) -> str:
    if value is None:
        return ""
    return f"< {SMALLEST_P}" if value < SMALLEST_P else f"{value:.4f}".rstrip("0").rstrip(".")


def _claim(pair: _Pair) -> str:
    if pair.claim in {"higher", "lower"}:
        return f"{pair.other} is {pair.claim}"
    return pair.claim


def _values(document: _Document) -> Table:
    return Table(
        header=("system", *(item.name for item in document.metrics)),
        rows=tuple(
            (system.name, *(_value(system.figures.get(item.metric)) for item in document.metrics))
            for system in document.systems
        ),
        caption="Values, with 95 % intervals over items, or over items and seeds where there are"
        " several runs",
    )


def _value(figure: _Figure | None) -> str:
    if figure is None:
        return words.NOTHING
    told = words.interval(figure.value, figure.interval, digits=2)
    runs = len(figure.runs)
    return told if runs < 2 else f"{told}, {runs} runs"
