import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import faults
import pytest
from storing import FILES, building, commit, leftovers, publish, tree

from ketchup_cli.errors import ArtifactError, Damaged, NotFound
from ketchup_cli.store.layout import Store
from ketchup_cli.store.verify import verify


def test_a_committed_artifact_holds_exactly_what_was_written(store: Store) -> None:
    artifact = publish(store)

    assert tree(artifact.path) == [
        "logs",
        "logs/metrics.jsonl",
        "manifest.json",
        "report.json",
        "rows",
        "rows/train.jsonl",
    ]
    assert {name: (artifact.path / name).read_bytes() for name in FILES} == FILES


def test_a_committed_artifact_agrees_with_its_manifest(store: Store) -> None:
    assert verify(publish(store).path).intact


def test_a_commit_leaves_nothing_under_construction(store: Store) -> None:
    publish(store)

    assert leftovers(store) == []


def test_the_same_files_give_the_same_digest_in_another_store(tmp_path: Path) -> None:
    one = publish(Store.open(tmp_path / "one"))
    other = publish(Store.open(tmp_path / "other"))

    assert (one.id, one.digest) == (other.id, other.digest)


def test_a_log_is_in_the_manifest_but_not_in_the_digest(tmp_path: Path) -> None:
    stores = [Store.open(tmp_path / name) for name in ("one", "other")]
    made = []
    for store in stores:
        with building(store) as build:
            build.write_bytes("a", b"1")
            build.log_path("times.jsonl").write_text(f"{store.root.name}\n")
            made.append(commit(build))

    assert made[0].digest == made[1].digest
    assert made[0].manifest.logs != made[1].manifest.logs
    assert [entry.path for entry in made[0].manifest.logs] == ["logs/times.jsonl"]


def test_nothing_is_visible_before_the_commit(store: Store) -> None:
    with building(store) as build:
        build.write_bytes("a", b"1")

        assert not store.objects.exists()
        commit(build)


def test_a_file_is_finished_once_it_is_written(store: Store) -> None:
    with building(store) as build:
        before = build.has("a")
        build.write_bytes("a", b"1")

        assert (before, build.has("a"), build.read_bytes("a")) == (False, True, b"1")


def test_reading_an_unfinished_file_is_refused(store: Store) -> None:
    with building(store) as build, pytest.raises(NotFound, match="not finished"):
        build.read_bytes("a")


def test_a_file_written_twice_has_its_last_content(store: Store) -> None:
    with building(store) as build:
        build.write_bytes("a", b"1")
        build.write_bytes("a", b"2")
        artifact = commit(build)

    assert (artifact.path / "a").read_bytes() == b"2"
    assert verify(artifact.path).intact


def test_a_memoryview_of_numbers_is_written_byte_for_byte(store: Store) -> None:
    numbers = memoryview(bytes(range(16))).cast("I")

    with building(store) as build:
        build.write_bytes("a", numbers)

        assert build.read_bytes("a") == bytes(range(16))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../up",
        "/abs",
        ".hidden",
        "-rf",
        "a//b",
        "a b",
        "manifest.json",
        "progress.jsonl",
        "logs/x",
        "state/x",
    ],
)
def test_a_name_no_file_of_an_artifact_may_have_is_refused(store: Store, name: str) -> None:
    with building(store) as build, pytest.raises(ArtifactError, match="cannot be a file"):
        build.write_bytes(name, b"1")


def test_a_log_cannot_lie_outside_its_folder(store: Store) -> None:
    with building(store) as build, pytest.raises(ArtifactError, match="cannot be a file"):
        build.log_path("../report.json")


def test_adopting_moves_every_file_and_removes_the_scratch_folder(store: Store) -> None:
    with building(store) as build:
        scratch = build.scratch()
        (scratch / "deep").mkdir()
        (scratch / "deep" / "weights.bin").write_bytes(b"123")
        (scratch / "config.json").write_bytes(b"{}")

        names = build.adopt(scratch)
        artifact = commit(build)

    assert names == ("config.json", "deep/weights.bin")
    assert tree(artifact.path) == ["config.json", "deep", "deep/weights.bin", "manifest.json"]


def test_adopting_under_a_prefix_puts_the_files_there(store: Store) -> None:
    with building(store) as build:
        scratch = build.scratch()
        (scratch / "weights.bin").write_bytes(b"123")

        assert build.adopt(scratch, "best") == ("best/weights.bin",)
        assert build.read_bytes("best/weights.bin") == b"123"


