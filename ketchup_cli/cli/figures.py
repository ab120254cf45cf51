"""A watched run in words: a table with curves, a line for every row of its log, one document."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ketchup_cli.cli.console import human_seconds, table_lines
from ketchup_cli.cli.describe import short
from ketchup_cli.reporting import human_figure
from ketchup_cli.watching.curves import Curve
from ketchup_cli.watching.follow import Line
from ketchup_cli.watching.runs import State, Watched
from ketchup_cli.watching.sparkline import sparkline

LABEL_WIDTH = 12
CURVE_WIDTHS = (8, 60)
"""Fewest and most characters of a curve."""
COLUMNS = 100
"""Columns of a table that is not drawn on a terminal."""

_FIRST = ("loss",)
_LATER = ("return", "return_variance", "gradient_norm", "entropy")
_LAST = ("finished", "tokens_per_s")
_LENGTH = "_length"
_TIME_AND_PLACE = frozenset({"event", "update", "seconds", "best_update"})


def shown(value: float | None) -> str:
    """Return a figure in a few digits."""
    return "not finite" if value is None else human_figure(value)


def table(
    watched: Watched, state: State, *, every_figure: bool = False, columns: int = COLUMNS
) -> list[str]:
    """Return the lines of the table: how the run stands, and a row for every figure."""
    curves = watched.curves
    rows = [
        (name, *_cells(curves.training[name]), curves.training[name])
        for name in _ordered(curves.training, every_figure=every_figure)
    ]
    rows += [
        (f"dev {name}", *_cells(curve), curve) for name, curve in _dev(curves.dev, curves.metric)
    ]
    plain = table_lines(("figure", "last", "lowest", "highest"), [row[:-1] for row in rows])
    width = _curve_width(columns - max(map(len, plain)) - 2)
    drawn = ["curve", *(sparkline(row[-1].values, width=width) for row in rows)]
    widest = max(map(len, plain))
    lines = [f"{text:<{widest}}  {curve}" for text, curve in zip(plain, drawn, strict=True)]
    return [*_head(watched, state), *(["", *lines] if rows else [])]


def _cells(curve: Curve) -> tuple[str, str, str]:
    low, high = curve.range or (None, None)
    return shown(curve.last), shown(low), shown(high)


def _curve_width(room: int) -> int:
    least, most = CURVE_WIDTHS
    return max(least, min(most, room))


def _ordered(names: Mapping[str, Curve], *, every_figure: bool) -> list[str]:
    """Return what is shown of the figures of updates, in order."""
    lengths = [name for name in names if name.endswith(_LENGTH)]
    known = [*_LATER, *lengths, *_LAST]
    wanted = [name for name in names if every_figure or not _is_detail(name)]
    others = sorted(name for name in wanted if name not in {*_FIRST, *known})
    return [name for name in (*_FIRST, *others, *known) if name in wanted]


def _is_detail(name: str) -> bool:
    """Return whether a figure is left out unless all are asked for."""
    if name in {*_FIRST, *_LATER, *_LAST}:
        return False
    return name == "learning_rate" or (
        name.startswith("loss_") or name.endswith(("_variance", "_tokens", "_sequences"))
    )


def _dev(dev: Mapping[str, Curve], metric: str) -> list[tuple[str, Curve]]:
    """Return the figures on dev, what decides first."""
    return sorted(dev.items(), key=lambda item: item[0] != metric)


def _head(watched: Watched, state: State) -> Iterator[str]:
    yield headline(watched, state)
    curves = watched.curves
    if curves.dev:
        yield _labelled("dev", _best(watched))
    if curves.resumed:
        yield _labelled("resumed", "from update " + ", ".join(map(str, curves.resumed)))
    if watched.unreadable:
        yield _labelled("damaged", f"{watched.unreadable:,} lines of the log are no JSON")
    for text in curves.warnings:
        yield _labelled("warning", text)


def headline(watched: Watched, state: State) -> str:
    """Return name, id, state and how far the run is."""
    words = [watched.label, short(watched.id), state]
    if state in {"running", "waiting"} and watched.holder is not None:
        words.append(watched.holder.process)
    words.append(_progress(watched) if watched.curves.update else "no update is logged yet")
    left = watched.curves.seconds_left() if state == "running" else None
    words += [f"{human_seconds(left)} left"] if left else []
    return _labelled("run", "   ".join(filter(None, words)))


def _progress(watched: Watched) -> str:
    done, total = watched.curves.update, watched.curves.total
    if total is None:
        return f"update {done:,}"
    return f"update {done:,}/{total:,} ({100 * done / max(total, 1):.0f} %)"


def _best(watched: Watched) -> str:
    curves = watched.curves
    newest = curves.dev.get(curves.metric)
    words = [f"{curves.metric} {shown(newest.last)}"] if newest is not None else []
    if curves.best is not None:
        words.append(f"best {shown(curves.best)} @{curves.best_update}")
    counts = {len(curve.values) for curve in curves.dev.values()}
    return ", ".join([*words, f"{max(counts):,} validations"])


def ending(watched: Watched, state: State) -> str:
    """Return how the run ended; nothing while it goes on."""
    if state in {"running", "waiting"}:
        return ""
    if watched.artifact is not None:
        return _labelled(state, str(watched.artifact.manifest.summary.get("sentence", "")))
    try:
        age_s = time.time() - watched.log.stat().st_mtime
    except FileNotFoundError:
        return _labelled(state, "nobody works on it, and its log is gone")
    return _labelled(
        state,
        f"nobody works on it, and its log ended {human_seconds(max(0.0, age_s))} ago;"
        " the command that began it goes on from its last checkpoint",
    )


def line_text(watched: Watched, line: Line) -> str:
    """Return one row of the log as a plain line; an event says which."""
    event = line.get("event")
    update = f"update {line.get('update')}"
    if event is None:
        names = _ordered({name: Curve() for name in _figures(line)}, every_figure=False)
        left = watched.curves.seconds_left()
        words = [_progress_of(watched, line), *(f"{n} {shown(line[n])}" for n in names)]
        return "  ".join([*words, *([f"{human_seconds(left)} left"] if left else [])])
    if event == "warning":
        return _labelled("warning", str(line.get("text", "")))
    figures = [f"{name} {shown(value)}" for name, value in _figures(line).items()]
    if event == "validation" and watched.curves.best is not None:
        figures.append(f"(best {shown(watched.curves.best)} @{watched.curves.best_update})")
    return _labelled(str(event), "  ".join([update, *figures]))


def _progress_of(watched: Watched, line: Line) -> str:
    total = watched.curves.total
    return f"update {line.get('update')}" + (f"/{total}" if total is not None else "")


def _figures(line: Line) -> dict[str, float | None]:
    return {
        name: value
        for name, value in line.items()
        if name not in _TIME_AND_PLACE and (value is None or isinstance(value, int | float))
    }


def _labelled(label: str, text: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{text}".rstrip()


def document(watched: Watched, state: State) -> dict[str, Any]:
    """Return how the run stands as plain tables."""
    curves, holder = watched.curves, watched.holder
    process = holder.process if holder is not None and state in {"running", "waiting"} else None
    summary = watched.artifact.manifest.summary if watched.artifact is not None else {}
    return {
        "name": watched.label,
        "id": watched.id,
        "state": state,
        "process": process or None,
        "update": curves.update,
        "updates": curves.total,
        "seconds_left": curves.seconds_left() if state == "running" else None,
        "metric": curves.metric or None,
        "best": curves.best,
        "best_update": curves.best_update,
        "figures": {name: _summary(curve) for name, curve in curves.training.items()},
        "dev": {name: _points(curve) for name, curve in curves.dev.items()},
        "warnings": curves.warnings,
        "resumed": curves.resumed,
        "unreadable_lines": watched.unreadable,
        "sentence": summary.get("sentence"),
        "log": str(watched.log),
    }


def _summary(curve: Curve) -> dict[str, float | None]:
    low, high = curve.range or (None, None)
    return {"last": curve.last, "lowest": low, "highest": high}


def _points(curve: Curve) -> list[list[float | None]]:
    return [[update, value] for update, value in zip(curve.updates, curve.values, strict=True)]
