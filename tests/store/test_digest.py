import hashlib
import os
import random
from pathlib import Path

import pytest
from storing import publish

from ketchup_cli.errors import Damaged, NotFound
from ketchup_cli.store.digest import (
    FileEntry,
    file_digest,
    folder_digest,
    recipe_id,
    table_digest,
)
from ketchup_cli.store.layout import Store

SPEC = {"top": 64, "temperatures": [1.0, 2.0], "gap_dtype": "float16", "nested": {"on": True}}
INPUTS = [("teacher", "sha256:" + "aa" * 32), ("corpus", "sha256:" + "bb" * 32)]


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")

    # the first test vector of FIPS 180-2
    assert file_digest(path) == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        file_digest(tmp_path / "nowhere")


def test_a_link_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")

    with pytest.raises(Damaged, match="not a regular file"):
        file_digest(tmp_path / "link")


def test_a_fifo_is_no_file_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(Damaged, match="not a regular file"):
        file_digest(tmp_path / "fifo")


def test_a_table_has_the_digest_of_its_canonical_rows() -> None:
    entries = [FileEntry(path="b", bytes=2, digest="y"), FileEntry(path="a", bytes=1, digest="x")]

    expected = hashlib.sha256(b'[["a",1,"x"],["b",2,"y"]]').hexdigest()
    assert table_digest(entries) == f"sha256:{expected}"


def test_the_order_of_a_table_does_not_change_its_digest() -> None:
    entries = [FileEntry(path=f"f{n}", bytes=n, digest=str(n)) for n in range(9)]
    shuffled = random.Random(0).sample(entries, k=9)

    assert table_digest(shuffled) == table_digest(entries)


def test_a_folder_has_the_digest_of_the_artifact_with_its_files(
    store: Store, tmp_path: Path
) -> None:
    files = {"config.json": b"{}", "deep/weights.bin": b"123"}

    artifact = publish(store, files)

    assert folder_digest(folder_of(tmp_path / "copy", files)) == artifact.digest


def test_manifest_and_logs_are_no_part_of_a_folders_digest(tmp_path: Path) -> None:
    plain = folder_of(tmp_path / "plain", {"a": b"1"})
    more = folder_of(tmp_path / "more", {"a": b"1", "manifest.json": b"{}", "logs/x": b"y"})

    assert folder_digest(more) == folder_digest(plain)


@pytest.mark.parametrize(
    "files",
    [{"a": b"2"}, {"b": b"1"}, {"a": b"1", "b": b""}, {"sub/a": b"1"}, {}],
    ids=["other content", "other name", "one file more", "other folder", "nothing"],
)
def test_every_difference_changes_a_folders_digest(tmp_path: Path, files: dict[str, bytes]) -> None:
    one = folder_of(tmp_path / "one", {"a": b"1"})
    (tmp_path / "other").mkdir()

    assert folder_digest(folder_of(tmp_path / "other", files)) != folder_digest(one)


def test_a_folder_with_a_link_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "folder", {"a": b"1"})
    (folder / "link").symlink_to("a")

    with pytest.raises(Damaged, match="link"):
        folder_digest(folder)


def test_a_folder_with_a_fifo_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "folder", {"a": b"1"})
    os.mkfifo(folder / "fifo")

    with pytest.raises(Damaged, match="fifo"):
        folder_digest(folder)


def test_in_a_foreign_folder_a_link_counts_as_the_file_it_names(tmp_path: Path) -> None:
    blobs = folder_of(tmp_path / "blobs", {"77aa": b"weights"})
    cache = folder_of(tmp_path / "cache", {"config.json": b"{}"})
    (cache / "weights.bin").symlink_to(blobs / "77aa")
    copy = folder_of(tmp_path / "copy", {"config.json": b"{}", "weights.bin": b"weights"})

    assert folder_digest(cache, foreign=True) == folder_digest(copy)


def test_in_a_foreign_folder_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "folder", {"a": b"1"})
    (folder / "loop").symlink_to(folder)

    with pytest.raises(Damaged, match="loop"):
        folder_digest(folder, foreign=True)


def test_in_a_foreign_folder_hidden_entries_do_not_count(tmp_path: Path) -> None:
    plain = folder_of(tmp_path / "plain", {"a": b"1"})
    more = folder_of(tmp_path / "more", {"a": b"1", ".git/HEAD": b"x", ".cache": b"y"})
    (more / ".git" / "link").symlink_to("nowhere")

    assert folder_digest(more, foreign=True) == folder_digest(plain)


def test_a_file_name_that_is_no_text_still_has_a_digest(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"1")

    assert folder_digest(tmp_path, foreign=True).startswith("sha256:")


def test_a_canonical_recipe_keeps_its_golden_id() -> None:
    text = (
        '["teacher-cache",1,{"gap_dtype":"float16","nested":{"on":true},'
        '"temperatures":[1.0,2.0],"top":64},'
        f'[["corpus","sha256:{"bb" * 32}"],["teacher","sha256:{"aa" * 32}"]]]'
    )

    id = recipe_id("teacher-cache", 1, spec=SPEC, inputs=INPUTS)

    assert id == hashlib.sha256(text.encode()).hexdigest()
    assert id == "d9a6bb3391a9b0088ae29a82c377ee01d732642b6032085e2bad8f5ba75eb739"


def test_an_id_does_not_depend_on_the_order_of_keys_or_inputs() -> None:
    turned = dict(reversed(SPEC.items()))

    assert recipe_id("corpus", 1, spec=turned, inputs=INPUTS[::-1]) == recipe_id(
        "corpus", 1, spec=SPEC, inputs=INPUTS
    )


@pytest.mark.parametrize(
    ("kind", "version", "spec", "inputs"),
    [
        ("model", 1, SPEC, INPUTS),
        ("corpus", 2, SPEC, INPUTS),
        ("corpus", 1, SPEC | {"top": 65}, INPUTS),
        ("corpus", 1, SPEC, INPUTS[:1]),
        ("corpus", 1, SPEC, [("student", INPUTS[0][1]), INPUTS[1]]),
        ("corpus", 1, SPEC, [(INPUTS[0][0], INPUTS[1][1]), INPUTS[1]]),
    ],
    ids=["kind", "version", "spec", "inputs", "role", "digest"],
)
def test_every_part_of_a_recipe_changes_the_id(
    kind: str, version: int, spec: dict[str, object], inputs: list[tuple[str, str]]
) -> None:
    id = recipe_id(kind, version, spec=spec, inputs=inputs)

    assert id != recipe_id("corpus", 1, spec=SPEC, inputs=INPUTS)
