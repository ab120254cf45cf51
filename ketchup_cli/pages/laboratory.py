"""The laboratory's figures on a page: what K and the other choices do to a gradient."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ketchup_cli.pages import drawing, words
from ketchup_cli.pages.drawing import Axes, Line, Point
from ketchup_cli.pages.parts import Figure, Figures, Section, Table
from ketchup_cli.pages.sources import Source, Sources, read_document

DOCUMENT = "lab.json"
PANELS: Sequence[tuple[str, str, Literal["linear", "log"]]] = (
    ("relative_trace", "trace of the covariance", "log"),
    ("signal_to_noise", "signal to noise", "log"),
    ("cosine", "cosine with the reference", "linear"),
    ("bias", "bias", "linear"),
)
"""Figure, title and scale of each plot."""
BESIDE = 1.04
"""Factor by which families stand apart along K, so that their intervals can be told."""


class _Told(msgspec.Struct, frozen=True):
    value: float | None = None
    low: float | None = None
    high: float | None = None


class _Estimator(msgspec.Struct, frozen=True):
    label: str
    objective: dict[str, Any]
    reference: str
    figures: dict[str, _Told]


class _Document(msgspec.Struct, frozen=True):
    estimators: tuple[_Estimator, ...]
    unit_of_trace: str
    batches: int
    weights: int = 0


def laboratory(sources: Sources) -> Section | None:
    """Return the plots and the table of every laboratory.

    Raises:
        Damaged: a document is not what its manifest says.
    """
    found = sources.of("lab")
    if not found:
        return None
    return Section(
        anchor="laboratory",
        title="K and baseline laboratory",
        lead="Estimators of one policy gradient on the same samples of one student; bars are 95 %"
        " jackknife intervals. A smaller trace is less noise; a cosine below 1 is another direction.",
        blocks=tuple(_figures(source, place) for place, source in enumerate(found)),
    )


def _figures(source: Source, place: int) -> Figures:
    document = read_document(source, DOCUMENT, _Document, what="laboratory's")
    families = _families(document.estimators)
    ticks = _ticks(document.estimators)
    figures = [
        _figure(families, (name, title, scale), ticks, key=f"lab-{place}-{name}")
        for name, title, scale in PANELS
    ]
    return Figures(
        title=source.name,
        figures=tuple(figure for figure in figures if figure is not None),
        caption=f"{document.batches} batches, gradient of {document.weights:,} weights. The trace"
        f" is in units of that of {document.unit_of_trace}; cosine and bias are against the"
        " reference in the table.",
        table=_table(document.estimators),
        legend=tuple((label, number) for number, label in enumerate(families)),
    )


Families = Mapping[str, Sequence[tuple[float, _Estimator]]]


def _families(estimators: Sequence[_Estimator]) -> Families:
    """Return the estimators by what they have in common beside K, each at its place along K."""
    found: dict[str, list[tuple[float, _Estimator]]] = {}
    for item in estimators:
        if _has_k(item):
            _, _, rest = item.label.partition(" ")
            found.setdefault(rest, []).append((_place(item, estimators), item))
        else:
            found.setdefault(item.label, []).append((1.0, item))
    return found


def _has_k(item: _Estimator) -> bool:
    return item.label.startswith("K=") and isinstance(item.objective.get("k"), int)


def _place(item: _Estimator, estimators: Sequence[_Estimator]) -> float:
    """Return K, or for `all` twice the largest K there is."""
    if not item.label.startswith("K=all "):
        return float(item.objective["k"])
    numbers = [
        float(other.objective["k"])
        for other in estimators
        if _has_k(other) and not other.label.startswith("K=all ")
    ]
    return 2 * max(numbers, default=1.0)


def _ticks(estimators: Sequence[_Estimator]) -> tuple[tuple[float, str], ...]:
    return tuple(
        sorted({
            (
                _place(item, estimators),
                item.label.removeprefix("K=").partition(" ")[0],
            )
            for item in estimators
            if _has_k(item)
        })
    )


def _figure(
    families: Families,
    panel: tuple[str, str, Literal["linear", "log"]],
    ticks: tuple[tuple[float, str], ...],
    *,
    key: str,
) -> Figure | None:
    name, title, scale = panel
    lines = [
        Line(
            label=label, number=number, points=tuple(_points(members, name, number, len(families)))
        )
        for number, (label, members) in enumerate(families.items())
    ]
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    lowest = min(min(p.y, *(p.bounds or (p.y,))) for line in lines for p in line.points)
    return Figure(
        title=title,
        drawing=drawing.curves(
            lines,
            Axes(
                x="K",
                x_scale="log",
                y_scale=scale if lowest > 0 else "linear",
                ticks=ticks or ((1.0, ""),),
            ),
            key=key,
            alt=f"{title} by K: {drawing.told(lines)}",
        ),
    )


def _points(
    members: Sequence[tuple[float, _Estimator]], name: str, number: int, count: int
) -> Iterator[Point]:
    aside = BESIDE ** (number - (count - 1) / 2)
    for place, item in members:
        told = item.figures.get(name, _Told())
        if told.value is None:
            continue
        bounds = None if told.low is None or told.high is None else (told.low, told.high)
        yield Point(x=place * aside, y=told.value, bounds=bounds)


def _table(estimators: Sequence[_Estimator]) -> Table:
    return Table(
        header=("estimator", *(title for _, title, _ in PANELS), "mean length", "reference"),
        rows=tuple(
            (
                item.label,
                *(_words(item.figures.get(name, _Told())) for name, _, _ in PANELS),
                _words(item.figures.get("norm", _Told())),
                item.reference,
            )
            for item in estimators
        ),
        folded="the numbers of these plots",
    )


def _words(told: _Told) -> str:
    if told.low is None or told.high is None:
        return words.number(told.value)
    return f"{words.number(told.value)} [{words.number(told.low)}, {words.number(told.high)}]"
