"""How a stage tells what it does, without knowing who listens."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, final


class Progress(Protocol):
    """A running count; used as a context manager."""

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        """Add `count` finished units and the tokens they held."""

    def status(self, text: str) -> None:
        """Replace the free text beside the count."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Reporter(Protocol):
    """Receives what a stage says while it works."""

    def note(self, label: str, text: str) -> None:
        """Say one line: a short label and a sentence."""

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> Progress:
        """Open a count of `total` units, `done` of which a resumed run need not do again."""

    def figures(self, line: Mapping[str, Any]) -> None:
        """Receive a line of a run's log: the figures of an update, or an event."""


@final
class SilentProgress:
    """Counts for nobody."""

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        """Do nothing."""

    def status(self, text: str) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


@final
class SilentReporter:
    """Says nothing; keeps the notes for whoever asks later."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def note(self, label: str, text: str) -> None:
        """Keep the note."""
        self.notes.append((label, text))

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> SilentProgress:
        """Open a count nobody sees."""
        del label, total, unit, done
        return SilentProgress()

    def figures(self, line: Mapping[str, Any]) -> None:
        """Do nothing."""


def human_count(count: int) -> str:
    """Return a number of parameters as `9.4 M` or `27 k`."""
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count / 1e3:,.0f} k"


def human_bytes(count: int) -> str:
    """Return a size in the unit that leaves one to three digits before the point."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Return a duration as `58 s`, `2 min 58 s` or `1 h 12 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def human_figure(value: float) -> str:
    """Return a figure with four significant digits: `27.91`, `2,310`, `3.2e-07`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def how_often(every: int) -> str:
    """Return when validations come, for a plan."""
    return f"every {every} updates" if every else "at the start and at the end"
