"""Reading and writing files so that a crash leaves the old content or the new, never half.

Every error of the operating system leaves here as one of ours, with a remedy.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ketchup_cli.errors import ArtifactError, Damaged, NoSpace, NotFound

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_RESERVE_BYTES = 2**24
"""Left free beside what a stage asks for: manifests, names, file-system overhead."""


@final
@dataclass(frozen=True, slots=True)
class Listing:
    """What lies below a folder, as sorted relative POSIX paths; links are not followed.

    `others` are the entries that are neither folder nor regular file: links, FIFOs, sockets.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    others: tuple[str, ...]


def disk_is_full(error: BaseException) -> bool:
    """Return whether `error` says that the disk or the quota is used up."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    # safetensors and torch keep the system's sentence but not its number
    return any(os.strerror(number) in str(error) for number in FULL)


def no_space(path: Path) -> NoSpace:
    """Return the error for a full disk under `path`."""
    return NoSpace(
        f"no space left on the disk of `{path}`",
        hint="free some space and run the same command again; finished parts are kept",
    )


@contextmanager
def disk_errors(path: Path, *, doing: str = "write") -> Iterator[None]:
    """Turn errors of the operating system into ours.

    Raises:
        NoSpace: the disk is full.
        ArtifactError: anything else the system refused.
    """
    try:
        yield
    except OSError as error:
        raise _refused(error, path, doing=doing) from error


def _refused(error: OSError, path: Path, *, doing: str) -> ArtifactError:
    if disk_is_full(error):
        return no_space(path)
    reason = error.strerror or str(error)
    if error.errno in _FORBIDDEN:
        hint = "change the permissions, or name another store with --store"
    else:
        hint = "look at the disk, then run the same command again; finished parts are kept"
    return ArtifactError(f"cannot {doing} `{path}`: {reason}", hint=hint)


def check_space(folder: Path, *, needed_bytes: int) -> None:
    """Refuse what will not fit on the disk of `folder`, with 5 % and a little more to spare.

    Raises:
        NoSpace: with both numbers.
    """
    with disk_errors(folder, doing="read"):
        system = os.statvfs(folder)
    free_bytes = system.f_bavail * system.f_frsize
    wanted_bytes = needed_bytes + needed_bytes // 20 + _RESERVE_BYTES
    if free_bytes < wanted_bytes:
        raise NoSpace(
            f"about {wanted_bytes / 2**20:,.0f} MiB are needed on the disk of `{folder}`, "
            f"{free_bytes / 2**20:,.0f} MiB are free",
            hint="free some space and run the same command again, or name another --store",
        )


def open_regular(path: Path, *, follow: bool = False) -> int:
    """Return a descriptor for reading a regular file; a FIFO does not block.

    Raises:
        NotFound: nothing is there.
        Damaged: a link, a folder or a special file is there.
        ArtifactError: the system refuses.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no file `{path}`", hint="check the path") from None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise _not_regular(path) from None
        raise _refused(error, path, doing="read") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    return descriptor


def _not_regular(path: Path) -> Damaged:
    return Damaged(f"`{path}` is not a regular file", hint="replace the link by a copy of the file")


def read_capped(path: Path, *, limit_bytes: int) -> bytes:
    """Return the content of a regular file of at most `limit_bytes`.

    Raises:
        NotFound: nothing is there.
        Damaged: it is no regular file, or larger.
        ArtifactError: the system refuses.
    """
    with os.fdopen(open_regular(path), "rb") as file, disk_errors(path, doing="read"):
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise Damaged(
            f"`{path}` is larger than {limit_bytes} bytes", hint="ketchup did not write this file"
        )
    return content


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte of `data`; the system may take fewer at a time."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_durably(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Create `path` with the given content on the disk itself; on failure nothing stays.

    Raises:
        NoSpace: the disk is full.
        ArtifactError: something is there already, or the system refuses.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with disk_errors(path):
        descriptor = os.open(path, flags, 0o666)
    try:
        for chunk in chunks:
            with disk_errors(path):
                write_all(descriptor, chunk)
        with disk_errors(path):
            os.fsync(descriptor)
    except BaseException:
        # after a failed fsync the kernel may call the lost pages clean: never try again
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, *, part: Path) -> None:
    """Give `path` new content in one step, by way of `part` on the same file system.

    The caller holds a lock that makes `part` its own, so what a killed run left there goes.
    """
    with disk_errors(path), suppress(FileNotFoundError):
        os.unlink(part)
    write_durably(part, (content,))
    with disk_errors(path):
        os.rename(part, path)
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot sync a folder and say so like this
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, durably.

    Raises:
        NoSpace: the disk is full.
        ArtifactError: a file is in the way, or the system refuses.
    """
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    with disk_errors(folder):
        for path in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(path)
            fsync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; nothing there is fine.

    Raises:
        ArtifactError: the system refuses.
    """
    with disk_errors(path, doing="remove"), suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def scan(folder: Path, *, follow: bool = False) -> Listing:
    """Return what lies below `folder`; with `follow`, a link to a file counts as that file.

    Raises:
        ArtifactError: the system refuses.
    """
    files: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    waiting = [""]
    with disk_errors(folder, doing="read"):
        while waiting:
            below = waiting.pop()
            for entry in os.scandir(folder / below):
                name = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                    waiting.append(f"{name}/")
                elif entry.is_file(follow_symlinks=follow):
                    files.append(name)
                else:
                    others.append(name)
    return Listing(tuple(sorted(files)), tuple(sorted(folders)), tuple(sorted(others)))
