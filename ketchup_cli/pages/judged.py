"""The verdicts of a page: how often a judge preferred which text, and what that is worth."""

from collections.abc import Iterator

from ketchup_cli.pages import drawing, words
from ketchup_cli.pages.agreed import agreement, people, stability
from ketchup_cli.pages.judgement import DOCUMENT, Difference, Document, Judge, Pair, Place, Ranking
from ketchup_cli.pages.parts import Block, Figure, Figures, Section, Table, Words
from ketchup_cli.pages.rated import rated
from ketchup_cli.pages.sources import Source, Sources, read_document
from ketchup_cli.pages.valued import Bar, panels, two_names

PANEL = "panel"
"""Who speaks for several judges together."""
COLUMNS = (
    ("won, tied, lost", "By the first. A win is one only where both orders say so; all else is tied."),
    ("unjudged", "Examples of which an answer came to nothing. They are in no rate."),
    ("win rate", "Mean over examples and both orders, a tie counting half, with its 95 % interval."),
    ("if all unjudged were lost, won", "The rate at the worst and at the best for the first."),
    ("p (Holm)", "Of no preference: signs flipped at random, corrected for all tests here."),
    ("detectable", "The smallest win rate that so many examples show with 80 % power."),
    ("orders agree", "Share of examples on which both orders say the same."),
    ("first slot", "Share of decisive answers for what was shown first: 50 % is no lean."),
    ("at equal length", "The rate a logistic fit gives to two texts of one length: beside the rate, not instead."),
    ("length", "Characters of the first by those of the second."),
)  # fmt: skip
"""What stands in each column of the pairs, a line each."""


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
    document = read_document(source, DOCUMENT, Document, what="judgement")
    every: tuple[Pair | Difference, ...] = (*document.figures, *document.differences)
    found = [one for one in every if one.claim]
    panel = [one for one in found if one.judge == PANEL]
    claims = [document.by(one.judge) + one.claim for one in panel or found]
    yield Words(
        paragraphs=(
            *(_controls(judge) for judge in document.judges),
            *dict.fromkeys(claims),
            *_together(document),
            *document.warnings,
        )
    )
    if panel:
        rows = tuple((one.judge, one.claim) for one in found if one.judge != PANEL)
        yield Table(
            header=("judge", "what may be said"),
            rows=tuple(dict.fromkeys(rows)),
            numeric=2,
            folded="what each judge says alone",
        )
    if document.ratings:
        yield from rated(document, source.name, key=f"rating-{place}")
    if document.figures:
        yield _compared(document, source.name, place)
        yield Table(
            header=("column", "what it says"), rows=COLUMNS, numeric=2, folded="the columns"
        )
    if document.ranking:
        yield _ranked(document, place)
    yield from agreement(document)
    yield from people(document)
    yield from stability(document)


def _controls(judge: Judge) -> str:
    controls = judge.controls
    kinds = ", ".join(f"{kind} {count}" for kind, count in controls.by_kind.items())
    told = f"{controls.right} of {controls.asked} controls answered rightly"
    return f"Judge {judge.name}: {told}" + (f" ({kinds})." if kinds else ".")


def _together(document: Document) -> Iterator[str]:
    found = document.clusters
    if found is not None and found.shared:
        yield (
            f"{found.shared:,} examples share a document or a source with another and are drawn"
            f" together: {found.count:,} independent ones."
        )


def _compared(document: Document, name: str, place: int) -> Figures:
    rates = [
        Bar(
            panel=f"{document.by(one.judge)}{one.aspect}: win rate of the first",
            label=two_names(one.x, one.y),
            value=one.win_rate,
            bounds=one.interval,
        )
        for one in document.figures
    ]
    return Figures(
        title=name,
        figures=(
            *_shares(document, place),
            *panels(rates, key=f"rate-{place}", digits=3, mark=0.5),
        ),
        caption="The dashed line is one half: neither is preferred.",
        table=Table(
            header=(
                *("aspect", "first", "second", "won", "tied", "lost", "unjudged", "win rate"),
                *("if all unjudged were lost, won", "p (Holm)", "detectable", "orders agree"),
                *("first slot", "at equal length", "length"),
            ),
            rows=tuple(_row(figure, document) for figure in document.figures),
            numeric=3,
        ),
    )


def _shares(document: Document, place: int) -> Iterator[Figure]:
    """Yield the bars of wins, ties and losses of every judge on every aspect."""
    groups: dict[str, list[Pair]] = {}
    for figure in document.figures:
        groups.setdefault(document.by(figure.judge) + figure.aspect, []).append(figure)
    for number, (title, pairs) in enumerate(groups.items()):
        bars = [
            (two_names(one.x, one.y), (float(one.wins), float(one.ties), float(one.losses)))
            for one in pairs
        ]
        told = "; ".join(
            f"{one.x}, {one.y}: {one.wins} won, {one.ties} tied, {one.losses} lost" for one in pairs
        )
        key, alt = f"verdict-{place}-{number}", f"Verdicts, {title}: {told}"
        yield Figure(
            title=f"{title}: won, tied, lost by the first",
            drawing=drawing.shares(bars, key=key, alt=alt),
        )


def _row(figure: Pair, document: Document) -> tuple[str, ...]:
    counts = (figure.wins, figure.ties, figure.losses, figure.unjudged)
    return (
        *(document.by(figure.judge) + figure.aspect, figure.x, figure.y, *map(str, counts)),
        words.known(figure.win_rate, figure.interval, digits=3),
        words.ends(figure.bounds, digits=3),
        *map(
            words.number,
            (
                *(figure.p_holm, figure.detectable, figure.consistency, figure.first_slot),
                *(figure.length_adjusted, figure.length_ratio),
            ),
        ),
    )


def _ranked(document: Document, place: int) -> Figures:
    """Return the strengths of all systems, and how often each won against each other one."""
    names = tuple(one.system for one in document.ranking[0].systems)
    strengths = [
        Bar(
            panel=f"{ranking.aspect}: strength",
            label=one.system,
            value=one.strength,
            bounds=one.interval,
        )
        for ranking in document.ranking
        for one in ranking.systems
    ]
    return Figures(
        title="Ranking",
        figures=panels(strengths, key=f"ranking-{place}", mark=0.0),
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


def _place_row(ranking: Ranking, one: Place, names: tuple[str, ...]) -> tuple[str, ...]:
    best, worst = one.places
    return (
        *(ranking.aspect, one.system),
        f"{one.place}" if best == worst else f"{one.place} [{best} to {worst}]",
        words.interval(one.strength, one.interval, digits=2),
        *(str(ranking.wins[one.system].get(name, words.NOTHING)) for name in names),
    )
