"""The models of a page: how large they are, how fast they wrote, and how that relates to quality."""

from typing import Any

from ketchup_cli.pages import drawing, words
from ketchup_cli.pages.drawing import Axes, Line, Point
from ketchup_cli.pages.parts import Figure, Figures, Section, Table
from ketchup_cli.pages.sources import Source, Sources
from ketchup_cli.pages.systems import System, base, comparable, metrics, systems
from ketchup_cli.reporting import human_bytes, human_count

WEIGHTS = ".safetensors"


def models(sources: Sources) -> Section | None:
    """Return every model with its size, its training and the speed it wrote at."""
    found = [source for source in sources if source.kind == "model"]
    if not found:
        return None
    written = systems(sources)
    return Section(
        anchor="models",
        title="Models",
        lead="Speed is that of the run that wrote the texts, whatever else the machine did then.",
        blocks=(
            Table(
                header=("model", "made by", "parameters", "weights", "texts/s", "dev"),
                rows=tuple(_row(source, written) for source in found),
                numeric=2,
            ),
        ),
    )


def _row(source: Source, written: tuple[System, ...]) -> tuple[str, ...]:
    own = [item for item in written if item.model is not None and item.model.key == source.key]
    count = parameters(source, own)
    speeds = dict.fromkeys(_speed(item) for item in own if _speed(item))
    made_by = "a folder of its own" if source.state == "outside" else source.state
    size = words.NOTHING
    if source.artifact is not None:
        manifest = source.artifact.manifest
        made_by = " ".join([words.stage(manifest), ", ".join(words.settings(manifest)[:3])])
        size = human_bytes(sum(f.bytes for f in manifest.files if f.path.endswith(WEIGHTS)))
    return (
        base(source.name),
        made_by,
        human_count(count) if count else words.NOTHING,
        size,
        ", ".join(f"{speed:,.1f}" for speed in speeds if speed) or words.NOTHING,
        _dev(source.summary),
    )


def parameters(source: Source, own: list[System]) -> int | None:
    """Return the size of a model, from its own summary or from that of its texts."""
    summaries = [source.summary, *(item.texts.summary for item in own)]
    counts = [summary.get("parameters") for summary in summaries]
    return next((count for count in counts if isinstance(count, int) and count > 0), None)


def _speed(system: System) -> float | None:
    speed = system.texts.summary.get("texts_per_s")
    return float(speed) if isinstance(speed, int | float) and speed > 0 else None


def _dev(summary: Any) -> str:
    if "best_update" not in summary or not isinstance(summary.get("best"), int | float):
        return words.NOTHING
    metric = words.metric(str(summary.get("metric", "")))
    return f"{metric} {summary['best']:.4g} after {summary['best_update']:,} updates"


def tradeoff(sources: Sources) -> Section | None:
    """Return quality against size and against speed, for systems that may be compared."""
    found = systems(sources)
    metric = next(iter(metrics(found)), None)
    if metric is None:
        return None
    group = comparable(found, metric)[0]
    sizes = _line_of(group, metric, _parameters_in_millions)
    speeds = _line_of(group, metric, _speed)
    plots = [
        (sizes, "parameters (millions)", "size"),
        (speeds, "texts per second", "speed"),
    ]
    name = words.metric(metric)
    figures = [
        Figure(
            title=f"{name} and {what}",
            drawing=drawing.points(
                lines,
                Axes(
                    x=label,
                    x_scale="log",
                    ticks=drawing.nice_ticks([line.points[0].x for line in lines]),
                ),
                key=f"tradeoff-{what}",
                alt=f"{name} against {label}: "
                + "; ".join(
                    f"{line.label} {words.number(line.points[0].y)} at"
                    f" {words.number(line.points[0].x)}"
                    for line in lines
                ),
            ),
        )
        for lines, label, what in plots
        if len(lines) > 1
    ]
    if not figures:
        return None
    rows = [_tradeoff_row(system, metric) for system in group]
    return Section(
        anchor="tradeoff",
        title="Quality, size and speed",
        blocks=(
            Figures(
                figures=tuple(figures),
                caption=f"{name} with its 95 % interval. Up is"
                f" {'worse' if metric in words.LOWER_IS_BETTER else 'better'}; both horizontal axes"
                " are logarithmic.",
                table=Table(
                    header=("system", name, "parameters", "texts/s"),
                    rows=tuple(rows),
                    folded="the numbers of these plots",
                ),
            ),
        ),
    )


def _parameters_in_millions(system: System) -> float | None:
    if system.model is None:
        return None
    count = parameters(system.model, [system])
    return count / 1e6 if count else None


def _line_of(group: list[System], metric: str, of: Any) -> list[Line]:
    lines = []
    for system in group:
        x, figure = of(system), system.figure(metric)
        if x is not None and figure is not None:
            point = Point(x=x, y=figure.value, bounds=figure.interval)
            lines.append(Line(label=system.label, number=system.number, points=(point,)))
    return lines


def _tradeoff_row(system: System, metric: str) -> tuple[str, ...]:
    figure, size, speed = system.figure(metric), _parameters_in_millions(system), _speed(system)
    assert figure is not None
    return (
        system.label,
        words.interval(figure.value, figure.interval, digits=2),
        f"{size:.2f} M" if size else words.NOTHING,
        f"{speed:,.1f}" if speed else words.NOTHING,
    )
