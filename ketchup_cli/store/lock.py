"""One writer at a time, by a lock the kernel drops when its holder dies."""

import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ketchup_cli.errors import ArtifactError, Busy, NotFound
from ketchup_cli.spec import canonical
from ketchup_cli.store.files import disk_errors, open_regular, write_all

_PAUSE_S = 0.02
_NOTE_BYTES = 4096
_GLANCE_S = 5.0
"""How long those are waited for who only look: `holder` shares a lock for a moment."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock, or held it last; a note that cannot be read leaves the words empty."""

    held: bool
    label: str = ""
    process: str = ""
    """As `pid 4242 on host`."""


@contextmanager
def locked(path: Path, *, label: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`; it is made where missing and never removed.

    Removing it would let a third process lock a new file of the same name while a second still
    waits on the old one.

    Args:
        path: the lock file; its folder exists.
        label: what the holder does, for the message others get.
        wait_s: how long to wait for another holder (seconds).

    Raises:
        Busy: another process holds it; the message names its pid and host.
        ArtifactError: the file system cannot lock, or no regular file is there.
    """
    descriptor = _open(path)
    try:
        _take(descriptor, path, wait_s=wait_s)
        _sign(descriptor, path, label=label)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    # no O_TRUNC: a process that comes second must not wipe the note of the first
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with disk_errors(path, doing="open the lock"):
        descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError(f"`{path}` is not a regular file", hint=f"remove `{path}`")
    return descriptor


def _take(descriptor: int, path: Path, *, wait_s: float) -> None:
    began = time.monotonic()
    while not _try(descriptor, fcntl.LOCK_EX, path):
        patience_s = max(wait_s, _GLANCE_S) if _is_shared(descriptor, path) else wait_s
        if time.monotonic() >= began + patience_s:
            raise _busy(descriptor, path)
        time.sleep(_PAUSE_S)


def _try(descriptor: int, kind: int, path: Path) -> bool:
    """Return whether the lock could be had at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}:
            raise
        raise ArtifactError(
            f"the file system of `{path}` cannot lock files",
            hint="put the store on a local disk with --store",
        ) from error
    return True


def _is_shared(descriptor: int, path: Path) -> bool:
    """Return whether nobody works under the lock: those who have it only look."""
    shared = _try(descriptor, fcntl.LOCK_SH, path)
    if shared:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return shared


def _sign(descriptor: int, path: Path, *, label: str) -> None:
    note = {"pid": os.getpid(), "host": socket.gethostname(), "label": label}
    with disk_errors(path):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        write_all(descriptor, canonical(note))


def _busy(descriptor: int, path: Path) -> Busy:
    hint = "wait until it is done, then run the same command again"
    label, process = _note(descriptor)
    if not process:
        # the holder may be between taking the lock and signing it
        return Busy(f"another process holds `{path}`", hint=hint)
    return Busy(f"`{label}` is busy: {process} holds `{path}`", hint=hint)


def _note(descriptor: int) -> tuple[str, str]:
    """Return label and process of whoever signed the lock last."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        note = json.loads(os.pread(descriptor, _NOTE_BYTES, 0))
        return str(note["label"]), f"pid {int(note['pid'])} on {note['host']}"
    return "", ""


def holder(path: Path) -> Holder | None:
    """Return who holds the lock file `path`, or held it last; None where there is no such file.

    The kernel is asked, not the note: a process that was killed holds nothing.

    Raises:
        ArtifactError: no regular file is there, or the system refuses.
    """
    try:
        descriptor = open_regular(path)
    except NotFound:
        return None
    try:
        # shared, so that several who look do not take each other for the holder
        held = not _try(descriptor, fcntl.LOCK_SH, path)
        label, process = _note(descriptor)
    finally:
        os.close(descriptor)
    return Holder(held=held, label=label, process=process)
