"""The plot of the angles: how teacher layers lie around each layer of the student."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from ketchup_cli.lab.angles import Seen
from ketchup_cli.lab.plot import STYLE

COLUMNS = 3
"""Panels side by side at most."""

TICKS = (-1.0, -0.5, 0.0, 0.5, 1.0)

PANEL_INCHES = (3.6, 2.7)


def svg(seen: Sequence[Seen], *, anchor: int) -> bytes:
    """Return the histograms as SVG, one panel a student layer, one curve a teacher layer.

    The same bytes for the same figures: no date, no random ids. The anchor's angle with itself is
    left out, for it is always 0.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    layers = sorted({item.student for item in seen})
    columns = min(COLUMNS, math.isqrt(len(layers) - 1) + 1)
    rows = -(-len(layers) // columns)
    style: Any = dict(STYLE)
    with mpl.rc_context(style):
        size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis, layer in zip(axes.flat, layers, strict=False):
            _draw(axis, [item for item in seen if item.student == layer], anchor=anchor)
        for axis in axes.flat[len(layers) :]:
            axis.set_visible(False)
        figure.supxlabel(f"cosine of the angle to teacher layer {anchor}")
        figure.supylabel("share of tokens")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        look: Any = {"ncols": 2 * columns, "frameon": False}
        if handles:
            figure.legend(handles, labels, loc="outside upper center", **look)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(axis: Any, seen: Sequence[Seen], *, anchor: int) -> None:
    import matplotlib as mpl

    colours = mpl.colormaps["viridis"]
    axis.axvline(0.0, color="0.6", linewidth=0.8)
    for item in seen:
        if item.teacher == anchor:
            continue
        edges = [-1 + 2 * place / len(item.histogram) for place in range(len(item.histogram) + 1)]
        axis.stairs(
            [count / max(1, item.count) for count in item.histogram],
            edges,
            color=colours((item.teacher - 1) / max(1, len(seen) - 1)),
            label=f"teacher layer {item.teacher}",
        )
    axis.set_title(f"student layer {seen[0].student}")
    axis.set(xlim=(-1, 1), xticks=TICKS)
