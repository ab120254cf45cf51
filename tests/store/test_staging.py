from pathlib import Path

import pytest
from storing import building, commit, interrupted, leftovers, publish, tree

from ketchup_cli.errors import ArtifactError
from ketchup_cli.store.layout import Store


def test_a_failed_run_leaves_its_finished_files_for_the_next(store: Store) -> None:
    with interrupted(store) as build:
        build.write_bytes("a", b"1")

    with building(store) as build:
        assert build.files == ("a",)


def test_a_failed_run_leaves_its_checkpoints_for_the_next(store: Store) -> None:
    with interrupted(store) as build:
        (build.state_path / "step").write_text("7")

    with building(store) as build:
        assert (build.state_path / "step").read_text() == "7"


def test_a_failed_run_leaves_its_logs_for_the_next(store: Store) -> None:
    with interrupted(store) as build:
        build.log_path("metrics.jsonl").write_text("1\n")

    with building(store) as build:
        assert build.log_path("metrics.jsonl").read_text() == "1\n"


def test_a_run_that_fails_before_it_wrote_anything_leaves_nothing(store: Store) -> None:
    with interrupted(store) as build:
        build.log_path("metrics.jsonl")

    assert leftovers(store) == []


def test_checkpoints_are_not_published(store: Store) -> None:
    with building(store) as build:
        (build.state_path / "step").write_text("7")
        artifact = commit(build)

    assert tree(artifact.path) == ["manifest.json"]


def test_half_written_files_of_a_killed_run_are_removed(store: Store) -> None:
    with interrupted(store) as build:
        build.write_bytes("a", b"1")
        (build.path / ".part-7").write_bytes(b"half")
        (build.path / "unlisted").write_bytes(b"half")
        (build.scratch() / "weights").write_bytes(b"half")

    with building(store) as build:
        assert tree(build.path) == ["a", "progress.jsonl"]


@pytest.mark.parametrize("content", [b"2", b"", b"12"], ids=["other", "empty", "longer"])
def test_a_finished_file_that_changed_since_is_done_again(store: Store, content: bytes) -> None:
    with interrupted(store) as build:
        build.write_bytes("a", b"1")
        (build.path / "a").write_bytes(content)

    with building(store) as build:
        assert (build.files, tree(build.path)) == ((), ["progress.jsonl"])


def test_a_torn_line_in_the_progress_costs_only_its_own_file(store: Store) -> None:
    with interrupted(store) as build:
        build.write_bytes("a", b"1")
        build.write_bytes("b", b"2")
        progress = build.path / "progress.jsonl"
        progress.write_bytes(progress.read_bytes()[:-20])
    with interrupted(store) as build:
        kept = build.files
        build.write_bytes("c", b"3")

    with building(store) as build:
        assert (kept, build.files) == (("a",), ("a", "c"))


def test_a_finished_file_reached_through_a_link_is_done_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_bytes(b"1")
    with interrupted(store) as build:
        build.write_bytes("deep/a", b"1")
        (build.path / "deep" / "a").unlink()
        (build.path / "deep").rmdir()
        (build.path / "deep").symlink_to(tmp_path / "elsewhere")

    with building(store) as build:
        assert (build.files, tree(build.path)) == ((), ["progress.jsonl"])


def test_a_run_killed_before_the_last_rename_is_published_by_the_next(store: Store) -> None:
    artifact = publish(store)
    artifact.path.rename(store.staging_path(artifact.id))

    with building(store) as build:
        assert build.published == artifact
    assert leftovers(store) == []


def test_a_manifest_under_construction_that_does_not_hold_is_thrown_away(store: Store) -> None:
    artifact = publish(store)
    staging = store.staging_path(artifact.id)
    artifact.path.rename(staging)
    (staging / "report.json").write_bytes(b"other")

    with building(store) as build:
        assert (build.published, build.files) == (None, ())


def test_a_file_that_was_replaced_but_not_listed_is_not_published(store: Store) -> None:
    with building(store) as build:
        build.write_bytes("a", b"1")
        (build.path / "progress.jsonl").unlink()
        (build.path / "progress.jsonl").mkdir()
        with pytest.raises(ArtifactError, match="Is a directory"):
            build.write_bytes("a", b"2")

        with pytest.raises(ArtifactError, match=r"`a` was written .* past the build"):
            commit(build)
