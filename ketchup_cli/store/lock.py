"""One writer at a time, by a lock the kernel drops when its holder dies."""

import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ketchup_cli.errors import ArtifactError, Busy
from ketchup_cli.spec import canonical
from ketchup_cli.store.files import disk_errors, write_all

_PAUSE_S = 0.02
_NOTE_BYTES = 4096


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
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(descriptor, path) from None
            time.sleep(_PAUSE_S)
        except OSError as error:
            if error.errno not in {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}:
                raise
            raise ArtifactError(
                f"the file system of `{path}` cannot lock files",
                hint="put the store on a local disk with --store",
            ) from error
        else:
            return


def _sign(descriptor: int, path: Path, *, label: str) -> None:
    note = {"pid": os.getpid(), "host": socket.gethostname(), "label": label}
    with disk_errors(path):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        write_all(descriptor, canonical(note))


def _busy(descriptor: int, path: Path) -> Busy:
    hint = "wait until it is done, then run the same command again"
    try:
        note = json.loads(os.pread(descriptor, _NOTE_BYTES, 0))
        who = f"pid {note['pid']} on {note['host']} ({note['label']})"
    except (OSError, ValueError, KeyError, TypeError):
        # the holder may be between taking the lock and signing it
        return Busy(f"`{path}` is held by another process", hint=hint)
    return Busy(f"`{path}` is held by {who}", hint=hint)
