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
    judge: str = ""


class _Controls(msgspec.Struct, frozen=True):
    right: int
    asked: int


class _Judge(msgspec.Struct, frozen=True):
    name: str
    controls: _Controls


class _Rating(msgspec.Struct, frozen=True):
    system: str
    aspect: str
    items: int
    unjudged: int
    ratings: dict[str, int]
    judge: str = ""
    mean: float | None = None
    interval: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None


class _Difference(msgspec.Struct, frozen=True):
    claim: str = ""
    judge: str = ""


class _Agreement(msgspec.Struct, frozen=True):
    aspect: str
    units: int
    alpha: float | None = None
    interval: tuple[float, float] | None = None


class _Place(msgspec.Struct, frozen=True):
    system: str
    place: int
    places: tuple[int, int]
    strength: float
    interval: tuple[float, float]


class _Ranking(msgspec.Struct, frozen=True):
    aspect: str
    systems: tuple[_Place, ...]
    wins: dict[str, dict[str, int]]
    circular: int = 0
    decided: int = 0


class _Document(msgspec.Struct, frozen=True):
    judges: tuple[_Judge, ...]
    figures: tuple[_Figure, ...]
    ratings: tuple[_Rating, ...] = ()
    differences: tuple[_Difference, ...] = ()
    agreement: tuple[_Agreement, ...] = ()
    ranking: tuple[_Ranking, ...] = ()
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
        lead="Of two texts a language model was shown both in both orders. A win stands only where both"
        " orders say so, which draws the bars to a tie; the rate counts every answer. Ratings are of"
        " one text alone, from 1 to 5.",
        blocks=tuple(
            block for place, source in enumerate(found) for block in _blocks(source, place)
        ),
    )


def _blocks(source: Source, place: int) -> Iterator[Block]:
    document = _read(source)
    claims = [_by(one.judge, document) + one.claim for one in document.figures]
    claims += [_by(one.judge, document) + one.claim for one in document.differences]
    agreed = [
        f"Agreement in {one.aspect}, Krippendorff's alpha:"
        f" {words.interval(one.alpha, one.interval, digits=2)} over {one.units} units."
        for one in document.agreement
        if one.alpha is not None
    ]
    yield Words(
        paragraphs=(
            *(
                f"Judge {judge.name}: {judge.controls.right} of {judge.controls.asked} controls"
                " answered rightly."
                for judge in document.judges
            ),
            *filter(None, dict.fromkeys(claims)),
            *agreed,
            *document.warnings,
        )
    )
    if document.ratings:
        yield _rated(document, source, place)
    if document.figures:
        yield _compared(document, source, place)
    if document.ranking:
        yield _ranked(document, place)


