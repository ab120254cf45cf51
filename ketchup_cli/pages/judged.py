"""The verdicts of a page: how often a judge preferred which text, and what that is worth."""

from collections.abc import Iterator

import msgspec

from ketchup_cli.errors import Damaged
from ketchup_cli.pages import drawing, words
from ketchup_cli.pages.drawing import Axes, Line, Point
from ketchup_cli.pages.parts import Block, Figure, Figures, Section, Table, Words
from ketchup_cli.pages.sources import Source, Sources, read

DOCUMENT = "judge.json"


class _Figure(msgspec.Struct, frozen=True):
    x: str
    y: str
    aspect: str
    units: int
    unjudged: int
    wins: int
    ties: int
    losses: int
    win_rate: float | None = None
    interval: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None
    p_holm: float | None = None
    consistency: float | None = None
    first_slot: float | None = None
    claim: str = ""


class _Controls(msgspec.Struct, frozen=True):
    right: int
    asked: int


class _Document(msgspec.Struct, frozen=True):
    model: str
    figures: tuple[_Figure, ...]
    controls: _Controls
    warnings: tuple[str, ...] = ()


def verdicts(sources: Sources) -> Section | None:
    """Return every judgement: bars of wins, ties and losses, rates with intervals, controls.

    Raises:
        Damaged: a judgement is not what its manifest says.
    """
    found = sources.of("verdicts")
    if not found:
        return None
    return Section(
        anchor="verdicts",
        title="Verdicts",
        lead="A language model was shown both texts in both orders. A win stands only where both orders"
        " say so, which draws the bars to a tie; the rate counts every answer.",
        blocks=tuple(
            block for place, source in enumerate(found) for block in _blocks(source, place)
        ),
    )


def _blocks(source: Source, place: int) -> Iterator[Block]:
    document = _read(source)
    controls = document.controls
    yield Words(
        paragraphs=(
            f"Judge {document.model}: {controls.right} of {controls.asked} controls answered rightly.",
            *dict.fromkeys(figure.claim for figure in document.figures if figure.claim),
            *document.warnings,
        )
    )
    rows = [(_label(figure), figure) for figure in document.figures]
    bars = [(label, (f.wins + 0.0, f.ties + 0.0, f.losses + 0.0)) for label, f in rows]
    told = "; ".join(f"{label}: {f.wins} won, {f.ties} tied, {f.losses} lost" for label, f in rows)
    yield Figures(
        title=source.name,
        figures=(
            Figure(
                title="won, tied, lost by the first",
                drawing=drawing.shares(bars, key=f"verdict-{place}", alt=f"Verdicts: {told}"),
            ),
            *_rates(document, place),
        ),
        caption="The dashed line is one half: neither is preferred.",
        table=_table(document),
    )


def _label(figure: _Figure) -> str:
    return f"{figure.aspect}: {figure.x}, {figure.y}"


def _rates(document: _Document, place: int) -> Iterator[Figure]:
    lines = [
        Line(
            label=_label(figure),
            number=number,
            points=(Point(x=figure.win_rate, y=0.0, bounds=figure.interval),),
        )
        for number, figure in enumerate(document.figures)
        if figure.win_rate is not None
    ]
    if lines:
        told = "; ".join(
            f"{line.label} {words.interval(line.points[0].x, line.points[0].bounds, digits=3)}"
            for line in lines
        )
        axes = Axes(x="", mark=0.5)
        alt = f"Win rate of the first: {told}"
        drawn = drawing.intervals(lines, axes, key=f"rate-{place}", alt=alt)
        yield Figure(title="win rate of the first", drawing=drawn)


def _read(source: Source) -> _Document:
    assert source.artifact is not None
    try:
        return msgspec.json.decode(read(source.artifact, DOCUMENT), type=_Document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(
            f"`{source.artifact.path / DOCUMENT}` is no judgement: {error}", hint="ketchup verify"
        ) from None


def _table(document: _Document) -> Table:
    return Table(
        header=(
            *("aspect", "first", "second", "won", "tied", "lost", "unjudged", "win rate"),
            *("if all unjudged were lost, won", "p (Holm)", "orders agree", "first slot"),
        ),
        rows=tuple(_row(figure) for figure in document.figures),
        numeric=3,
    )


def _row(figure: _Figure) -> tuple[str, ...]:
    counts = (figure.wins, figure.ties, figure.losses, figure.unjudged)
    rate = figure.win_rate
    bounds = "" if figure.bounds is None else ", ".join(f"{end:.3f}" for end in figure.bounds)
    return (
        *(figure.aspect, figure.x, figure.y, *map(str, counts)),
        words.NOTHING if rate is None else words.interval(rate, figure.interval, digits=3),
        bounds,
        *map(words.number, (figure.p_holm, figure.consistency, figure.first_slot)),
    )
