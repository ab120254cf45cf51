import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ketchup_cli.corpora.imports import Source, Tally, read_examples
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.records import Example
from ketchup_cli.specs import CorpusSpec

ROWS = [{"src": "a", "tgt": "b"}, {"src": "c", "tgt": "d"}]


def write(folder: Path, rows: list[Any], name: str = "train.jsonl") -> Path:
    path = folder / name
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path, tally: Tally | None = None, **settings: Any) -> list[Example]:
    spec = CorpusSpec(prompt_field="src", reference_field="tgt", **settings)
    source = Source(split="train", format="jsonl", files=(path,))
    return list(read_examples(source, spec, Tally() if tally is None else tally))


def test_rows_become_examples_in_file_order(tmp_path: Path) -> None:
    examples = read(write(tmp_path, ROWS))

    assert [(row.prompt, row.references) for row in examples] == [("a", ("b",)), ("c", ("d",))]


def test_an_id_is_the_digest_of_prompt_and_references(tmp_path: Path) -> None:
    example, _ = read(write(tmp_path, ROWS))

    assert example.id == hashlib.sha256(b'["a",["b"]]').hexdigest()


def test_ids_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    forward = read(write(tmp_path, ROWS, "a.jsonl"))
    backward = read(write(tmp_path, ROWS[::-1], "b.jsonl"))

    assert {row.prompt: row.id for row in forward} == {row.prompt: row.id for row in backward}


def test_a_document_is_kept_beside_the_texts_and_is_no_part_of_the_id(tmp_path: Path) -> None:
    tally = Tally()
    rows = [row | {"doc": "d"} for row in ROWS]

    examples = read(write(tmp_path, rows), tally, document_field="doc")

    assert [row.document for row in examples] == ["d", "d"]
    assert [row.id for row in examples] == [
        row.id for row in read(write(tmp_path, ROWS, "b.jsonl"))
    ]
    assert tally.report()["documents"] == 1


def test_the_second_of_two_equal_rows_hashes_its_number(tmp_path: Path) -> None:
    examples = read(write(tmp_path, [ROWS[0], ROWS[1], ROWS[0], ROWS[0]]))

    assert examples[2].id == hashlib.sha256(b'["a",["b"],2]').hexdigest()
    assert len({row.id for row in examples}) == 4


def test_equal_prompts_with_other_references_are_other_examples(tmp_path: Path) -> None:
    tally = Tally()
    examples = read(write(tmp_path, [ROWS[0], {"src": "a", "tgt": "x"}]), tally)

    assert examples[0].id != examples[1].id
    assert tally.repeats == 0
    assert tally.report()["repeated_prompts"] == 1


def test_a_bad_row_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, [*ROWS, "{torn"])

    with pytest.raises(DataError, match=r"train\.jsonl` line 3: not JSON") as caught:
        read(path)
    assert caught.value.hint is not None
    assert "bad_rows=skip" in caught.value.hint


def test_skipped_rows_are_counted_by_reason_with_their_places(tmp_path: Path) -> None:
    tally = Tally()
    bad = ["{torn", {"src": "", "tgt": "b"}, {"src": "a"}, {"src": "a", "tgt": 1}, "{", "{", "{"]
    examples = read(write(tmp_path, [*ROWS, *bad]), tally, bad_rows="skip")

    skipped = tally.report()["skipped"]
    assert len(examples) == 2
    assert {reason: entry["count"] for reason, entry in skipped.items()} == {
        "not JSON": 4,
        "empty prompt": 1,
        "field missing": 1,
        "field not text": 1,
    }
    assert [place.partition(":")[0] for place in skipped["not JSON"]["first"]] == [
        "line 3",
        "line 7",
        "line 8",
    ]


def test_rows_read_and_rows_skipped_add_up(tmp_path: Path) -> None:
    tally = Tally()
    rows = [*ROWS, "", "[]", {"src": "a" * 50, "tgt": "b"}]
    read(write(tmp_path, rows), tally, bad_rows="skip", max_characters=20)

    assert tally.examples + tally.skipped.total() == len(rows)


def test_a_field_no_row_has_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, [{"source": "a", "target": "b"}])

    with pytest.raises(SpecError, match="nearest: `source`"):
        read(path)


def test_a_field_no_row_has_is_no_row_to_skip(tmp_path: Path) -> None:
    path = write(tmp_path, [{"source": "a", "target": "b"}] * 3)

    with pytest.raises(SpecError, match="nearest: `source`"):
        read(path, bad_rows="skip")


def test_a_field_missing_in_a_later_row_is_a_bad_row(tmp_path: Path) -> None:
    path = write(tmp_path, [*ROWS, {"src": "a"}])

    with pytest.raises(DataError, match="line 3: field missing: no field `tgt`"):
        read(path)


@pytest.mark.parametrize("rows", [[], ["{torn", ""]], ids=["no-rows", "bad-rows-only"])
def test_a_split_without_examples_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(DataError, match="split `train` is empty"):
        read(write(tmp_path, rows), bad_rows="skip")


def test_a_field_no_row_has_is_named_beside_other_problems(tmp_path: Path) -> None:
    path = write(tmp_path, ["{torn", *ROWS])

    with pytest.raises(DataError, match=r"2 field missing \(line 2: no field `topic`\)"):
        read(path, bad_rows="skip", template="{prompt} {topic}")


def test_the_tally_tells_lengths_and_references(tmp_path: Path) -> None:
    tally = Tally()
    read(write(tmp_path, [{"src": "abc", "tgt": ["d", "efg"]}, {"src": "h", "tgt": "ij"}]), tally)

    report = tally.report()
    assert report["references"] == 3
    assert report["prompt_characters_mean"] == 2.0
    assert report["prompt_characters_max"] == 3
    assert report["reference_characters_mean"] == 2.0
    assert report["reference_characters_max"] == 3
