"""Readers: one file format each, from a path to rows and problems, in file order."""

import csv
import itertools
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ketchup_cli.corpora.lines import MAX_LINE_BYTES, read_lines
from ketchup_cli.corpora.rows import Problem, Row
from ketchup_cli.errors import DataError, NotFound, SpecError

Record = Row | Problem
_LONG = f"more than {MAX_LINE_BYTES} bytes"
_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


def format_of(path: Path) -> str:
    """Return the format a file's name tells, `.gz` set aside.

    Raises:
        SpecError: the name tells none.
    """
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise SpecError(
            f"the name of `{path}` does not tell its format",
            hint="--set format=jsonl (or csv, tsv, parquet)",
        )
    return _BY_SUFFIX[suffix]


def read_jsonl(path: Path) -> Iterator[Record]:
    """Return one row per line, each a JSON object."""
    decode = msgspec.json.Decoder().decode
    for number, line in enumerate(read_lines(path), start=1):
        yield _json_record(f"line {number}", line, decode)


def _json_record(place: str, line: bytes | None, decode: Callable[[bytes], Any]) -> Record:
    if line is None:
        return Problem(place, "line too long", _LONG)
    if not line.strip():
        return Problem(place, "blank line", "nothing on it")
    try:
        value = decode(line)
    except UnicodeDecodeError as error:
        return Problem(place, "not UTF-8", f"byte {error.start + 1} of a text")
    except (msgspec.DecodeError, RecursionError) as error:
        if not _is_utf8(line):
            return Problem(place, "not UTF-8", "its bytes")
        return Problem(place, "not JSON", str(error))
    if not isinstance(value, dict):
        return Problem(place, "not an object", f"a JSON {type(value).__name__}")
    return Row(place, value)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_tsv(path: Path) -> Iterator[Record]:
    """Return one row per line after the header; tabs part, quotes mean nothing."""
    lines = enumerate(read_lines(path), start=1)
    header: list[str] = []
    for number, line in lines:
        text = _text(f"line {number}", line)
        if isinstance(text, Problem):
            if not header:
                raise DataError(f"`{path}` has no readable header: {text.reason}")
            yield text
            continue
        cells = text.split("\t")
        if not header:
            header = _header(path, cells)
        else:
            yield _table_record(f"line {number}", header, cells)


def _text(place: str, line: bytes | None) -> str | Problem:
    """Return a line without its end as text, or why it is none."""
    if line is None:
        return Problem(place, "line too long", _LONG)
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(place, "not UTF-8", f"byte {error.start + 1} of the line")


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice:
        raise DataError(f"`{path}` line 1 names column `{twice[0]}` more than once")
    return list(cells)


def _table_record(place: str, header: Sequence[str], cells: Sequence[str]) -> Record:
    if not any(cells):
        return Problem(place, "blank line", "nothing on it")
    if len(cells) != len(header):
        return Problem(
            place, "wrong number of columns", f"{len(cells)} where the header has {len(header)}"
        )
    return Row(place, dict(zip(header, cells, strict=True)))


def read_csv(path: Path) -> Iterator[Record]:
    """Return one row per record after the header; RFC 4180 quoting.

    Raises:
        DataError: the quoting is broken: from there on no row can be told from the next, so
            this ends the import even where bad rows are skipped.
    """
    lines = _CsvLines(path)
    limit = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        records = csv.reader(lines, strict=True)
        header = _header(path, next(records, []))
        if lines.take_tainted():
            raise DataError(f"`{path}` line 1 is not UTF-8")
        while True:
            place = f"line {records.line_num + 1}"
            cells = next(records, None)
            if cells is None:
                return
            if lines.take_tainted():
                yield Problem(place, "not UTF-8", "a byte of the record")
            else:
                yield _table_record(place, header, cells)
    except csv.Error as error:
        raise DataError(
            f"`{path}` near line {lines.count}: {error}", hint="mend the quotes of that record"
        ) from None
    finally:
        csv.field_size_limit(limit)


class _CsvLines:
    """Lines for the csv module, which remembers whether one was not UTF-8."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = read_lines(path)
        self._tainted = False
        self.count = 0

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.count += 1
        if line is None:
            raise DataError(f"`{self._path}` line {self.count} has {_LONG}")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self._tainted = True
            return line.decode("utf-8", errors="replace")

    def take_tainted(self) -> bool:
        """Return whether a line since the last call was not UTF-8."""
        tainted, self._tainted = self._tainted, False
        return tainted


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    """Return one row per row of a Parquet file, holding the wanted columns only."""
    import pyarrow
    import pyarrow.parquet

    if not path.is_file():
        raise NotFound(f"no file `{path}`", hint=f"ls {shlex.quote(str(path.parent))}")
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            present = [name for name in file.schema_arrow.names if name in columns]
            listed = present or file.schema_arrow.names
            for batch in file.iter_batches(batch_size=1024, columns=listed):
                for index in range(batch.num_rows):
                    number += 1
                    yield _parquet_record(f"row {number}", batch, index)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"`{path}` is not a readable Parquet file: {first}") from None


def _parquet_record(place: str, batch: Any, index: int) -> Record:
    try:
        names = batch.schema.names
        return Row(place, {name: batch.column(name)[index].as_py() for name in names})
    except UnicodeDecodeError:
        return Problem(place, "not UTF-8", "a text of the row")


def read_moses(paths: Sequence[Path], names: Sequence[str]) -> Iterator[Record]:
    """Return one row per line number of files that run side by side, a field per file.

    Raises:
        DataError: the files differ in their number of lines; which pairs then belong together
            cannot be told, so this ends the import even where bad rows are skipped.
    """
    files = [read_lines(path) for path in paths]
    for number, lines in enumerate(itertools.zip_longest(*files, fillvalue=b""), start=1):
        short = [path for path, line in zip(paths, lines, strict=True) if line == b""]
        if short:
            raise DataError(
                f"`{short[0]}` ends after line {number - 1}; its partner goes on",
                hint=f"wc -l {shlex.join(str(path) for path in paths)}",
            )
        yield _moses_record(f"line {number}", lines, names)


def _moses_record(place: str, lines: Sequence[bytes | None], names: Sequence[str]) -> Record:
    texts: dict[str, object] = {}
    for name, line in zip(names, lines, strict=True):
        text = _text(place, line)
        if isinstance(text, Problem):
            return text
        texts[name] = text
    return Row(place, texts)


READERS: Mapping[str, Callable[[Path], Iterator[Record]]] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
}
