"""metrics.jsonl: one line an update, appended; a resumed run forgets what it will do again."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final


@final
class MetricsLog:
    """Appends lines `{"update": 12, "loss": 2.1, ...}` to a file.

    Invariant: `update` never falls from line to line, except through a resume, which says so.
    """

    def __init__(
        self, path: Path | None, *, listener: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        """Write to `path`, and tell `listener` every line as it is written."""
        self._path = path
        self._listener = listener
        self._started = time.monotonic()

    def begin(self) -> None:
        """Forget what a run left that was killed before its first checkpoint."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def resume(self, update: int) -> None:
        """Drop lines past `update`, a torn last line too, and say that the run went on here."""
        if self._path is None or not self._path.exists():
            return
        kept = [line for line in read_metrics(self._path) if line.get("update", 0) <= update]
        # replaced whole: a kill must not cost what the log held
        staging = self._path.with_name(f".{self._path.name}")
        staging.write_text("".join(_line(item) for item in kept), encoding="utf-8")
        os.replace(staging, self._path)
        self.write({"event": "resume", "update": update})

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one line; what is not finite is written as null, never as a number."""
        timed = {**values, "seconds": round(time.monotonic() - self._started, 3)}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(timed))
        if self._listener is not None:
            self._listener({key: _finite(value) for key, value in timed.items()})


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; a torn last line is left out."""
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _line(values: Mapping[str, Any]) -> str:
    plain = {key: _finite(value) for key, value in values.items()}
    return json.dumps(plain, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        # digits that count, not places: a learning rate or a drift may be 1e-7
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
