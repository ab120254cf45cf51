"""The folder an artifact is built in: what of it is finished, and how it becomes an object.

progress.jsonl     finished files with size and digest, one line each
<files>, logs/     what the object will hold
state/             checkpoints of a run that is not done
.*                 being written
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import final

import msgspec

from ketchup_cli.errors import ArtifactError, Damaged, NotFound, TooNew
from ketchup_cli.spec import canonical
from ketchup_cli.store import manifest as manifests
from ketchup_cli.store.digest import LOGS, MANIFEST, FileEntry, file_entry
from ketchup_cli.store.files import (
    disk_errors,
    fsync_folder,
    make_folder,
    open_regular,
    read_capped,
    remove,
    scan,
    write_all,
    write_durably,
)
from ketchup_cli.store.manifest import Manifest

PROGRESS = "progress.jsonl"
STATE = "state"
_PROGRESS_BYTES = 2**26
RESERVED = frozenset({PROGRESS, STATE, LOGS, MANIFEST})
"""Names at the top of the folder that no file of an artifact may have."""


@final
class Staging:
    """The files of one unfinished artifact; whoever holds its lock may use it.

    Invariant: every file that `finished` lists is whole and durable.
    """

    def __init__(self, path: Path) -> None:
        """Open the folder, removing whatever a killed run left half-written."""
        self.path = path
        self._parts = 0
        self._mode: int | None = None
        if path.is_symlink() or not path.is_dir():
            remove(path)
        make_folder(path)
        manifest = self._read_manifest()
        self.complete = manifest is not None
        """Whether only the last rename is missing."""
        if manifest is None:
            self._finished = self._read_progress()
            self._clean()
        else:
            self._finished = {entry.path: entry for entry in manifest.files}

    @property
    def finished(self) -> Mapping[str, FileEntry]:
        """The finished files by path."""
        return self._finished

    @property
    def holds_work(self) -> bool:
        """Whether there is anything a later run, or a person, could use."""
        folders = [self.path / name for name in (STATE, LOGS)]
        return bool(self._finished) or any(f.is_dir() and scan(f).files for f in folders)

    def write(self, path: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Write a whole file and list it as finished.

        Raises:
            NoSpace, ArtifactError: the disk is full, or the system refuses.
        """
        hasher = hashlib.sha256()
        size_bytes = 0

        def measured() -> Iterator[bytes | memoryview]:
            nonlocal size_bytes
            for chunk in chunks:
                hasher.update(chunk)
                size_bytes += memoryview(chunk).nbytes
                yield chunk

        part = self._part()
        write_durably(part, measured())
        digest = f"sha256:{hasher.hexdigest()}"
        self._place(part, FileEntry(path=path, bytes=size_bytes, digest=digest))

    def take(self, file: Path, path: str) -> None:
        """Move a file that a library wrote to `path`, durably, and list it as finished.

        Raises:
            Damaged: it is no regular file.
            NoSpace, ArtifactError: the disk is full, or the system refuses.
        """
        mode = self._file_mode()
        with disk_errors(file):
            # safetensors makes its files unreadable for others, whatever the umask
            os.chmod(file, mode)
        fsync_file(file)
        entry = file_entry(file.parent, file.name)
        self._place(file, FileEntry(path=path, bytes=entry.bytes, digest=entry.digest))

    def content(self) -> tuple[FileEntry, ...]:
        """Return the finished files, sorted by path.

        Raises:
            ArtifactError: there are files nobody listed, which might be half-written.
            Damaged: a finished file is gone, or has another size.
        """
        listing = scan(self.path)
        for path in (*listing.files, *listing.others):
            if path not in self._finished and not _is_internal(path):
                raise ArtifactError(
                    f"`{path}` was written into `{self.path}` past the build",
                    hint="write it with `write_bytes`, or into a scratch folder and adopt that",
                )
        entries = tuple(self._finished[path] for path in sorted(self._finished))
        for entry in entries:
            if not self._has_size(entry):
                raise Damaged(
                    f"`{entry.path}` was changed in `{self.path}` after it was finished",
                    hint="run the same command again",
                )
        return entries

    def logs(self) -> tuple[FileEntry, ...]:
        """Make the logs durable and return them.

        Raises:
            Damaged: a link or a special file is among them, or a name no artifact may have.
            NoSpace, ArtifactError: the disk is full, or the system refuses.
        """
        folder = self.path / LOGS
        if not folder.is_dir():
            return ()
        listing = scan(folder)
        for path in (*listing.files, *listing.others):
            if path in listing.others or not manifests.is_safe_path(path):
                raise Damaged(f"`{folder / path}` cannot be kept as a log", hint="remove it")
        for path in listing.files:
            fsync_file(folder / path)
        for below in ("", *listing.folders):
            with disk_errors(folder / below):
                fsync_folder(folder / below)
        return tuple(file_entry(self.path, f"{LOGS}/{path}") for path in listing.files)

    def publish(self, target: Path) -> None:
        """Make this folder the object `target`, in one rename; the manifest is in it already.

        Raises:
            NoSpace, ArtifactError: the disk is full, or the system refuses.
        """
        self._forget_all_but(read_entries(self.path))
        make_folder(target.parent)
        with disk_errors(target):
            fsync_folder(self.path)
            os.rename(self.path, target)
            fsync_folder(target.parent)
            fsync_folder(self.path.parent)

    def _part(self) -> Path:
        self._parts += 1
        return self.path / f".part-{self._parts}"

    def _file_mode(self) -> int:
        """Return the mode that the umask gives new files; asking for the umask would set it."""
        if self._mode is None:
            probe = self._part()
            write_durably(probe, ())
            self._mode = probe.stat().st_mode & 0o777
            remove(probe)
        return self._mode

    def _place(self, part: Path, entry: FileEntry) -> None:
        target = self.path / entry.path
        make_folder(target.parent)
        # from the rename to the listing, what was listed under this path is not what lies there
        self._finished.pop(entry.path, None)
        with disk_errors(target):
            os.rename(part, target)
            fsync_folder(target.parent)
        self._list(entry)
        self._finished[entry.path] = entry

    def _has_size(self, entry: FileEntry) -> bool:
        path = self.path / entry.path
        return path.is_file() and path.stat().st_size == entry.bytes

    def _list(self, entry: FileEntry) -> None:
        path = self.path / PROGRESS
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with disk_errors(path):
            descriptor = os.open(path, flags, 0o666)
            try:
                # a torn line of an earlier failure must not swallow this one
                write_all(descriptor, b"\n" + canonical(entry) + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _read_manifest(self) -> Manifest | None:
        try:
            manifest = manifests.read(self.path)
        except (NotFound, Damaged, TooNew):
            return None
        entries = (*manifest.files, *manifest.logs)
        complete = manifest.id == self.path.name and len(self._whole(entries)) == len(entries)
        return manifest if complete else None

    def _read_progress(self) -> dict[str, FileEntry]:
        try:
            content = read_capped(self.path / PROGRESS, limit_bytes=_PROGRESS_BYTES)
        except (NotFound, Damaged):
            return {}
        listed: dict[str, FileEntry] = {}
        for line in content.splitlines():
            with suppress(msgspec.DecodeError):
                entry = msgspec.json.decode(line, type=FileEntry, strict=True)
                listed[entry.path] = entry
        return self._whole(listed.values())

    def _whole(self, entries: Iterable[FileEntry]) -> dict[str, FileEntry]:
        """Return those entries, by path, whose file has the size and the digest they say."""
        regular = set(scan(self.path).files)
        return {
            entry.path: entry
            for entry in entries
            if entry.path in regular and file_entry(self.path, entry.path) == entry
        }

    def _clean(self) -> None:
        kept = set(self._finished) | {PROGRESS}
        listing = scan(self.path)
        for path in (*listing.files, *listing.others):
            if path not in kept and not path.startswith((f"{STATE}/", f"{LOGS}/")):
                remove(self.path / path)
        for path in listing.folders:
            if path.startswith("."):
                remove(self.path / path)

    def _forget_all_but(self, kept: set[str]) -> None:
        listing = scan(self.path)
        for path in (*listing.files, *listing.others):
            if path not in kept:
                remove(self.path / path)
        needed = {parent.as_posix() for path in kept for parent in PurePosixPath(path).parents}
        for path in listing.folders:
            if path not in needed:
                remove(self.path / path)


def read_entries(folder: Path) -> set[str]:
    """Return every path the manifest in `folder` accounts for, its own included."""
    manifest = manifests.read(folder)
    return {entry.path for entry in (*manifest.files, *manifest.logs)} | {MANIFEST}


def fsync_file(path: Path) -> None:
    """Make a file that somebody else wrote durable.

    Raises:
        Damaged: it is no regular file.
        NoSpace, ArtifactError: the disk is full, or the system refuses.
    """
    descriptor = open_regular(path)
    with disk_errors(path):
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_internal(path: str) -> bool:
    top = path.split("/", 1)[0]
    return top in RESERVED or top.startswith(".")
