"""Trackers: who else is told the figures of a run, through accelerate's classes, by name.

Which one is told is no setting of a stage: it changes no id and no byte of what is made.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from ketchup_cli.errors import SpecError, TrackerError
from ketchup_cli.reporting import Progress, Reporter
from ketchup_cli.spec import unknown

PACKAGES: Mapping[str, str] = {
    "mlflow": "mlflow",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Names of trackers, and the package each comes with."""
PROJECT = "ketchup"
"""What the trackers that sort runs into projects call ours."""

_NO_FIGURES = frozenset({"update", "best_update", "seconds"})
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_USER_IN_URL = re.compile(r"//[^/@\s]+@")
_SECRET_CHARACTERS = 6
"""Length below which a value of the environment is taken for a word, not for a secret."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is tracked: a run, by the name and the id of what it will make."""

    label: str
    id: str
    settings: Mapping[str, Any]
    """By dotted key."""
    folder: Path
    """Where trackers that write files may do so."""


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names once each; worth calling before hours of work.

    Raises:
        SpecError: one is unknown, or its package is not installed.
    """
    for name in names:
        if name not in PACKAGES:
            raise unknown("a tracker", name, PACKAGES, hint="--track tensorboard")
        if find_spec(PACKAGES[name]) is None:
            raise SpecError(
                f"tracker `{name}` needs the package `{PACKAGES[name]}`, which is not installed",
                hint=f"pip install {PACKAGES[name]}, or leave out --track {name}",
            )
    return tuple(dict.fromkeys(names))


@contextmanager
def tracked(names: Sequence[str], subject: Subject, reporter: Reporter) -> Iterator[Reporter]:
    """Give a reporter that tells the trackers too, and end them with the block."""
    if not names:
        yield reporter
        return
    telling = TrackingReporter(names, subject, reporter)
    try:
        yield telling
    finally:
        telling.finish()


@final
class TrackingReporter:
    """Passes on what a stage says, and the figures of its run to trackers.

    They start with the first line of the log, when the processes of the run know each other. One
    that cannot start ends the run; one that fails later is left off with a warning, for the log
    holds all it would have been told.

    Example: `with tracked(("tensorboard",), subject, console) as reporter: run(..., reporter)`
    """

    def __init__(self, names: Sequence[str], subject: Subject, reporter: Reporter) -> None:
        self._names = tuple(names)
        self._subject = subject
        self._reporter = reporter
        self._trackers: dict[str, Any] | None = None
        self._left_off: dict[str, str] = {}

    def note(self, label: str, text: str) -> None:
        """Pass the note on."""
        self._reporter.note(label, text)

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> Progress:
        """Open a count of the reporter behind."""
        return self._reporter.progress(label, total=total, unit=unit, done=done)

    def figures(self, line: Mapping[str, Any]) -> None:
        """Tell every tracker the numbers of a line, under `train/` or `dev/`.

        Raises:
            TrackerError: one cannot be started.
        """
        self._reporter.figures(line)
        if self._trackers is None:
            resumed = line["update"] if line.get("event") == "resume" else None
            self._trackers = {}
            for name in self._names:
                self._trackers[name] = _start(name, self._subject, resumed=resumed)
                self.note("tracker", _place(name, self._subject))
        values = _values(line)
        for name, tracker in list(self._trackers.items()) if values else ():
            try:
                tracker.log(values, step=line["update"])
            except Exception as error:  # noqa: BLE001 - whatever a tracker does, the run goes on
                self._leave_off(name, error, when=f"at update {line['update']}")

    def finish(self) -> None:
        """End the trackers, and say once more which of them were left off."""
        for name, tracker in list((self._trackers or {}).items()):
            try:
                tracker.finish()
            except Exception as error:  # noqa: BLE001 - what was made is not lost by it
                self._leave_off(name, error, when="at the end")
        for name, when in self._left_off.items():
            self.note("warning", f"tracker `{name}` was left off {when}; the log holds all figures")

    def _leave_off(self, name: str, error: Exception, *, when: str) -> None:
        assert self._trackers is not None
        del self._trackers[name]
        self._left_off[name] = when
        self.note("warning", f"tracker `{name}` failed {when} and is left off: {_words(error)}")


def _start(name: str, subject: Subject, *, resumed: int | None) -> Any:
    """Return a tracker that has begun, or goes on where an earlier process stopped."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    folder = subject.folder / name
    memory = folder / f"{subject.id[:16]}.run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = memory.read_text(encoding="ascii") if memory.is_file() else None
        place, options = _options(name, subject, resumed=resumed, earlier=earlier)
        tracker = LOGGER_TYPE_TO_CLASS[name](*place, **options)
        tracker.start()
        if resumed is None:
            tracker.store_init_configuration(_plain(subject.settings))
        if name == "mlflow":
            memory.write_text(tracker.tracker.info.run_id, encoding="ascii")
    except Exception as error:
        raise TrackerError(
            f"tracker `{name}` cannot start: {_words(error)}",
            hint=f"mend what it says, or leave out --track {name}: the result is the same",
        ) from error
    return tracker


def _options(
    name: str, subject: Subject, *, resumed: int | None, earlier: str | None
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return what a tracker's class is called with, so that a resumed run is one run to it."""
    run, folder = f"{subject.label}-{subject.id[:8]}", str(subject.folder / name)
    if name == "tensorboard":
        # what lies past the checkpoint is done again
        return (run, folder), {} if resumed is None else {"purge_step": resumed + 1}
    if name == "wandb":
        options = {"name": run, "id": subject.id[:32], "resume": "allow", "dir": folder}
        return (PROJECT,), options
    if name == "mlflow":
        return (PROJECT,), {"run_name": run, "run_id": earlier}
    return (PROJECT,), {"name": run, "resume": "allow"}


def _place(name: str, subject: Subject) -> str:
    """Return where a person finds what a tracker is told."""
    if name != "tensorboard":
        return f"{name} is told every figure"
    return f"tensorboard --logdir {shlex.quote(str(subject.folder / name))} shows every figure"


def _values(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line under the names trackers show; what is not finite has none."""
    event = line.get("event")
    if event not in {None, "validation"}:
        return {}
    part = "train" if event is None else "dev"
    return {
        f"{part}/{name}": value
        for name, value in line.items()
        if name not in _NO_FIGURES
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in settings.items()
    }


def _words(error: Exception) -> str:
    """Return what an error says, without keys and without the user in a URL."""
    text = f"{type(error).__name__}: {error}"
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SECRET_CHARACTERS:
            text = text.replace(value, "***")
    return _USER_IN_URL.sub("//***@", text)