def test_an_adopted_file_is_as_readable_as_any_other(store: Store) -> None:
    with building(store) as build:
        scratch = build.scratch()
        (scratch / "weights.bin").write_bytes(b"123")
        (scratch / "weights.bin").chmod(0o600)
        build.adopt(scratch)
        build.write_bytes("other.bin", b"1")
        modes = {(build.path / name).stat().st_mode for name in build.files}

    assert len(modes) == 1


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_adopting_a_link_or_a_fifo_is_refused(store: Store, kind: str) -> None:
    with building(store) as build:
        scratch = build.scratch()
        if kind == "link":
            (scratch / "odd").symlink_to("/etc/passwd")
        else:
            os.mkfifo(scratch / "odd")

        with pytest.raises(Damaged, match="odd"):
            build.adopt(scratch)


def test_two_scratch_folders_do_not_meet(store: Store) -> None:
    with building(store) as build:
        assert build.scratch() != build.scratch()


def test_a_scratch_folder_that_is_not_adopted_is_not_published(store: Store) -> None:
    with building(store) as build:
        (build.scratch() / "half").write_bytes(b"1")
        artifact = commit(build)

    assert tree(artifact.path) == ["manifest.json"]


def test_a_file_written_past_the_build_stops_the_commit(store: Store) -> None:
    with building(store) as build:
        (build.path / "stray.bin").write_bytes(b"1")

        with pytest.raises(ArtifactError, match=r"stray\.bin.* past the build"):
            commit(build)


def test_a_finished_file_that_vanished_stops_the_commit(store: Store) -> None:
    with building(store) as build:
        build.write_bytes("a", b"1")
        (build.path / "a").unlink()

        with pytest.raises(Damaged, match="`a` was changed"):
            commit(build)


def test_a_build_says_when_the_artifact_exists_already(store: Store) -> None:
    artifact = publish(store)

    with building(store) as build:
        assert build.published == artifact
    assert leftovers(store) == []


def test_a_new_artifact_is_not_published_yet(store: Store) -> None:
    with building(store) as build:
        assert build.published is None


def test_the_first_commit_stays_and_the_other_digest_is_told(store: Store) -> None:
    first = publish(store, {"a": b"1"})

    second = publish(store, {"a": b"2"})

    assert (second.digest, (second.path / "a").read_bytes()) == (first.digest, b"1")
    assert second.other_digest not in {None, first.digest}
    assert leftovers(store) == []


def test_the_same_bytes_committed_again_are_no_difference(store: Store) -> None:
    publish(store, {"a": b"1"})

    assert publish(store, {"a": b"1"}).other_digest is None


def test_a_damaged_artifact_is_not_taken_for_done(store: Store) -> None:
    artifact = publish(store)
    (artifact.path / "manifest.json").unlink()

    with pytest.raises(Damaged, match=r"has lost its manifest\.json"), building(store):
        pass


def test_nothing_can_be_written_after_the_commit(store: Store) -> None:
    with building(store) as build:
        commit(build)

        with pytest.raises(ArtifactError, match="no longer under construction"):
            build.write_bytes("a", b"1")


@pytest.mark.parametrize("what", ["state_path", "scratch", "log_path"])
def test_no_folder_is_made_after_the_commit(store: Store, what: str) -> None:
    with building(store) as build:
        commit(build)
        steps: dict[str, Callable[[], Path]] = {
            "state_path": lambda: build.state_path,
            "scratch": build.scratch,
            "log_path": lambda: build.log_path("x"),
        }

        with pytest.raises(ArtifactError, match="no longer under construction"):
            steps[what]()
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "surroundings",
    [{"PYTHONHASHSEED": "1"}, {"TZ": "Asia/Kathmandu"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {}],
    ids=["hash seed", "time zone", "locale", "umask"],
)
def test_the_surroundings_do_not_change_the_digest(
    memory: Path, surroundings: dict[str, str]
) -> None:
    umask = "000" if surroundings else "077"
    program = [sys.executable, faults.__file__, "once", umask, str(memory / "other")]

    done = subprocess.run(
        program, env=os.environ | surroundings, capture_output=True, check=True, text=True
    )

    assert done.stdout.strip() == faults.build(memory / "here").digest
