"""Plots as SVG through matplotlib: the same bytes for the same numbers, colours left to the page."""

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

from ketchup_cli.pages.vector import embedded, ink, series
from ketchup_cli.pages.words import number, shown

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Marks beside the colours: a model is known without its colour too."""
PANEL_INCHES = (3.7, 2.35)
ROW_INCHES = 0.27
"""Height of a row in a plot of intervals."""
TWO_LINES = 1.45
"""How much higher rows are where a label has two lines."""

STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "ketchup",  # ids of clip paths are random numbers otherwise
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.xmargin": 0.03,
    "axes.unicode_minus": True,
}

Bounds = tuple[float, float] | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place in a plot, with the ends of its interval along y."""

    x: float
    y: float
    bounds: Bounds = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points of one colour and mark, in order."""

    label: str
    number: int
    points: tuple[Point, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What stands at the axes of a plot."""

    x: str
    y: str = ""
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    ticks: tuple[tuple[float, str], ...] = ()
    """Places along x and what is written there; matplotlib chooses where there are none."""
    mark: float | None = None
    """Place along x where a line stands across."""


def curves(lines: Sequence[Line], axes: Axes, *, key: str, alt: str) -> str:
    """Return lines over x, their intervals as bars, as an element of the page."""
    with _figure(PANEL_INCHES) as (figure, axis):
        if axes.mark is not None:
            axis.axvline(axes.mark, color=ink("muted"), linewidth=0.9, linestyle=(0, (3, 2)))
        for line in lines:
            _draw_line(axis, line)
        _dress(axis, axes)
        return _svg(figure, key=key, alt=alt)


def points(lines: Sequence[Line], axes: Axes, *, key: str, alt: str) -> str:
    """Return points with intervals and their labels beside them, as an element of the page."""
    with _figure(PANEL_INCHES) as (figure, axis):
        for line in lines:
            for point in line.points:
                _draw_point(axis, line, point)
        axis.margins(x=0.14, y=0.16)
        _dress(axis, axes)
        for line, above in zip(lines, _sides(lines), strict=True):
            for point in line.points:
                axis.annotate(
                    shown(line.label),
                    (point.x, point.bounds[above] if point.bounds else point.y),
                    xytext=(0, 4 if above else -4),
                    textcoords="offset points",
                    ha="center",
                    va="bottom" if above else "top",
                    color=series(line.number),
                )
        return _svg(figure, key=key, alt=alt)


def intervals(lines: Sequence[Line], axes: Axes, *, key: str, alt: str) -> str:
    """Return one row a line: a mark at its value, a bar as long as its interval."""
    with _figure((PANEL_INCHES[0], _height([line.label for line in lines]))) as (figure, axis):
        if axes.mark is not None:
            axis.axvline(axes.mark, color=ink("muted"), linewidth=0.9, linestyle=(0, (3, 2)))
        for row, line in enumerate(lines):
            colour, mark = series(line.number), MARKERS[line.number % len(MARKERS)]
            for point in line.points:
                if point.bounds is not None:
                    axis.plot(point.bounds, (row, row), color=colour, linewidth=2.2, alpha=0.55)
                axis.plot([point.x], [row], marker=mark, color=colour, markersize=5.5)
        axis.set_ylim(len(lines) - 0.4, -0.6)
        axis.set_yticks(range(len(lines)), labels=[shown(line.label) for line in lines])
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=False, axis="y")
        axis.spines["left"].set_visible(False)
        axis.margins(x=0.08)
        _dress(axis, axes)
        return _svg(figure, key=key, alt=alt)


def shares(rows: Sequence[tuple[str, tuple[float, ...]]], *, key: str, alt: str) -> str:
    """Return one bar a row, divided into its parts: won, tied, lost."""
    with _figure((PANEL_INCHES[0], _height([label for label, _ in rows]))) as (figure, axis):
        for row, (_, parts) in enumerate(rows):
            left = 0.0
            for part, colour in zip(parts, (series(0), ink("rule"), series(1)), strict=True):
                axis.barh(row, part, left=left, color=colour, height=0.6)
                left += part
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_yticks(range(len(rows)), labels=[shown(label) for label, _ in rows])
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=False, axis="y")
        _dress(axis, Axes(x="units"))
        return _svg(figure, key=key, alt=alt)


