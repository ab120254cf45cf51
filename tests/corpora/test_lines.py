import gzip
from pathlib import Path

import pytest

from ketchup_cli.corpora import lines
from ketchup_cli.corpora.lines import read_lines
from ketchup_cli.errors import DataError, NotFound


def write(folder: Path, content: bytes, name: str = "text") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_lines_keep_their_ends_and_the_last_needs_none(tmp_path: Path) -> None:
    path = write(tmp_path, b"one\r\ntwo\nthree")

    assert list(read_lines(path)) == [b"one\r\n", b"two\n", b"three"]


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"one\ntwo\n"), name="text.jsonl")

    assert list(read_lines(path)) == [b"one\n", b"two\n"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, packed: bool) -> None:
    content = b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n"
    path = write(tmp_path, gzip.compress(content) if packed else content)

    assert list(read_lines(path)) == [b"one\n", b"\xef\xbb\xbftwo\n"]


def test_a_unicode_line_separator_ends_no_line(tmp_path: Path) -> None:
    content = "one\u2028still one\x0bstill\n".encode()

    assert list(read_lines(write(tmp_path, content))) == [content]


def test_an_endless_line_is_passed_over_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    path = write(tmp_path, b"short\n" + b"x" * 11 + b"\n" + b"y" * 10 + b"\nend\n")

    assert list(read_lines(path)) == [b"short\n", None, b"y" * 10 + b"\n", b"end\n"]


def test_a_gzip_bomb_is_refused_while_it_unfolds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "INFLATION_GRACE_BYTES", 2**20)
    path = write(tmp_path, gzip.compress((b"x" * 1023 + b"\n") * 2**13))

    with pytest.raises(DataError, match="inflates to more than 100 times"):
        list(read_lines(path))


def test_a_bomb_without_a_line_end_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "INFLATION_GRACE_BYTES", 2**20)
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 2**16)
    path = write(tmp_path, gzip.compress(b"x" * 2**23))

    with pytest.raises(DataError, match="inflates"):
        list(read_lines(path))


def test_a_torn_gzip_is_an_error_not_a_shorter_file(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"one line of text\n" * 1000)[:-20])

    with pytest.raises(DataError, match="not a whole gzip file"):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("one\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04rest", "zip"),
        (b"PAR1rest", "Parquet"),
    ],
    ids=["utf-16", "zip", "parquet"],
)
def test_what_is_no_text_is_called_by_its_name(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what):
        list(read_lines(write(tmp_path, content)))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        list(read_lines(tmp_path / "absent"))


def test_a_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(read_lines(tmp_path))
