"""The lines of a log that somebody else is appending to."""

import os
from pathlib import Path
from typing import Any, BinaryIO, final

import msgspec

from ketchup_cli.errors import NotFound
from ketchup_cli.store.files import disk_errors, open_regular

Line = dict[str, Any]


@final
class Follower:
    """Reads what was appended since the last look, and notices when the file was replaced.

    Invariant: a line is handed out once it is whole; what follows the last line break waits.
    Example: `follower.look(path)` in a loop; `follower.restarted` says that all begins anew.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._rest = b""
        self.restarted = False
        """Whether the last look found another file than the one before."""
        self.unreadable = 0
        """Whole lines that were no JSON table."""

    def look(self, path: Path) -> list[Line]:
        """Return the new lines; none where there is no file.

        A file that was renamed is still the same, so a log may move while it is read.

        Raises:
            Damaged: no regular file is there.
            ArtifactError: the system refuses.
        """
        self.restarted = self._file is not None and self._replaced(path)
        if self.restarted:
            self.close()
        if self._file is None:
            try:
                self._file = os.fdopen(open_regular(path), "rb")
            except NotFound:
                return []
        with disk_errors(path, doing="read"):
            *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line for text in whole if (line := self._decode(text)) is not None]

    @property
    def opened(self) -> bool:
        """Whether there was a file at the last look."""
        return self._file is not None

    def close(self) -> None:
        """Let go of the file; the next look begins anew."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest, self.unreadable = None, b"", 0

    def _replaced(self, path: Path) -> bool:
        """Return whether another file is at `path`, or the same one was cut.

        While it is open its inode cannot be given to another file.
        """
        assert self._file is not None
        try:
            there, ours = path.stat(), os.fstat(self._file.fileno())
        except (FileNotFoundError, NotADirectoryError):
            return False
        moved = (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
        return moved or there.st_size < self._file.tell()

    def _decode(self, text: bytes) -> Line | None:
        if not text.strip():
            return None
        try:
            return msgspec.json.decode(text, type=Line)
        except (msgspec.DecodeError, RecursionError):
            self.unreadable += 1
            return None
