import errno
from pathlib import Path

import pytest
from storing import building, commit, enlarge, leftovers, publish, small_disk

from ketchup_cli.errors import NoSpace
from ketchup_cli.store.layout import Store

MEBIBYTE = 2**20


def test_too_little_space_is_said_with_both_numbers(store: Store) -> None:
    with (
        building(store) as build,
        pytest.raises(NoSpace, match=r"about [\d,]+ MiB are needed .* [\d,]+ MiB are free"),
    ):
        build.require_space(2**60)


def test_enough_space_is_not_mentioned(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with building(store) as build:
        build.require_space(1)
        artifact = commit(build)

    assert artifact.path.is_dir()
    assert capsys.readouterr() == ("", "")


def test_space_is_measured_with_a_margin(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", options="size=64m") as disk:
        store = Store.open(disk / "runs")
        with building(store) as build:
            build.require_space(40 * MEBIBYTE)

            with pytest.raises(NoSpace):
                build.require_space(60 * MEBIBYTE)


def test_a_full_disk_ends_with_exit_28_and_the_next_run_goes_on(tmp_path: Path) -> None:
    shards = {f"shard-{n}.bin": bytes([n]) * (MEBIBYTE // 3) for n in range(4)}
    with small_disk(tmp_path / "disk", options="size=1m") as disk:
        store = Store.open(disk / "runs")
        with pytest.raises(NoSpace) as caught:
            publish(store, shards)
        enlarge(disk, "8m")
        with building(store) as build:
            kept = build.files
            for name in set(shards) - set(kept):
                build.write_bytes(name, shards[name])
            build.log_path("metrics.jsonl").write_text("")
            digest = commit(build).digest

    assert (caught.value.exit_code, len(kept)) == (28, 2)
    assert "run the same command again" in (caught.value.hint or "")
    assert digest == publish(Store.open(tmp_path / "runs"), shards).digest


def test_a_library_that_fills_the_disk_ends_with_exit_28(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", options="size=1m") as disk:
        store = Store.open(disk / "runs")
        with pytest.raises(NoSpace), building(store) as build:
            (build.scratch() / "weights").write_bytes(b"x" * 2 * MEBIBYTE)

        assert leftovers(store) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
    ids=["disk", "quota", "told as text"],
)
def test_a_full_disk_is_known_whoever_says_so(store: Store, error: Exception) -> None:
    with pytest.raises(NoSpace), building(store):
        raise error


def test_an_error_of_the_stage_itself_passes_unchanged(store: Store) -> None:
    error = OSError(errno.ENOENT, "No such file or directory")

    with pytest.raises(OSError, match="No such file") as caught, building(store):
        raise error

    assert caught.value is error
