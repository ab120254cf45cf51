"""How far the judges of a judgement agree: with each other, with people, and with themselves."""

from collections.abc import Iterator

from ketchup_cli.pages import words
from ketchup_cli.pages.judgement import Document, Human
from ketchup_cli.pages.parts import Table

ALL = "all"
"""Who is held against each other by alpha."""
VERDICTS = ("x", "tie", "y")


def agreement(document: Document) -> Iterator[Table]:
    """Yield Krippendorff's alpha of all judges and Cohen's kappa of every two; nothing for one."""
    rows: list[tuple[str, ...]] = []
    for found in document.agreement:
        told = words.known(found.alpha, found.interval, digits=2)
        rows.append((found.aspect, ALL, f"{found.units:,}", words.NOTHING, "alpha", told))
        for pair in found.pairs:
            told = words.known(pair.kappa, pair.interval, digits=2)
            judges = f"{pair.one}, {pair.other}"
            rows.append((
                *(found.aspect, judges, f"{pair.units:,}", words.share(pair.same)),
                *("kappa", told),
            ))
    if rows:
        yield Table(
            header=("aspect", "judges", "units", "the same", "coefficient", "value"),
            rows=tuple(rows),
            numeric=2,
            caption="How far the judges agree: Krippendorff's alpha of all and Cohen's kappa of two,"
            " nominal, with 95 % intervals over examples. 1 is full agreement, 0 that of chance.",
        )


def people(document: Document) -> Iterator[Table]:
    """Yield every judge beside people, and below it who said what; nothing where nobody was asked."""
    if not document.human:
        return
    yield Table(
        header=(
            *("judge", "aspect", "first", "second", "labelled", "the same", "kappa"),
            *("rate by people", "corrected rate", "sensitivity", "specificity"),
        ),
        rows=tuple(_row(one) for one in document.human),
        numeric=4,
        caption="Beside people. The rate by people is of the examples they labelled; the corrected one is"
        " the judge's of all, set right by how often it missed what they saw (Rogan and Gladen), and"
        " its interval holds the chance in the labels too. Sensitivity is the judge's mean value where"
        " they saw a win, specificity one less that where they saw a loss.",
    )
    yield Table(
        header=("judge", "pair", "people said", *("judge: first", "tie", "second")),
        rows=tuple(row for one in document.human for row in _confusion(one)),
        numeric=3,
        folded="verdicts of people and of judges",
    )


def stability(document: Document) -> Iterator[Table]:
    """Yield how often a judge asked again gave the same answer; nothing where none was."""
    if document.stability:
        yield Table(
            header=("judge", "aspect", "questions", "the same"),
            rows=tuple(
                (
                    *(one.judge, one.aspect, f"{one.questions:,}"),
                    words.known(one.same, one.interval, digits=2),
                )
                for one in document.stability
            ),
            numeric=2,
            caption="Asked again. The chance that two answers of a judge to the same question are the"
            " same, the mean over examples, with a 95 % interval.",
        )


def _row(one: Human) -> tuple[str, ...]:
    return (
        *(one.judge, one.aspect, one.x, one.y, f"{one.units:,}", words.share(one.same)),
        words.known(one.kappa, one.kappa_interval, digits=2),
        words.share(one.human_rate),
        words.known(one.corrected, one.corrected_interval, digits=3),
        *(words.share(one.sensitivity), words.share(one.specificity)),
    )


def _confusion(one: Human) -> Iterator[tuple[str, ...]]:
    said = {"x": one.x, "y": one.y, "tie": "tie"}
    for human, judged in one.confusion.items():
        counts = (f"{judged.get(verdict, 0):,}" for verdict in VERDICTS)
        pair = f"{one.aspect}: {one.x}, {one.y}"
        yield (one.judge, pair, said.get(human, human), *counts)
