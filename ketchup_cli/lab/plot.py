"""The plot of the laboratory: what K does to spread and to direction."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ketchup_cli.lab.report import Line

PANELS = (
    ("relative_trace", "trace of the covariance", "log"),
    ("signal_to_noise", "signal to noise", "log"),
    ("cosine", "cosine with the reference", "linear"),
)
"""Figure, title and scale of each panel."""

SIZE_INCHES = (10.5, 3.9)
CAPTION_POINTS = 7
CAPTION_LINE_INCHES = 0.13

STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "ketchup",  # ids of clip paths are random numbers otherwise
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

BESIDE = 1.03
"""Factor by which families stand apart along K, so that their intervals can be told."""

Point = tuple[int, Line]


def svg(lines: Sequence[Line], *, caption: Sequence[str] = ()) -> bytes:
    """Return the plot as SVG, the same bytes for the same figures: no date, no random ids.

    The lines of the caption stand below. KETCHUP estimators that differ in K alone are joined; any other is a dashed line across.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = dict(STYLE)
    with mpl.rc_context(style):
        width, height = SIZE_INCHES
        size = (width, height + CAPTION_LINE_INCHES * len(caption))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(PANELS))
        ticks = _ticks(lines)
        for axis, (name, title, scale) in zip(axes, PANELS, strict=True):
            _draw(axis, lines, name=name)
            axis.set(title=title, xlabel="K", yscale=scale)
            if scale == "linear":  # an estimate without bias may pass 1, a cosine cannot
                axis.set_ylim(max(axis.get_ylim()[0], -1.1), min(axis.get_ylim()[1], 1.1))
            if ticks:
                axis.set_xscale("log", base=2)
                axis.set_xticks(list(ticks), labels=list(ticks.values()))
                axis.minorticks_off()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
        if caption:
            # a label of the whole figure: the layout makes room for it
            figure.supxlabel("\n".join(caption), fontsize=CAPTION_POINTS, x=0.01, ha="left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(axis: Any, lines: Sequence[Line], *, name: str) -> None:
    families, others = _families(lines)
    for number, (label, points) in enumerate(families.items()):
        aside = BESIDE ** (number - (len(families) - 1) / 2)
        shown = [(k * aside, line.figures[name]) for k, line in points]
        shown = [(k, told) for k, told in shown if told.value is not None]
        values = [told.value for _, told in shown]
        (drawn,) = axis.plot([k for k, _ in shown], values, marker="o", markersize=3, label=label)
        for k, told in shown:
            if told.low is not None and told.high is not None:
                axis.plot([k, k], [told.low, told.high], color=drawn.get_color(), linewidth=0.8)
    for line in others:
        value = line.figures[name].value
        if value is not None:
            axis.axhline(value, linestyle="--", linewidth=0.9, color="0.4", label=line.label)


def _families(lines: Sequence[Line]) -> tuple[dict[str, list[Point]], list[Line]]:
    """Return the KETCHUP estimators by what they have in common beside K, and the others."""
    families: dict[str, list[Point]] = {}
    others = []
    for line in lines:
        if "k" in line.objective and line.label.startswith("K="):
            _, _, rest = line.label.partition(" ")
            families.setdefault(rest, []).append((_place(line, lines), line))
        else:
            others.append(line)
    return families, others


def _place(line: Line, lines: Sequence[Line]) -> int:
    """Return K, or for `all` twice the largest K of the plot."""
    if not line.label.startswith("K=all "):
        return int(line.objective["k"])
    return 2 * max((k for k, _ in _numbers(lines)), default=1)


def _numbers(lines: Sequence[Line]) -> list[Point]:
    return [
        (int(line.objective["k"]), line)
        for line in lines
        if line.label.startswith("K=") and not line.label.startswith("K=all ")
    ]


def _ticks(lines: Sequence[Line]) -> dict[int, str]:
    """Return where the marks of the axis of K stand, and what they say."""
    ticks = {k: str(k) for k, _ in _numbers(lines)}
    for line in lines:
        if line.label.startswith("K=all "):
            ticks[_place(line, lines)] = "all"
    return dict(sorted(ticks.items()))
