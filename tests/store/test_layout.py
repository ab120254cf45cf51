import os
from pathlib import Path

import pytest
from storing import small_disk, tree

from ketchup_cli.errors import ArtifactError, Damaged, TooNew
from ketchup_cli.store.layout import MARKER, Store

ID = "ab" * 32


def test_opening_makes_the_folder_and_its_marker(tmp_path: Path) -> None:
    Store.open(tmp_path / "deep" / "runs")

    assert (tmp_path / "deep" / "runs" / MARKER).read_bytes() == b'{"store_format": 1}\n'


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    Store.open(tmp_path)
    before, content = (tmp_path / MARKER).stat(), (tmp_path / MARKER).read_bytes()

    Store.open(tmp_path)

    after = (tmp_path / MARKER).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (tmp_path / MARKER).read_bytes() == content


def test_opening_without_create_writes_nothing(tmp_path: Path) -> None:
    Store.open(tmp_path / "runs", create=False)

    assert tree(tmp_path) == []


def test_a_half_written_marker_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / f"{MARKER}.part").write_bytes(b'{"sto')

    Store.open(tmp_path)

    assert tree(tmp_path) == [MARKER, "tmp", "tmp/store.lock"]


def test_a_store_of_a_newer_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"store_format": 2}')

    with pytest.raises(TooNew, match=r"store format 2, this one knows 1"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"store_format": "1"}', b'{"store_format": true}', b"\xff", b"[" * 4000],
)
def test_a_marker_that_makes_no_sense_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARKER).write_bytes(content)

    with pytest.raises(Damaged, match=MARKER):
        Store.open(tmp_path)


def test_a_fifo_in_place_of_the_marker_is_damage_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MARKER)

    with pytest.raises(Damaged, match="not a regular file"):
        Store.open(tmp_path)


def test_a_store_on_a_read_only_disk_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", options="ro,size=64k") as disk,
        pytest.raises(ArtifactError, match="Read-only file system") as caught,
    ):
        Store.open(disk / "runs")

    assert "--store" in (caught.value.hint or "")


def test_things_lie_where_the_documentation_says(tmp_path: Path) -> None:
    store = Store(tmp_path)

    paths = (
        store.object_path("corpus", ID),
        store.staging_path(ID),
        store.lock_path(ID),
        store.name_path("en-nl"),
    )

    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"objects/corpus/{ID}",
        f"tmp/{ID}",
        f"tmp/{ID}.lock",
        "names/en-nl.json",
    ]
