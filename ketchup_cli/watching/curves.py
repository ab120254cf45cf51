"""The figures of a run by name, as its log tells them line by line."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from ketchup_cli.watching.follow import Line

RATE_UPDATES = 50
"""Updates over which the pace of a run is taken."""
_NOT_FIGURES = frozenset({"event", "update", "seconds", "best_update"})


@final
@dataclass(slots=True)
class Curve:
    """One figure over the updates; None where it was not a number."""

    updates: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def add(self, update: int, value: float | None) -> None:
        """Append a point."""
        self.updates.append(update)
        self.values.append(value)

    @property
    def last(self) -> float | None:
        """The newest value."""
        return self.values[-1]

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest value, where there is any."""
        known = [value for value in self.values if value is not None]
        return (min(known), max(known)) if known else None

    def at(self, update: int) -> float | None:
        """Return the newest value of that update."""
        pairs = zip(reversed(self.updates), reversed(self.values), strict=True)
        return next((value for when, value in pairs if when == update), None)


@final
@dataclass(slots=True, kw_only=True)
class Curves:
    """Everything a log has told so far; filled line by line.

    Invariant: a curve holds its points in the order they were logged.
    Example: `curves.add({"update": 1, "loss": 2.5, "seconds": 0.3})`
    """

    total: int | None = None
    """Updates the run is to take, where the log says so."""
    metric: str = ""
    """What decides on dev which weights are kept."""
    update: int = 0
    best_update: int | None = None
    training: dict[str, Curve] = field(default_factory=dict)
    dev: dict[str, Curve] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    """Updates from which the run went on."""
    _pace: deque[tuple[int, float]] = field(
        default_factory=lambda: deque(maxlen=RATE_UPDATES), repr=False
    )

    def add(self, line: Line) -> None:
        """Take in one line of the log."""
        self.update = _whole(line.get("update")) or self.update
        event = line.get("event")
        if event is None:
            self._time(line)
            _extend(self.training, self.update, line)
        elif event == "validation":
            self.best_update = _whole(line.get("best_update"))
            _extend(self.dev, self.update, line)
        elif event == "warning":
            self.warnings.append(str(line.get("text", "")))
        elif event in {"begin", "resume"}:
            self._begin(line, resumed=event == "resume")

    def _begin(self, line: Line, *, resumed: bool) -> None:
        self.total = _whole(line.get("updates")) or self.total
        self.metric = str(line.get("metric", self.metric))
        # another process has another clock
        self._pace.clear()
        if resumed:
            self.resumed.append(self.update)

    def _time(self, line: Line) -> None:
        seconds = _number(line.get("seconds"))
        if seconds is None:
            return
        if self._pace and seconds < self._pace[-1][1]:
            self._pace.clear()
        self._pace.append((self.update, seconds))

    @property
    def best(self) -> float | None:
        """The metric of the validation whose weights are kept."""
        curve = self.dev.get(self.metric)
        if curve is None or self.best_update is None:
            return None
        return curve.at(self.best_update)

    def seconds_left(self) -> float | None:
        """Return how long the rest takes at the pace of the last updates, if that can be told."""
        if self.total is None or len(self._pace) < 2:
            return None
        (first, began), (last, ended) = self._pace[0], self._pace[-1]
        if last <= first:
            return None
        return max(0, self.total - self.update) * (ended - began) / (last - first)


def _extend(curves: dict[str, Curve], update: int, line: Mapping[str, Any]) -> None:
    for name, value in line.items():
        if name in _NOT_FIGURES or isinstance(value, bool | str | list | dict):
            continue
        curves.setdefault(name, Curve()).add(update, _number(value))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
