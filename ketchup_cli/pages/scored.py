"""The scores of a page: every figure with its interval, its items and its signature."""

from collections.abc import Sequence

from ketchup_cli.pages import words
from ketchup_cli.pages.parts import Figure, Figures, Section, Table, Words
from ketchup_cli.pages.sources import Sources
from ketchup_cli.pages.systems import System, comparable, metrics, systems
from ketchup_cli.pages.valued import Look, Valued, valued

NOTE = (
    "Bars are 95 % bootstrap intervals over items, for one run of each model. Where two bars"
    " overlap, these intervals alone do not rank the two; where they do not, other seeds may still"
    " differ."
)


def scores(sources: Sources) -> Section | None:
    """Return every metric as a plot and a table, and the signatures."""
    found = [system for system in systems(sources) if system.figures]
    if not found:
        return None
    groups = [
        (metric, place, group)
        for metric in metrics(found)
        for place, group in enumerate(comparable(found, metric))
    ]
    signatures = {
        (words.metric(metric), figure.signature)
        for metric, _, group in groups
        if (figure := group[0].figure(metric))
    }
    return Section(
        anchor="scores",
        title="Scores",
        lead=NOTE,
        blocks=(
            Figures(
                figures=tuple(_figure(*group) for group in groups),
                caption="",
                table=_table(groups),
            ),
            Table(
                header=("metric", "signature"),
                rows=tuple(sorted(signatures)),
                numeric=2,
                caption="Signatures: every setting that changes a figure, in the metric's own words",
            ),
            *_warnings(found),
        ),
    )


Group = tuple[str, int, Sequence[System]]
"""Metric, number of the group among those of the metric, and who may be compared in it."""


def _table(groups: Sequence[Group]) -> Table:
    """Return a row for every metric and set of items, a column for every system."""
    labels = list(dict.fromkeys(system.label for _, _, group in groups for system in group))
    rows = []
    for metric, _, group in groups:
        told = {
            system.label: words.interval(figure.value, figure.interval, digits=2)
            for system in group
            if (figure := system.figure(metric))
        }
        first = group[0].figure(metric)
        items = f"{first.count:,} of {group[0].split}" if first else ""
        rows.append((
            words.metric(metric),
            items,
            *(told.get(label, words.NOTHING) for label in labels),
        ))
    return Table(
        header=("metric", "items", *labels),
        rows=tuple(rows),
        numeric=2,
        caption="Values with 95 % bootstrap intervals",
    )


def _figure(metric: str, place: int, group: Sequence[System]) -> Figure:
    rows = [
        Valued(
            label=system.label,
            number=system.number,
            value=figure.value,
            bounds=figure.interval,
        )
        for system in group
        if (figure := system.figure(metric))
    ]
    name = words.metric(metric)
    lower = " (lower is better)" if metric in words.LOWER_IS_BETTER else ""
    split = f", {group[0].split}" if group[0].split else ""
    look = Look(title=f"{name}{split}{lower}", about=name, digits=1)
    return valued(rows, look, key=f"score-{metric}-{place}")


def _warnings(found: Sequence[System]) -> tuple[Words, ...]:
    """Return what the stages that scored had to warn of."""
    told = [
        f"{system.label}: {warning}."
        for system in found
        if system.scores is not None
        for warning in system.scores.summary.get("warnings", ())
    ]
    return (Words(paragraphs=tuple(told)),) if told else ()
