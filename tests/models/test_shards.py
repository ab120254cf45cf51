import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

from ketchup_cli.errors import Damaged, DataError
from ketchup_cli.models import layout as layouts
from ketchup_cli.models import shards
from ketchup_cli.models.encode import Row
from ketchup_cli.models.layout import METADATA_KEY, Extent, Layout, flat_places, prompt_digest
from ketchup_cli.models.shard_writer import ShardWriter
from ketchup_cli.models.shards import Shard
from ketchup_cli.spec import canonical

LAYOUT = Layout(
    vocabulary=50, top=3, temperatures=(1.0, 2.0), gap_dtype="float16", tokenizer="sha256:00"
)
ROWS = [
    Row(id="a", prompt=(4, 5), completion=(7, 8, 1), position=0),
    Row(id="b", prompt=(6,), completion=(9, 1), position=2),
    Row(id="c", prompt=(6, 6), completion=(10, 11, 12, 1), position=3),
]
TOKENS = 9


def numbers_of(places: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return made-up numbers that depend on a token's place alone."""
    base = places.float()
    return {
        "taken": base,
        "best": base + 0.5,
        "mean": -base,
        "lse": torch.stack([base, base * 2], dim=1),
        "expected": torch.stack([base - 1, base - 2], dim=1),
        "ids": torch.stack([places, places + 20, places + 40], dim=1).int(),
        "gaps": torch.stack([base * 0, base + 1, base + 2], dim=1),
        "tail": torch.full((len(places), 2), 0.25),
    }


def filled(order: Sequence[Sequence[int]] = ((0, 1, 2),), *, first: int = 0) -> ShardWriter:
    writer = ShardWriter(LAYOUT, ROWS, first=first)
    for rows in order:
        places = writer.places(rows)
        writer.put(places, **numbers_of(places))
    return writer


def opened(path: Path, *, first: int = 0, tokens: int = TOKENS) -> Shard:
    return Shard(path, LAYOUT, extent=Extent(rows=len(ROWS), tokens=tokens), first=first)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "shard-00000.safetensors"
    path.write_bytes(content)
    return path


def spoilt(folder: Path, **changes: torch.Tensor | None) -> Path:
    """Write a shard with some tensors replaced, added or (None) left out."""
    tensors = load(filled().to_bytes()) | changes
    described = {"format": 1, "first": 0, "layout": LAYOUT}
    content = save(
        {name: tensor for name, tensor in tensors.items() if tensor is not None},
        metadata={METADATA_KEY: canonical(described).decode()},
    )
    return written(folder, content)


def test_places_of_rows_follow_one_another() -> None:
    offsets = torch.tensor([0, 3, 5, 9])

    assert flat_places(offsets, torch.tensor([2, 0])).tolist() == [5, 6, 7, 8, 0, 1, 2]


def test_what_was_put_is_read_back(tmp_path: Path) -> None:
    shard = opened(written(tmp_path, filled().to_bytes()))
    put = numbers_of(torch.arange(TOKENS))

    values = shard.everything()

    assert [
        name for name in put if not torch.equal(values[name].to(put[name].dtype), put[name])
    ] == []
    assert values["tokens"].tolist() == [7, 8, 1, 9, 1, 10, 11, 12, 1]


def test_rows_keep_their_positions_and_prompts(tmp_path: Path) -> None:
    shard = opened(written(tmp_path, filled().to_bytes()))

    assert shard.positions.tolist() == [0, 2, 3]
    assert shard.prompts.tolist() == [prompt_digest(row.prompt) for row in ROWS]


@pytest.mark.parametrize(
    "order", [((2,), (0,), (1,)), ((1, 2), (0,)), ((2, 1, 0),)], ids=["single", "pair", "reversed"]
)
def test_the_order_of_batches_does_not_change_a_byte(order: Sequence[Sequence[int]]) -> None:
    assert filled(order).to_bytes() == filled().to_bytes()


def test_a_cache_without_anything_newer_keeps_the_bytes_of_format_1() -> None:
    # taken from the version that knew no other format; caches on disk look like this
    known = "5bca4fc2dbd38f5f93b1282f57cfaa1a35427efad4183e7e6e6b178f8cdc1919"

    assert hashlib.sha256(filled().to_bytes()).hexdigest() == known


def test_the_metadata_is_one_key() -> None:
    header_size = struct.unpack("<Q", filled().to_bytes()[:8])[0]
    header = json.loads(filled().to_bytes()[8 : 8 + header_size])

    assert list(header["__metadata__"]) == [METADATA_KEY]


def test_bytes_per_token_are_those_of_the_file() -> None:
    more = [*ROWS, Row(id="d", prompt=(1,), completion=(2,) * 1000, position=9)]
    sizes = []
    for rows in (ROWS, more):
        writer = ShardWriter(LAYOUT, rows, first=0)
        places = torch.arange(int(writer.offsets[-1])) % 10
        writer.put(torch.arange(len(places)), **numbers_of(places))
        sizes.append(len(writer.to_bytes()))

    per_row, header_slack = 3 * 8, 128
    assert abs(sizes[1] - sizes[0] - 1000 * LAYOUT.bytes_per_token - per_row) < header_slack


def test_a_token_never_scored_is_an_error() -> None:
    with pytest.raises(DataError, match="2 of 9 tokens"):
        filled(((0,), (2,))).to_bytes()


def test_a_gap_too_large_for_float16_stays_finite(tmp_path: Path) -> None:
    writer = ShardWriter(LAYOUT, ROWS, first=0)
    numbers = numbers_of(torch.arange(TOKENS))
    writer.put(torch.arange(TOKENS), **{**numbers, "gaps": numbers["gaps"] + 1e30})

    values = opened(written(tmp_path, writer.to_bytes())).everything()

    assert bool(((-values["gaps"].float()).exp() == 0).all())


def test_rows_read_alone_equal_those_of_the_whole(tmp_path: Path) -> None:
    shard = opened(written(tmp_path, filled().to_bytes()))
    places = flat_places(shard.offsets, torch.tensor([2, 0]))

    alone = shard.of_rows([2, 0])

    assert all(
        torch.equal(column[places], alone[name]) for name, column in shard.everything().items()
    )


def test_prompts_that_differ_in_order_have_other_digests() -> None:
    assert prompt_digest([4, 5]) != prompt_digest([5, 4])


def test_a_prompt_digest_is_the_same_for_ever() -> None:
    # the first 8 bytes of sha256 over ids as little-endian int32, which no version may change
    assert prompt_digest([1, 2, 3]) == -1611130613533166010


FALLING = torch.tensor([0, 5, 3, 9])
SPOILT = {
    "an id past the vocabulary": ({"ids": torch.full((9, 3), 50, dtype=torch.int32)}, "ids"),
    "a token below 0": ({"tokens": torch.full((9,), -1, dtype=torch.int32)}, "tokens"),
    "a NaN": ({"lse": torch.full((9, 2), float("nan"))}, "finite"),
    "a negative gap": ({"gaps": torch.full((9, 3), -1.0, dtype=torch.float16)}, "negative"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_value_no_teacher_gives_is_found(name: str, tmp_path: Path) -> None:
    changes, word = SPOILT[name]
    shard = opened(spoilt(tmp_path, **changes))

    with pytest.raises(Damaged, match=word):
        shard.everything()
    with pytest.raises(Damaged, match=word):
        shard.of_rows([1])


MISLAID = {
    "another type": ({"best": torch.zeros(9, dtype=torch.float64)}, "`best` is F64"),
    "another shape": ({"lse": torch.zeros(9, 1)}, r"`lse` is F32 \[9, 1\]"),
    "a tensor missing": ({"mean": None}, "mean"),
    "a tensor too many": ({"../etc/passwd": torch.zeros(1)}, "unknown"),
    "falling offsets": ({"offsets": FALLING}, "fall after row 1"),
    "offsets that end early": ({"offsets": torch.tensor([0, 3, 5, 8])}, "span 0 to 9"),
}


@pytest.mark.parametrize("name", MISLAID)
def test_a_shard_laid_out_otherwise_is_not_opened(name: str, tmp_path: Path) -> None:
    changes, word = MISLAID[name]
    path = spoilt(tmp_path, **changes)

    with pytest.raises(Damaged, match=word):
        opened(path)


def test_a_shard_in_another_place_of_the_cache_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, filled(first=0).to_bytes())

    with pytest.raises(Damaged, match="another place"):
        opened(path, first=3)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="shard-00000"):
        opened(tmp_path / "shard-00000.safetensors")


def test_a_file_cut_short_while_open_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = written(tmp_path, filled().to_bytes())
    shard = opened(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 40)

    with pytest.raises(Damaged, match="cannot be read"):
        shard.everything()
    with pytest.raises(Damaged, match="ends early"):
        shard.of_rows([2])


def test_a_safetensors_without_pread_still_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(path: Path, framework: str) -> object:
        return safe_open(path, framework=framework)

    monkeypatch.setattr(shards, "safe_open", older)

    shard = opened(written(tmp_path, filled().to_bytes()))

    assert shard.everything()["taken"].tolist() == list(range(TOKENS))


def test_a_shard_beyond_four_gibibytes_is_read_at_its_end(tmp_path: Path) -> None:
    layout = Layout(
        vocabulary=50, top=0, temperatures=(1.0,), gap_dtype="float32", tokenizer="sha256:00"
    )
    tokens = 200_000_000
    path = tmp_path / "shard-00000.safetensors"
    write_sparse(path, layout, offsets=[0, tokens - 3, tokens])

    shard = Shard(path, layout, extent=Extent(rows=2, tokens=tokens), first=0)

    assert path.stat().st_size > 5 * 2**30
    assert shard.of_rows([1])["taken"].tolist() == [0.0, 0.0, 0.0]


def write_sparse(path: Path, layout: Layout, *, offsets: list[int]) -> None:
    """Write a shard whose every value but the offsets is a hole in the file."""
    header: dict[str, object] = {
        "__metadata__": {
            METADATA_KEY: canonical({"format": 1, "first": 0, "layout": layout}).decode()
        }
    }
    sizes = {"float32": 4, "int32": 4, "int64": 8}
    end = 0
    for name, column in layout.columns.items():
        shape = column.shape(Extent(rows=2, tokens=offsets[-1]))
        start, end = end, end + sizes[column.dtype] * torch.Size(shape).numel()
        header[name] = {
            "dtype": layouts.CODES[column.dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + struct.pack("<3q", *offsets))
        file.truncate(8 + len(text) + end)
