import json
from collections.abc import Iterator

import msgspec
import pytest
from storing import Stopped, building, tree

from ketchup_cli.errors import NonFiniteError
from ketchup_cli.store.layout import Store


class Row(msgspec.Struct, frozen=True):
    id: str
    logp: float


def test_json_is_sorted_and_indented(store: Store) -> None:
    with building(store) as build:
        build.write_json("report.json", {"b": (1, 2.5), "a": Row(id="\u00e9", logp=-1.0)})

        assert build.read_bytes("report.json").decode() == (
            '{\n  "a": {\n    "id": "\\u00e9",\n    "logp": -1.0\n  },\n'
            '  "b": [\n    1,\n    2.5\n  ]\n}\n'
        )


def test_rows_are_one_canonical_line_each(store: Store) -> None:
    with building(store) as build:
        build.write_rows("rows.jsonl", (Row(id=str(n), logp=-n / 2) for n in range(2)))

        assert build.read_bytes("rows.jsonl") == (
            b'{"id":"0","logp":0.0}\n{"id":"1","logp":-0.5}\n'
        )


def test_no_rows_make_an_empty_file(store: Store) -> None:
    with building(store) as build:
        build.write_rows("rows.jsonl", [])

        assert build.read_bytes("rows.jsonl") == b""


def test_many_rows_all_arrive(store: Store) -> None:
    with building(store) as build:
        build.write_rows("rows.jsonl", ({"id": n, "text": "x" * 400} for n in range(6000)))
        lines = build.read_bytes("rows.jsonl").splitlines()

    assert [json.loads(line)["id"] for line in lines] == list(range(6000))


def test_a_nan_in_a_row_is_refused_with_its_number_and_leaves_nothing(store: Store) -> None:
    rows = [Row(id="0", logp=-1.0), Row(id="1", logp=float("nan"))]

    with building(store) as build:
        with pytest.raises(NonFiniteError, match=r"row 2 of `rows\.jsonl`"):
            build.write_rows("rows.jsonl", rows)

        assert (build.has("rows.jsonl"), tree(build.path)) == (False, [])


def test_a_nan_in_a_document_is_refused(store: Store) -> None:
    with building(store) as build, pytest.raises(NonFiniteError, match=r"report\.json"):
        build.write_json("report.json", {"loss": float("inf")})


def test_rows_that_fail_half_way_leave_nothing(store: Store) -> None:
    def rows() -> Iterator[Row]:
        yield Row(id="0", logp=-1.0)
        raise Stopped

    with building(store) as build:
        with pytest.raises(Stopped):
            build.write_rows("rows.jsonl", rows())

        assert (build.has("rows.jsonl"), tree(build.path)) == (False, [])
