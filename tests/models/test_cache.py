import json
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from ketchup_cli.errors import Damaged, NotFound, TooNew
from ketchup_cli.models.cache import CacheMeta, CacheReader, ShardEntry, read_meta, shard_name
from ketchup_cli.models.encode import Row
from ketchup_cli.models.layout import Layout
from ketchup_cli.models.shard_writer import ShardWriter

LAYOUT = Layout(
    vocabulary=50, top=0, temperatures=(1.0,), gap_dtype="float16", tokenizer="sha256:00"
)
LENGTHS = ((3, 1), (2,), (4, 2, 5))
"""Tokens per row, shard by shard."""

POSITIONS = ((0, 1), (4,), (5, 7, 8))


def write_cache(folder: Path) -> CacheMeta:
    """Write a cache whose `taken` is 100 times the row's position plus the step."""
    entries: list[ShardEntry] = []
    first = 0
    for number, (lengths, positions) in enumerate(zip(LENGTHS, POSITIONS, strict=True)):
        rows = [
            Row(id=str(position), prompt=(position,), completion=(1,) * size, position=position)
            for position, size in zip(positions, lengths, strict=True)
        ]
        writer = ShardWriter(LAYOUT, rows, first=first)
        taken_N = torch.tensor([
            100.0 * row.position + step for row in rows for step in range(len(row.completion))
        ])
        writer.put(torch.arange(len(taken_N)), **_statistics(taken_N))
        (folder / shard_name(number)).write_bytes(writer.to_bytes())
        entries.append(ShardEntry(file=shard_name(number), rows=len(rows), tokens=len(taken_N)))
        first += len(rows)
    meta = CacheMeta(
        format=1,
        layout=LAYOUT,
        completions="references",
        split="train",
        rows=first,
        tokens=sum(map(sum, LENGTHS)),
        truncated=0,
        skipped=3,
        shards=tuple(entries),
    )
    (folder / "meta.json").write_bytes(msgspec.json.encode(meta))
    return meta


def _statistics(taken_N: Tensor) -> dict[str, Tensor]:
    single = dict.fromkeys(("taken", "best", "mean"), taken_N)
    return {**single, **dict.fromkeys(("lse", "expected", "tail"), taken_N[:, None])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_cache(tmp_path)
    return tmp_path


def test_what_was_written_about_a_cache_is_read_back(tmp_path: Path) -> None:
    meta = write_cache(tmp_path)

    assert read_meta(tmp_path) == meta


@pytest.mark.parametrize("memory_bytes", [0, 100, 1 << 20], ids=["none", "some", "all"])
def test_rows_come_back_in_the_order_asked_for(folder: Path, memory_bytes: int) -> None:
    reader = CacheReader(folder, memory_bytes=memory_bytes)

    columns = reader.read(reader.find([8, 0, 4, 1]))

    taken = [800, 801, 802, 803, 804, 0, 1, 2, 400, 401, 100]
    assert columns["taken"].tolist() == taken


def test_a_row_asked_for_twice_comes_twice(folder: Path) -> None:
    reader = CacheReader(folder, memory_bytes=0)

    assert reader.read(reader.find([1, 4, 1]))["taken"].tolist() == [100, 400, 401, 100]


def test_positions_that_were_skipped_are_not_found(folder: Path) -> None:
    reader = CacheReader(folder, memory_bytes=0)

    assert reader.find([0, 2, 3, 5, 6, 9, -1]).tolist() == [0, -1, -1, 3, -1, -1, -1]


def test_a_folder_without_a_cache_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no teacher cache"):
        read_meta(tmp_path)


def test_a_cache_of_a_later_version_is_refused_with_a_remedy(folder: Path) -> None:
    table = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(table | {"format": 3, "layout": "other"}))

    with pytest.raises(TooNew, match="format 3; this ketchup knows 2") as raised:
        read_meta(folder)
    assert raised.value.hint == "pip install --upgrade ketchup-kd"


@pytest.mark.parametrize(
    "content",
    ["", "[1]", "{}", '{"format": 1}', "\udcff"],
    ids=["empty", "a list", "no fields", "few fields", "not UTF-8"],
)
def test_a_meta_that_is_none_is_damage(folder: Path, content: str) -> None:
    (folder / "meta.json").write_bytes(content.encode("utf-8", "surrogateescape"))

    with pytest.raises(Damaged, match="is damaged"):
        read_meta(folder)


def test_a_shard_outside_the_folder_is_refused(folder: Path) -> None:
    table = json.loads((folder / "meta.json").read_text())
    table["shards"][0]["file"] = "../shard-00000.safetensors"
    (folder / "meta.json").write_text(json.dumps(table))

    with pytest.raises(Damaged, match="other names"):
        read_meta(folder)


def test_swapped_shards_are_noticed(folder: Path) -> None:
    one, two = folder / shard_name(0), folder / shard_name(2)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)

    with pytest.raises(Damaged, match="shard-00000"):
        CacheReader(folder, memory_bytes=0)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / shard_name(1)).unlink()

    with pytest.raises(Damaged, match="shard-00001"):
        CacheReader(folder, memory_bytes=0)
