"""What a person sees on stderr: notes, progress, tables; results alone go to stdout.

`rich` is imported when a bar opens on a terminal, never before.
"""

import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO, final

from ketchup_cli.reporting import Progress
from ketchup_cli.reporting import human_bytes as human_bytes
from ketchup_cli.reporting import human_seconds as human_seconds

LABEL_WIDTH = 16
"""Columns of the label before a note; the text starts after it."""
LINE_EVERY_S = 30.0
"""Longest silence between two plain lines while units finish."""
LINE_SHARE = 0.05
"""Share of the total after which a plain line is due sooner."""
LINE_AT_LEAST_S = 2.0
"""Shortest time between two plain lines: a quick job prints few."""
WINDOW_S = 30.0
"""Seconds over which a rate is taken."""

# ANSI sequences go whole (CSI, then OSC), so that no `[31m` is left to read
_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]?")
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]"
)


def clean(text: str) -> str:
    """Return `text` on one line without control characters, ANSI sequences and bidi overrides."""
    plain = _CONTROLS.sub("", _SEQUENCES.sub("", text.replace("\r\n", "\n")))
    return plain.replace("\n", " ").replace("\t", " ")


def print_result(text: str) -> None:
    """Write one line to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(document: object) -> None:
    """Write one JSON document to stdout."""
    print_result(json.dumps(document, ensure_ascii=True, indent=2, allow_nan=False))


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose columns are as wide as their widest cell."""
    from rich.cells import cell_len

    cells = [[clean(cell) for cell in row] for row in (header, *rows)]
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(header))]
    return [
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]


@final
class Rate:
    """Units and tokens per second over the last half minute.

    Example: `rate = Rate(0.0); rate.add(1.0, 10, tokens=200); rate.units_per_s(2.0)` is 5.0.
    """

    def __init__(self, now: float) -> None:
        self._events: deque[tuple[float, int, int]] = deque()
        self._start = now

    def add(self, now: float, count: int, *, tokens: int) -> None:
        """Count what was finished at `now`."""
        self._events.append((now, count, tokens))
        while self._events and self._events[0][0] < now - WINDOW_S:
            self._start = self._events.popleft()[0]

    def units_per_s(self, now: float) -> float:
        """Return finished units per second."""
        return sum(event[1] for event in self._events) / max(now - self._start, 1e-9)

    def tokens_per_s(self, now: float) -> float:
        """Return tokens per second."""
        return sum(event[2] for event in self._events) / max(now - self._start, 1e-9)


def _rates(rate: Rate, now: float, unit: str) -> str:
    units = rate.units_per_s(now)
    tokens = rate.tokens_per_s(now)
    words = [f"{units:,.0f} {unit}/s" if units >= 10 else f"{units:.2f} {unit}/s"]
    if tokens >= 1:
        words.append(f"{tokens:,.0f} tok/s")
    return ", ".join(words)


@final
class PlainProgress:
    """A line at the start, one every 30 s or 5 %, and one at the end."""

    def __init__(self, console: "Console", label: str, *, total: int, unit: str, done: int) -> None:
        self._console = console
        self._label = label
        self._total = total
        self._unit = unit
        self._done = done
        self._status = ""
        self._rate = Rate(time.monotonic())
        self._last_time = time.monotonic()
        self._last_done = done

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        """Add finished units; print a line where one is due."""
        now = time.monotonic()
        self._done += count
        self._rate.add(now, count, tokens=tokens)
        waited = now - self._last_time
        jumped = self._done - self._last_done >= LINE_SHARE * self._total
        if waited >= LINE_EVERY_S or (jumped and waited >= LINE_AT_LEAST_S):
            self._line(now)

    def status(self, text: str) -> None:
        """Replace the free text at the end of the line."""
        self._status = clean(text)

    def _line(self, now: float) -> None:
        share = 100 * self._done / self._total if self._total else 100
        parts = [
            f"{self._done:,}/{self._total:,} ({share:.0f} %)",
            _rates(self._rate, now, self._unit),
        ]
        per_s = self._rate.units_per_s(now)
        if per_s > 0 and self._done < self._total:
            parts.append(f"{human_seconds((self._total - self._done) / per_s)} left")
        self._console.note(self._label, "  ".join(filter(None, [", ".join(parts), self._status])))
        self._last_time = now
        self._last_done = self._done

    def __enter__(self) -> Self:
        self._console.note(self._label, f"{self._done:,}/{self._total:,} {self._unit}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._done != self._last_done:
            self._line(time.monotonic())


@final
class BarProgress:
    """A bar that redraws itself on a terminal, removed from the screen when it ends."""

    def __init__(self, console: "Console", label: str, *, total: int, unit: str, done: int) -> None:
        from rich import progress

        self._console = console
        self._label = label
        self._unit = unit
        self._total = total
        self._done = done
        self._rate = Rate(time.monotonic())
        self._started = time.monotonic()
        self._live = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.percentage:>3.0f} %"),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rates]}", markup=False),
            progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("{task.fields[status]}", markup=False),
            console=console.rich(),
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._live.add_task(
            f"{label:<{LABEL_WIDTH - 1}}", total=total, completed=done, rates="", status=""
        )

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        """Add finished units and redraw."""
        now = time.monotonic()
        self._done += count
        self._rate.add(now, count, tokens=tokens)
        self._live.update(self._task, advance=count, rates=_rates(self._rate, now, self._unit))

    def status(self, text: str) -> None:
        """Replace the free text beside the count."""
        self._live.update(self._task, status=clean(text))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        spent = human_seconds(time.monotonic() - self._started)
        self._console.note(self._label, f"{self._done:,}/{self._total:,} {self._unit} in {spent}")


@final
class Console:
    """The reporter of the command line; everything it says goes to stderr.

    Invariant: text is cleaned of control characters before it is written. `plain` forbids bars.
    Example: `Console(plain=True).note("plan", "32,742 examples")`
    """

    def __init__(self, *, plain: bool = False, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bars = not plain and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._rich: Any = None

    def rich(self) -> Any:
        """Return the one rich console, made when first asked for; it honours NO_COLOR."""
        if self._rich is None:
            from rich.console import Console as RichConsole

            self._rich = RichConsole(file=self._stream, highlight=False)
        return self._rich

    def note(self, label: str, text: str) -> None:
        """Write one line: a short label and a sentence."""
        self.line(f"{clean(label):<{LABEL_WIDTH - 1}} {clean(text)}".rstrip())

    def line(self, text: str) -> None:
        """Write one line as it is, above a bar where one is drawn."""
        if self._rich is not None:
            self._rich.print(clean(text), markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(clean(text) + "\n")
            self._stream.flush()

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> Progress:
        """Open a count: a bar on a terminal, plain lines elsewhere."""
        kind = BarProgress if self._bars else PlainProgress
        return kind(self, label, total=total, unit=unit, done=done)

    def figures(self, line: Mapping[str, Any]) -> None:
        """Do nothing: what a person watches stands beside the count."""
