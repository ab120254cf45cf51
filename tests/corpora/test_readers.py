from collections.abc import Iterable
from pathlib import Path

import pytest

from ketchup_cli.corpora import readers
from ketchup_cli.corpora.readers import (
    Record,
    format_of,
    read_csv,
    read_jsonl,
    read_moses,
    read_parquet,
    read_tsv,
)
from ketchup_cli.corpora.rows import Problem, Row
from ketchup_cli.errors import DataError, NotFound, SpecError


def write(folder: Path, content: bytes, name: str = "rows") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def reasons(records: Iterable[Record]) -> list[tuple[str, str]]:
    return [(r.place, r.reason) if isinstance(r, Problem) else (r.place, "") for r in records]


def fields(records: Iterable[Record]) -> list[dict[str, object]]:
    return [dict(record.fields) for record in records if isinstance(record, Row)]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.jsonl", "jsonl"),
        ("a.b.JSONL", "jsonl"),
        ("a.jsonl.gz", "jsonl"),
        ("a.csv", "csv"),
        ("a.tsv.gz", "tsv"),
        ("a.parquet", "parquet"),
    ],
)
def test_the_name_tells_the_format(name: str, format: str) -> None:
    assert format_of(Path(name)) == format


def test_a_name_that_tells_nothing_asks_for_the_format() -> None:
    with pytest.raises(SpecError, match="does not tell its format"):
        format_of(Path("train.nl"))


def test_jsonl_gives_one_row_per_object(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": "één"}\r\n{"a": "2"}'.encode())

    assert list(read_jsonl(path)) == [Row("line 1", {"a": "één"}), Row("line 2", {"a": "2"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": "x"', "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'\xff{"a": "b"}', "not UTF-8"),
        (b'["a"]', "not an object"),
        (b'"a"', "not an object"),
        (b"   ", "blank line"),
    ],
    ids=["torn", "nan", "surrogate", "deep", "latin-1", "stray", "list", "text", "blank"],
)
def test_a_bad_line_is_a_problem_with_its_number(tmp_path: Path, line: bytes, reason: str) -> None:
    path = write(tmp_path, b'{"a": "x"}\n' + line + b'\n{"a": "y"}\n')

    assert reasons(read_jsonl(path)) == [("line 1", ""), ("line 2", reason), ("line 3", "")]


def test_a_problem_never_repeats_text_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"secret \x1b[31m": \n')

    (problem,) = read_jsonl(path)

    assert isinstance(problem, Problem)
    assert "secret" not in problem.detail
    assert "\x1b" not in problem.detail


def test_tsv_takes_quotes_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, b'src\ttgt\r\nsay "hi\t"hoi" zeg\r\n')

    assert fields(read_tsv(path)) == [{"src": 'say "hi', "tgt": '"hoi" zeg'}]


def test_tsv_rows_of_another_width_are_problems(tmp_path: Path) -> None:
    path = write(tmp_path, b"src\ttgt\na\tb\na\na\tb\tc\n\n\xff\tb\n")

    assert reasons(read_tsv(path)) == [
        ("line 2", ""),
        ("line 3", "wrong number of columns"),
        ("line 4", "wrong number of columns"),
        ("line 5", "blank line"),
        ("line 6", "not UTF-8"),
    ]


def test_csv_understands_quotes_commas_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbfsrc,tgt\r\n"a, ""b""","two\r\nlines"\r\nc,d\r\n')

    assert list(read_csv(path)) == [
        Row("line 2", {"src": 'a, "b"', "tgt": "two\r\nlines"}),
        Row("line 4", {"src": "c", "tgt": "d"}),
    ]


def test_csv_problems_name_the_line_the_record_begins_on(tmp_path: Path) -> None:
    path = write(tmp_path, b'src,tgt\n"a\nb",c\nonly\n\n\xe9,d\ne,f\n')

    assert reasons(read_csv(path)) == [
        ("line 2", ""),
        ("line 4", "wrong number of columns"),
        ("line 5", "blank line"),
        ("line 6", "not UTF-8"),
        ("line 7", ""),
    ]


@pytest.mark.parametrize(
    "content",
    [b'src,tgt\n"a"b,c\n', b'src,tgt\na,"never closed\nx,y\n'],
    ids=["text-after-quote", "open-quote"],
)
def test_broken_csv_quoting_ends_the_import(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="near line"):
        list(read_csv(write(tmp_path, content)))


def test_a_csv_field_may_be_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    path = write(tmp_path, b"src,tgt\n" + b"x" * 200_000 + b",y\n")

    (row,) = fields(read_csv(path))

    assert len(str(row["src"])) == 200_000


@pytest.mark.parametrize("read", [read_csv, read_tsv], ids=["csv", "tsv"])
def test_a_column_named_twice_is_refused(tmp_path: Path, read: object) -> None:
    sign = b"," if read is read_csv else b"\t"
    path = write(tmp_path, sign.join([b"src", b"src"]) + b"\n")

    with pytest.raises(DataError, match="`src` more than once"):
        list(read(path))  # type: ignore[operator]


def test_moses_lines_run_side_by_side(tmp_path: Path) -> None:
    english = write(tmp_path, b"one\r\n\xff\n\n", name="train.en")
    dutch = write(tmp_path, "één\ntwee\ndrie\n".encode(), name="train.nl")

    records = list(read_moses([english, dutch], ["src", "tgt"]))

    assert records[0] == Row("line 1", {"src": "one", "tgt": "één"})
    assert reasons(records)[1] == ("line 2", "not UTF-8")
    assert records[2] == Row("line 3", {"src": "", "tgt": "drie"})


def test_moses_files_of_different_length_are_refused(tmp_path: Path) -> None:
    english = write(tmp_path, b"one\ntwo\n", name="train.en")
    dutch = write(tmp_path, b"een\n", name="train.nl")

    with pytest.raises(DataError, match=r"train\.nl` ends after line 1"):
        list(read_moses([english, dutch], ["src", "tgt"]))


def test_parquet_reads_the_wanted_columns(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    table = pyarrow.table({"src": ["a", "b"], "tgt": [["x", "y"], None], "extra": [1, 2]})
    pyarrow.parquet.write_table(table, path)

    assert list(read_parquet(path, ["src", "tgt"])) == [
        Row("row 1", {"src": "a", "tgt": ["x", "y"]}),
        Row("row 2", {"src": "b", "tgt": None}),
    ]


def test_parquet_without_a_wanted_column_shows_the_ones_it_has(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), path)

    assert fields(read_parquet(path, ["src"])) == [{"text": "a"}]


def test_a_file_that_is_no_parquet_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(read_parquet(write(tmp_path, b"not parquet at all"), ["src"]))


def test_a_missing_parquet_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(read_parquet(tmp_path / "absent.parquet", ["src"]))


def test_an_over_long_line_is_a_problem_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ketchup_cli.corpora.lines.MAX_LINE_BYTES", 20)
    path = write(tmp_path, b'{"a": "' + b"x" * 30 + b'"}\n{"a": "b"}\n')

    assert reasons(readers.read_jsonl(path)) == [("line 1", "line too long"), ("line 2", "")]
