import os
import shutil
from pathlib import Path

import pytest
from storing import building, commit, numbered, publish

from ketchup_cli.errors import Damaged, NotFound
from ketchup_cli.store.find import (
    Input,
    as_input,
    file_input,
    find,
    folder_input,
    lookup,
)
from ketchup_cli.store.layout import Store


def test_an_artifact_in_the_place_of_another_is_damage(store: Store) -> None:
    one, other = numbered(store, 1), numbered(store, 2)
    shutil.rmtree(one.path)
    other.path.rename(one.path)

    with pytest.raises(Damaged, match=f"holds corpus `{other.id[:8]}`"):
        find(store, one.id)


def test_looking_up_what_is_not_there_gives_nothing(store: Store) -> None:
    assert lookup(store, "corpus", "ab" * 32) is None


def test_an_artifact_becomes_an_input_with_its_digest(store: Store) -> None:
    artifact = publish(store)

    assert as_input(artifact, "corpus", label="en-nl@1") == Input(
        role="corpus",
        kind="corpus",
        id=artifact.id,
        digest=artifact.digest,
        path=artifact.path,
        label="en-nl@1",
    )


def test_without_a_label_an_input_is_called_by_its_id(store: Store) -> None:
    artifact = publish(store)

    assert as_input(artifact, "corpus").label == artifact.id[:8]


def test_a_copy_of_an_artifact_is_an_input_with_the_same_digest(
    store: Store, tmp_path: Path
) -> None:
    artifact = publish(store)
    shutil.copytree(artifact.path, tmp_path / "teacher")

    given = folder_input(tmp_path / "teacher", "teacher")

    assert (given.digest, given.id, given.kind, given.label) == (
        artifact.digest,
        None,
        "model",
        "teacher",
    )


def test_a_folder_that_is_not_there_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder"):
        folder_input(tmp_path / "nowhere", "teacher")


def test_a_file_becomes_an_input_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_bytes(b"x")
    (tmp_path / "link.jsonl").symlink_to("one.jsonl")

    inputs = [file_input(tmp_path / name, "train") for name in ("one.jsonl", "link.jsonl")]

    assert (inputs[0].kind, inputs[0].id, inputs[0].label) == ("file", None, "one.jsonl")
    assert inputs[0].digest == inputs[1].digest


def test_a_fifo_is_no_input_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(Damaged, match="not a regular file"):
        file_input(tmp_path / "fifo", "train")


def test_an_artifact_is_what_its_commit_returned(store: Store) -> None:
    with building(store) as build:
        build.write_bytes("a", b"1")
        artifact = commit(build)

    assert lookup(store, "corpus", artifact.id) == artifact


def test_a_folder_whose_name_is_no_text_gets_a_label_that_is(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")

    artifact = publish(store, inputs=[folder_input(folder, "teacher")])

    assert artifact.manifest.inputs[0].label == "caf?"
