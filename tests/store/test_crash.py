import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import faults
import pytest

from ketchup_cli.errors import Busy
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store

PROGRAM = [sys.executable, faults.__file__]


def report_of(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, check=True, timeout=600
    )
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_fault_at_any_call_to_the_system_breaks_no_promise(fault: str, memory: Path) -> None:
    report = report_of("each", fault, str(memory))

    assert report["problems"] == []
    # a build makes some 140 calls, 16 of them writes; fewer would mean that nothing was tried. EIO
    # goes the way of ENOSPC but for its exit code, and is tried at every fourth
    fewest = {"torn-write": 10, "short-write": 10, "kill-after": 30, "EIO": 25}.get(fault, 100)
    assert report["injected"] > fewest


def test_sigkill_at_any_time_breaks_no_promise(memory: Path) -> None:
    # a kill at every call is above; moments between calls are what is left
    report = report_of("random", "40", str(memory))

    assert report["problems"] == []
    assert report["injected"] >= 40


def test_of_four_writers_each_makes_the_artifact_or_finds_it_or_is_told(memory: Path) -> None:
    report = report_of("race", "8", str(memory))

    assert report["problems"] == []


def test_every_file_is_durable_before_its_name_and_its_name_before_the_end(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, str]] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor: int) -> None:
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}"), ""))
        fsync(descriptor)

    def seen_rename(source: Path, target: Path) -> None:
        calls.append(("rename", str(source), str(target)))
        rename(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("which file was synced is read from /proc")
    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)

    faults.build(memory / "runs")

    renames = [place for place, call in enumerate(calls) if call[0] == "rename"]
    for place in renames:
        _, source, target = calls[place]
        assert ("fsync", source, "") in calls[:place], f"`{target}` was named before it was synced"
        after = ("fsync", str(Path(target).parent), "")
        assert after in calls[place:], f"the name of `{target}` was never synced"
    targets = [calls[place][2] for place in renames]
    manifest = next(n for n, path in enumerate(targets) if path.endswith("manifest.json"))
    assert "/objects/" in targets[manifest + 1], "something was written after the manifest"


def holder(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [*PROGRAM, "hold", "a long run", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def take(store: Store) -> str:
    with begin(store, kind="model", version=1, spec={}, inputs=(), label="second") as work:
        return work.id


def test_a_lock_names_pid_and_host_of_its_holder_and_is_free_once_that_is_killed(
    memory: Path,
) -> None:
    process, id = holder(memory)
    store = Store.open(memory)
    with process:
        inode = store.lock_path(id).stat().st_ino
        try:
            with pytest.raises(Busy) as caught:
                take(store)
        finally:
            process.send_signal(signal.SIGKILL)
        process.wait()
        taken = take(store)

    assert "`a long run` is busy" in caught.value.message
    assert f"pid {process.pid} on {os.uname().nodename} holds" in caught.value.message
    assert caught.value.exit_code == 6
    assert (taken, store.lock_path(id).stat().st_ino) == (id, inode)
