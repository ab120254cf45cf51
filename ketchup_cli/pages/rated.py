"""The ratings of a judgement: the mean of every system, and how far two systems are apart."""

from collections.abc import Iterator

from ketchup_cli.pages import words
from ketchup_cli.pages.judgement import Difference, Document, Rating
from ketchup_cli.pages.parts import Block, Figures, Table
from ketchup_cli.pages.valued import Bar, panels, two_names


def rated(document: Document, name: str, *, key: str) -> Iterator[Block]:
    """Yield the mean ratings, and the differences where there are several systems.

    Args:
        document: a judgement that has ratings.
        name: of it.
        key: a word no other drawing of the page begins with.
    """
    means = [
        Bar(
            panel=f"{document.by(one.judge)}{one.aspect}: mean rating",
            label=one.system,
            value=one.mean,
            bounds=one.interval,
        )
        for one in document.ratings
    ]
    yield Figures(
        title=name,
        figures=panels(means, key=key),
        caption="Intervals are 95 %, over examples. Spread is the standard deviation between examples,"
        " length the mean number of characters; then how often each rating was given.",
        table=Table(
            header=(
                *("aspect", "system", "examples", "unjudged", "mean"),
                *("if all unjudged were 1, 5", "spread", "length", *document.ratings[0].ratings),
            ),
            rows=tuple(_row(figure, document) for figure in document.ratings),
            numeric=2,
        ),
    )
    if document.differences:
        yield _differences(document, key=f"{key}-apart")


def _row(figure: Rating, document: Document) -> tuple[str, ...]:
    return (
        *(document.by(figure.judge) + figure.aspect, figure.system),
        *(str(figure.items), str(figure.unjudged)),
        words.known(figure.mean, figure.interval, digits=2),
        words.ends(figure.bounds, digits=2),
        words.number(figure.deviation),
        words.number(figure.characters),
        *map(str, figure.ratings.values()),
    )


def _differences(document: Document, *, key: str) -> Figures:
    apart = [
        Bar(
            panel=f"{document.by(one.judge)}{one.aspect}: difference of ratings",
            label=two_names(one.x, one.y, between=f" {words.MINUS}"),
            value=one.difference,
            bounds=one.interval,
        )
        for one in document.differences
    ]
    return Figures(
        title="Differences",
        figures=panels(apart, key=key, mark=0.0),
        caption="The first less the second, over the examples rated in both. The dashed line is no"
        " difference; p is corrected after Holm; detectable is the smallest difference that so many"
        " examples show with 80 % power.",
        table=Table(
            header=(
                *("aspect", "first", "second", "examples", "unjudged", "difference"),
                *("at the worst, best for the first", "p (Holm)", "detectable"),
            ),
            rows=tuple(_difference_row(one, document) for one in document.differences),
            numeric=3,
        ),
    )


def _difference_row(one: Difference, document: Document) -> tuple[str, ...]:
    return (
        *(document.by(one.judge) + one.aspect, one.x, one.y, str(one.items), str(one.unjudged)),
        words.known(one.difference, one.interval, digits=2),
        words.ends(one.bounds, digits=2),
        *map(words.number, (one.p_holm, one.detectable)),
    )
