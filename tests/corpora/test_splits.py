from pathlib import Path

import msgspec
import pytest

from ketchup_cli.corpora import languages, read_generations, read_split, split_names
from ketchup_cli.errors import DataError, NotFound, SpecError
from ketchup_cli.records import Example, Generation

EXAMPLES = [Example(id=str(n), prompt=f"p{n}", references=(f"r{n}", "x")) for n in range(3)]
GENERATION = Generation(id="a", text="t", tokens=(1, 2), stop="eos", logp=-1.5)


def write(path: Path, rows: list[Example] | list[Generation]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "dev.jsonl", EXAMPLES)

    assert read_split(tmp_path, "dev") == EXAMPLES


def test_an_unknown_split_names_the_ones_there_are(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / f"{split}.jsonl", EXAMPLES)

    with pytest.raises(SpecError, match="`tset` is not a split of this corpus; nearest: `test`"):
        read_split(tmp_path, "tset")


@pytest.mark.parametrize("split", ["../dev", "/etc/passwd", "dev.jsonl", ""])
def test_a_split_name_is_never_a_path(tmp_path: Path, split: str) -> None:
    write(tmp_path / "dev.jsonl", EXAMPLES)
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner" / "train.jsonl", EXAMPLES)

    with pytest.raises(SpecError):
        read_split(tmp_path / "inner", split)


def test_a_folder_without_splits_says_so(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds no split"):
        read_split(tmp_path, "dev")


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "dev.jsonl", [])

    with pytest.raises(DataError, match="holds no rows"):
        read_split(tmp_path, "dev")


@pytest.mark.parametrize(
    "line",
    [b'{"id": "a", "prompt": "p"}', b'{"id": "a"', b"\xff", b"", b'{"id": 1}'],
    ids=["field-missing", "torn", "not-utf-8", "blank", "wrong-type"],
)
def test_a_row_that_is_no_example_names_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "dev.jsonl", EXAMPLES)
    path.write_bytes(path.read_bytes() + line + b"\n")

    with pytest.raises(DataError, match=r"dev\.jsonl` line 4 is no example"):
        read_split(tmp_path, "dev")


def test_an_id_twice_in_a_split_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "dev.jsonl", [*EXAMPLES, EXAMPLES[1]])

    with pytest.raises(DataError, match="1 ids twice, among them `1`"):
        read_split(tmp_path, "dev")


def test_splits_are_listed_in_their_usual_order(tmp_path: Path) -> None:
    for split in ("test", "iid", "train", "dev"):
        write(tmp_path / f"{split}.jsonl", EXAMPLES)

    assert split_names(tmp_path) == ["train", "dev", "test", "iid"]


def test_generations_are_read_with_all_their_samples(tmp_path: Path) -> None:
    rows = [GENERATION, msgspec.structs.replace(GENERATION, sample=1)]
    path = write(tmp_path / "generations.jsonl", rows)

    assert read_generations(path) == rows


def test_one_sample_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "generations.jsonl", [GENERATION, GENERATION])

    with pytest.raises(DataError, match="`a` sample `0`"):
        read_generations(path)


def test_generations_that_are_not_there_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_generations(tmp_path / "generations.jsonl")


def test_languages_are_those_of_the_report(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"languages": ["en", "nl"]}', encoding="utf-8")

    assert languages(tmp_path) == ("en", "nl")


def test_a_folder_without_a_report_declares_no_language(tmp_path: Path) -> None:
    assert languages(tmp_path) == ()
