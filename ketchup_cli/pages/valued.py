"""Plots of values with their intervals, a row each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.pages import drawing, words
from ketchup_cli.pages.drawing import Axes, Bounds, Line, Point
from ketchup_cli.pages.parts import Figure

SHORT = 20
"""Characters of a label up to which two names stand in one line."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """One row."""

    label: str
    number: int
    """Decides colour and mark."""
    value: float
    bounds: Bounds = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a plot is told and drawn."""

    title: str
    about: str
    """What the values are, for who does not see the plot."""
    digits: int = 2
    mark: float | None = None
    """Place along the values where a line stands across."""


def valued(rows: Sequence[Valued], look: Look, *, key: str) -> Figure:
    """Return a plot of the rows in order; `key` is a word no other drawing of the page has."""
    told = "; ".join(
        f"{row.label} {words.interval(row.value, row.bounds, digits=look.digits)}" for row in rows
    )
    lines = [
        Line(
            label=row.label,
            number=row.number,
            points=(Point(x=row.value, y=0.0, bounds=row.bounds),),
        )
        for row in rows
    ]
    return Figure(
        title=look.title,
        drawing=drawing.intervals(
            lines, Axes(x="", mark=look.mark), key=key, alt=f"{look.about}: {told}"
        ),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a panel; without a value it is left out."""

    panel: str
    """Title of the plot it stands in."""
    label: str
    value: float | None
    bounds: Bounds = None


def panels(
    bars: Sequence[Bar], *, key: str, digits: int = 2, mark: float | None = None
) -> tuple[Figure, ...]:
    """Return a plot for every panel that has a value, in the order of the bars."""
    found: dict[str, list[Valued]] = {}
    for bar in bars:
        if bar.value is not None:
            own = found.setdefault(bar.panel, [])
            own.append(Valued(label=bar.label, number=len(own), value=bar.value, bounds=bar.bounds))
    return tuple(
        valued(rows, Look(title=panel, about=panel, digits=digits, mark=mark), key=f"{key}-{place}")
        for place, (panel, rows) in enumerate(found.items())
    )


def two_names(one: str, other: str, *, between: str = ",") -> str:
    """Return a label of two names, in two lines where it is long."""
    label = f"{one}{between} {other}"
    return label if len(label) <= SHORT else f"{one}{between}\n{other}"
