"""Lines of a text file, gzip or not, without ever holding more than one of them."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import BinaryIO, Protocol, final

from ketchup_cli.errors import DataError, NotFound

MAX_LINE_BYTES = 16 * 2**20
"""Longest line that is read; a longer one is skipped over in pieces."""
MAX_INFLATION = 100
"""Most bytes one gzip byte may become: text stays far below, a bomb reaches 1,000."""
INFLATION_GRACE_BYTES = 64 * 2**20
"""Inflated bytes before the ratio is looked at, for very repetitive small files."""
MAX_INFLATED_BYTES = 2**40
"""Inflated bytes of one file, whatever the ratio."""

_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PAR1": "a Parquet file",
}


def read_lines(path: Path) -> Iterator[bytes | None]:
    """Return the lines of a file, line end included; None for one of more than 16 MiB.

    A UTF-8 byte order mark is dropped. Lines end at a line feed only, so that a Unicode
    line separator inside a text does not break it.

    Raises:
        NotFound: there is no such file.
        DataError: not plain or gzip text, a torn gzip, or one that inflates beyond reason.
    """
    with _open(path) as raw:
        head = raw.read(2)
        raw.seek(0)
        if head != b"\x1f\x8b":
            yield from _lines(path, raw)
            return
        try:
            yield from _lines(path, _Inflated(path, raw))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"`{path}` is not a whole gzip file: {error}",
                hint=f"gzip --test {quote(str(path))}",
            ) from None


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"no file `{path}`", hint=f"ls {quote(str(path.parent))}") from None
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}") from None


def _lines(path: Path, stream: "_Stream") -> Iterator[bytes | None]:
    first = True
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if first:
            line = _without_mark(path, line)
            first = False
        if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
        else:
            _skip_line(stream)
            yield None


def _without_mark(path: Path, line: bytes) -> bytes:
    for mark, what in _OTHER_MARKS.items():
        if line.startswith(mark):
            raise DataError(
                f"`{path}` is {what}; ketchup reads UTF-8 text, plain or gzip",
                hint="convert it first, or name its format with --set format=parquet",
            )
    return line.removeprefix(_UTF8_MARK)


def _skip_line(stream: "_Stream") -> None:
    while (piece := stream.readline(2**20)) and not piece.endswith(b"\n"):
        pass


class _Stream(Protocol):
    def readline(self, size: int, /) -> bytes: ...


@final
class _Inflated:
    """A gzip file that refuses to grow beyond reason while it is read."""

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        self._path = path
        self._raw = raw
        self._stream = gzip.GzipFile(fileobj=raw, mode="rb")

    def readline(self, size: int, /) -> bytes:
        line = self._stream.readline(size)
        inflated = self._stream.tell()
        allowed = max(INFLATION_GRACE_BYTES, MAX_INFLATION * self._raw.tell())
        if inflated > min(allowed, MAX_INFLATED_BYTES):
            raise DataError(
                f"`{self._path}` inflates to more than {MAX_INFLATION} times its size",
                hint=f"gunzip it by hand if that is meant: gunzip --keep {quote(str(self._path))}",
            )
        return line