def _compared(document: _Document, source: Source, place: int) -> Figures:
    rows = [(_label(figure, document), figure) for figure in document.figures]
    bars = [(label, (f.wins + 0.0, f.ties + 0.0, f.losses + 0.0)) for label, f in rows]
    told = "; ".join(f"{label}: {f.wins} won, {f.ties} tied, {f.losses} lost" for label, f in rows)
    return Figures(
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


def _rated(document: _Document, source: Source, place: int) -> Figures:
    """Return the mean ratings with their intervals, and a table of how often each was given."""
    rows = [
        (f"{_by(figure.judge, document)}{figure.aspect}: {figure.system}", figure)
        for figure in document.ratings
    ]
    lines = [
        Line(
            label=label,
            number=number,
            points=(Point(x=figure.mean, y=0.0, bounds=figure.interval),),
        )
        for number, (label, figure) in enumerate(rows)
        if figure.mean is not None
    ]
    told = "; ".join(f"{line.label} {line.points[0].x:.2f}" for line in lines)
    drawn = drawing.intervals(lines, Axes(x=""), key=f"rating-{place}", alt=f"Mean rating: {told}")
    return Figures(
        title=source.name,
        figures=(Figure(title="mean rating, 1 to 5", drawing=drawn),) if lines else (),
        caption="Intervals are 95 %, over examples.",
        table=Table(
            header=(
                *("aspect", "system", "examples", "unjudged", "mean"),
                *("if all unjudged were 1, 5", *document.ratings[0].ratings),
            ),
            rows=tuple(_rating_row(figure, document) for figure in document.ratings),
            numeric=2,
        ),
    )


def _rating_row(figure: _Rating, document: _Document) -> tuple[str, ...]:
    bounds = "" if figure.bounds is None else ", ".join(f"{end:.2f}" for end in figure.bounds)
    return (
        *(
            _by(figure.judge, document) + figure.aspect,
            figure.system,
            str(figure.items),
            str(figure.unjudged),
        ),
        words.NOTHING
        if figure.mean is None
        else words.interval(figure.mean, figure.interval, digits=2),
        bounds,
        *map(str, figure.ratings.values()),
    )


def _ranked(document: _Document, place: int) -> Figures:
    """Return the strengths of all systems, and how often each won against each other one."""
    names = tuple(one.system for one in document.ranking[0].systems)
    return Figures(
        title="Ranking",
        figures=tuple(
            _strengths(ranking, key=f"ranking-{place}-{number}")
            for number, ranking in enumerate(document.ranking)
        ),
        caption="Strengths after Davidson, in log odds: e to the difference of two is wins by losses."
        " Intervals and the range of places are 95 %, over examples; systems whose ranges meet are"
        " not told apart. Wins are those that both orders say.",
        table=Table(
            header=(
                *("aspect", "system", "place", "strength"),
                *(f"wins over {name}" for name in names),
            ),
            rows=tuple(
                _place_row(ranking, one, names)
                for ranking in document.ranking
                for one in ranking.systems
            ),
            numeric=2,
            caption=" ".join(
                f"{ranking.aspect}: {ranking.circular:,} of {ranking.decided:,} times three verdicts"
                " on an item went round in a circle; by chance a quarter does."
                for ranking in document.ranking
                if ranking.decided
            ),
        ),
    )


def _strengths(ranking: _Ranking, *, key: str) -> Figure:
    lines = [
        Line(
            label=one.system,
            number=number,
            points=(Point(x=one.strength, y=0.0, bounds=one.interval),),
        )
        for number, one in enumerate(ranking.systems)
    ]
    told = "; ".join(
        f"{line.label} {words.interval(line.points[0].x, line.points[0].bounds, digits=2)}"
        for line in lines
    )
    drawn = drawing.intervals(
        lines, Axes(x="", mark=0.0), key=key, alt=f"Strengths in {ranking.aspect}: {told}"
    )
    return Figure(title=f"strength in {ranking.aspect}", drawing=drawn)


def _place_row(ranking: _Ranking, one: _Place, names: tuple[str, ...]) -> tuple[str, ...]:
    best, worst = one.places
    return (
        *(ranking.aspect, one.system),
        f"{one.place}" if best == worst else f"{one.place} [{best} to {worst}]",
        words.interval(one.strength, one.interval, digits=2),
        *(str(ranking.wins[one.system].get(name, words.NOTHING)) for name in names),
    )


def _label(figure: _Figure, document: _Document) -> str:
    return f"{_by(figure.judge, document)}{figure.aspect}: {figure.x}, {figure.y}"


def _by(judge: str, document: _Document) -> str:
    """Return the judge's name before what is its alone, where there are several."""
    return f"{judge}: " if judge and len(document.judges) > 1 else ""


def _rates(document: _Document, place: int) -> Iterator[Figure]:
    lines = [
        Line(
            label=_label(figure, document),
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
        rows=tuple(_row(figure, document) for figure in document.figures),
        numeric=3,
    )


def _row(figure: _Figure, document: _Document) -> tuple[str, ...]:
    counts = (figure.wins, figure.ties, figure.losses, figure.unjudged)
    rate = figure.win_rate
    bounds = "" if figure.bounds is None else ", ".join(f"{end:.3f}" for end in figure.bounds)
    return (
        *(_by(figure.judge, document) + figure.aspect, figure.x, figure.y, *map(str, counts)),
        words.NOTHING if rate is None else words.interval(rate, figure.interval, digits=3),
        bounds,
        *map(words.number, (figure.p_holm, figure.consistency, figure.first_slot)),
    )
