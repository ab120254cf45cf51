"""What a file system must be able to do, tried out in a folder that is thrown away."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ketchup_cli.errors import KetchupError
from ketchup_cli.store.files import fsync_folder
from ketchup_cli.store.lock import locked


def try_folder(folder: Path) -> dict[str, str]:
    """Return what each of flock, fsync and rename meets in `folder`; empty where it works.

    Nothing stays behind.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".ketchup-") as trial:
        return {name: _met(attempt, Path(trial)) for name, attempt in _ATTEMPTS.items()}


def _met(attempt: Callable[[Path], None], folder: Path) -> str:
    try:
        attempt(folder)
    except (KetchupError, OSError) as error:
        return str(error)
    return ""


def _flock(folder: Path) -> None:
    with locked(folder / "trial.lock", label="trial"):
        pass


def _fsync(folder: Path) -> None:
    with (folder / "synced").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
    fsync_folder(folder)


def _rename(folder: Path) -> None:
    (folder / "before").mkdir()
    (folder / "before").rename(folder / "after")


_ATTEMPTS: Mapping[str, Callable[[Path], None]] = {
    "flock": _flock,
    "fsync": _fsync,
    "rename": _rename,
}