def _height(labels: Sequence[str]) -> float:
    """Return the height of a plot with so many rows, some with labels of two lines (inches)."""
    high = TWO_LINES if any("\n" in label for label in labels) else 1.0
    return 0.62 + ROW_INCHES * high * max(2, len(labels))


def told(lines: Sequence[Line]) -> str:
    """Return what lines show, in words: where each begins and ends, and its extremes."""
    return "; ".join(
        f"{line.label} goes from {number(line.points[0].y)} at {number(line.points[0].x)} to"
        f" {number(line.points[-1].y)} at {number(line.points[-1].x)}, between"
        f" {number(min(point.y for point in line.points))} and"
        f" {number(max(point.y for point in line.points))}"
        for line in lines
        if line.points
    )


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    colours = {
        "text.color": ink("text"),
        "axes.labelcolor": ink("muted"),
        "axes.edgecolor": ink("rule"),
        "xtick.color": ink("rule"),
        "ytick.color": ink("rule"),
        "xtick.labelcolor": ink("muted"),
        "ytick.labelcolor": ink("muted"),
        "grid.color": ink("rule"),
    }
    style: Any = {**STYLE, **colours}
    with mpl.rc_context(style), warnings.catch_warnings():
        # the browser draws the text with fonts of its own
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        axis = figure.subplots()
        axis.patch.set_visible(False)
        yield figure, axis


def _draw_line(axis: Any, line: Line) -> None:
    colour = series(line.number)
    few = len(line.points) <= 12
    for point in line.points:
        if point.bounds is not None:
            axis.plot((point.x, point.x), point.bounds, color=colour, linewidth=1.0, alpha=0.6)
    axis.plot(
        [point.x for point in line.points],
        [point.y for point in line.points],
        color=colour,
        linewidth=1.5,
        marker=MARKERS[line.number % len(MARKERS)] if few else None,
        markersize=3.5,
    )


def _draw_point(axis: Any, line: Line, point: Point) -> None:
    colour = series(line.number)
    if point.bounds is not None:
        axis.plot((point.x, point.x), point.bounds, color=colour, linewidth=2.2, alpha=0.55)
    mark = MARKERS[line.number % len(MARKERS)]
    axis.plot([point.x], [point.y], marker=mark, color=colour, markersize=5.5)


def _sides(lines: Sequence[Line]) -> list[bool]:
    """Return for each line whether its label goes above; of neighbours one goes below."""
    order = sorted(range(len(lines)), key=lambda place: lines[place].points[0].y)
    above = [True] * len(lines)
    for rank, place in enumerate(order):
        above[place] = rank != 0 or len(lines) == 1
    return above


def _dress(axis: Any, axes: Axes) -> None:
    axis.set_xlabel(shown(axes.x))
    if axes.y:
        axis.set_ylabel(shown(axes.y))
    for scale, of in ((axes.x_scale, axis.xaxis), (axes.y_scale, axis.yaxis)):
        if scale == "log":
            _make_log(axis, of)
    if axes.ticks:
        axis.set_xticks([place for place, _ in axes.ticks], labels=[t for _, t in axes.ticks])
        axis.minorticks_off()


def _make_log(axis: Any, of: Any) -> None:
    """Make an axis logarithmic, its marks plain numbers: matplotlib's own are formulas."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    scale = axis.set_xscale if of is axis.xaxis else axis.set_yscale
    scale("log")
    of.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    of.set_minor_formatter(NullFormatter())


def _svg(figure: Any, *, key: str, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return embedded(buffer.getvalue(), key=key, alt=alt)


def nice_ticks(values: Sequence[float], *, count: int = 4) -> tuple[tuple[float, str], ...]:
    """Return places of the form 1, 2 or 5 times a power of ten around these positive values."""
    low, high = min(values), max(values)
    for factors in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        places = [
            factor * 10.0**power
            for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
            for factor in factors
            if low * 0.7 <= factor * 10.0**power <= high * 1.4
        ]
        if len(places) <= count:
            break
    return tuple((place, f"{place:,g}") for place in places)
