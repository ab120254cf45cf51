"""The curves of every training run on a page: what its log says, update by update."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ketchup_cli.pages import drawing, words
from ketchup_cli.pages.drawing import Axes, Line, Point
from ketchup_cli.pages.parts import Figure, Figures, Section, Table
from ketchup_cli.pages.sources import Source, Sources, has_file, read
from ketchup_cli.pages.systems import base, model_numbers

LOG = "logs/metrics.jsonl"
MOST_POINTS = 60
"""Points of a curve; where a run has more updates, each is the mean of some of them."""
PANELS: Mapping[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "return": ("return",),
    "variance of the return": ("return_variance",),
    "variance of the advantage": ("advantage_variance",),
    "gradient norm": ("gradient_norm",),
    "entropy": ("entropy",),
    "length": ("student_length", "teacher_length", "data_length"),
}
"""Title, and the names in the log; of several those that are there share the panel."""
UNITS: Mapping[str, str] = {
    "return": "return (nats of teacher logit)",
    "entropy": "entropy (nats)",
    "length": "length (tokens)",
}

Row = Mapping[str, Any]


def curves(sources: Sources) -> Section | None:
    """Return one group of plots for every model with a log.

    Raises:
        Damaged: a log is not what its manifest says.
    """
    numbers = model_numbers(sources)
    blocks = [
        _figures(source, numbers.get(source.key, 0), place)
        for place, source in enumerate(sources.of("model"))
        if source.artifact is not None and has_file(source.artifact, LOG)
    ]
    found = tuple(block for block in blocks if block is not None)
    if not found:
        return None
    return Section(
        anchor="curves",
        title="Training",
        lead="The dashed line stands at the update whose weights were kept. Losses of different"
        " objectives are different quantities: compare within a run, not between runs.",
        blocks=found,
    )


def rows_of(source: Source) -> tuple[list[Row], list[Row]]:
    """Return the updates of a log, and its validations; a torn last line is left out."""
    assert source.artifact is not None
    updates: dict[int, Row] = {}
    validations: dict[int, Row] = {}
    for line in read(source.artifact, LOG).decode("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or not isinstance(row.get("update"), int):
            continue
        event = row.get("event")
        if event == "validation":
            validations[row["update"]] = row
        elif event is None:
            updates[row["update"]] = row
    return list(updates.values()), list(validations.values())


def _figures(source: Source, number: int, place: int) -> Figures | None:
    updates, validations = rows_of(source)
    metric = str(source.summary.get("metric", "loss"))
    width = -(-len(updates) // MOST_POINTS) if updates else 1
    panels = [*_panels(updates, width), *_dev_panels(validations, metric)]
    if not panels:
        return None
    name, kept = base(source.name), source.summary.get("best_update")
    figures = []
    for order, (title, label, series) in enumerate(panels):
        lines = [
            Line(label=told, number=number + shift, points=points)
            for shift, (told, points) in enumerate(series)
        ]
        figures.append(
            Figure(
                title=title,
                drawing=drawing.curves(
                    lines,
                    Axes(x="update", y=label, mark=None if kept is None else float(kept)),
                    key=f"curve-{place}-{order}",
                    alt=f"{title} of {name} by update: {drawing.told(lines)}",
                ),
            )
        )
    each = "an update" if width == 1 else f"the mean of {width} updates"
    return Figures(
        title=name,
        figures=tuple(figures),
        caption=" ".join(filter(None, [f"Each point is {each}.", _sentence(source)])),
        table=_table(panels),
    )


def _sentence(source: Source) -> str:
    sentence = source.summary.get("sentence")
    if not isinstance(sentence, str) or not sentence:
        return ""
    return sentence[:1].upper() + sentence[1:].rstrip(".") + "."


Series = tuple[str, tuple[Point, ...]]
Panel = tuple[str, str, tuple[Series, ...]]
"""Title, label of the vertical axis, and the curves."""


def _panels(updates: Sequence[Row], width: int) -> Iterator[Panel]:
    for title, names in PANELS.items():
        series = tuple(
            (name.replace("_", " "), points)
            for name in names
            if (points := _binned(updates, name, width))
        )
        if series:
            yield title, UNITS.get(title, title), series


def _binned(updates: Sequence[Row], name: str, width: int) -> tuple[Point, ...]:
    """Return the means of `width` updates each, at their mean update."""
    there = [row for row in updates if _is_number(row.get(name))]
    parts = [there[start : start + width] for start in range(0, len(there), width)]
    return tuple(
        Point(
            x=sum(row["update"] for row in part) / len(part),
            y=sum(row[name] for row in part) / len(part),
        )
        for part in parts
    )


def _dev_panels(validations: Sequence[Row], metric: str) -> Iterator[Panel]:
    for name in dict.fromkeys((metric, "kl_probe")):
        points = _binned(validations, name, 1)
        if len(points) > 1:
            label = "KL to the teacher (nats)" if name == "kl_probe" else words.metric(name)
            yield f"dev {label.partition(' (')[0]}", label, ((name, points),)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(panels: Sequence[Panel]) -> Table:
    """Return every number of the plots: one row a point along x."""
    columns = [(name, points) for _, _, series in panels for name, points in series]
    places = sorted({point.x for _, points in columns for point in points})
    values = [{point.x: point.y for point in points} for _, points in columns]
    header = ("update", *_headings(panels))
    return Table(
        header=header,
        rows=tuple(
            (
                f"{place:g}",
                *(words.number(column[place]) if place in column else "" for column in values),
            )
            for place in places
        ),
        numeric=0,
        folded="the numbers of these plots",
    )


def _headings(panels: Sequence[Panel]) -> Iterator[str]:
    for title, _, series in panels:
        for name, _ in series:
            yield title if len(series) == 1 else name
