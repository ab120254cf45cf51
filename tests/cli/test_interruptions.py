"""Commands of real models that are killed, or run out of disk: the next one ends with the same bytes."""

import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import projects
import pytest
import storing
from faults import Injector
from projects import type_in

from ketchup_cli.store import find
from ketchup_cli.store.artifact import Artifact
from ketchup_cli.store.layout import Store
from ketchup_cli.train.metrics import read_metrics

DISTILL = "distill --k 2 --set dropout=0.1 --name done"
LONG_DISTILL = f"{DISTILL} --set updates=40"
COMMANDS = {"cache-teacher": "cache-teacher --name done", "distill": DISTILL}
KILLED_AT = (2, 6)
"""Checkpoints after which a run is killed, one process after the other."""
SHARES = (0.1, 0.6)
"""Where among its calls to the system a command meets a full disk; `tests/store` tries every one."""
NEVER = 1 << 30


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interruptions") / "project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("RANK", "LOCAL_RANK"):
            patch.delenv(name, raising=False)
        return projects.make(folder)


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, which is the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def result_of(command: str, *, store: Path = Path("runs")) -> Artifact:
    """Run a command to its end and return what it made."""
    result = type_in(f"{command} --store {store}")
    assert result.code == 0, result.err
    return find.find(Store.open(store), "done")


@dataclass(frozen=True)
class Straight:
    """What a command makes where nothing happens to it, and how often it calls the system."""

    artifact: Artifact
    calls: int


@pytest.fixture(scope="module")
def straight(made: Path) -> Callable[[str], Straight]:
    """Runs a command to its end, once, in a store of its own."""

    @functools.cache
    def run(command: str) -> Straight:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(made)
            store = Path(tempfile.mkdtemp(dir=made.parent)) / "runs"
            shutil.copytree(made / "runs", store)
            with full_disk(NEVER, made.parent) as counting:
                type_in(f"{command} --store {store}")
            artifact = result_of(command, store=store)
        return Straight(artifact, counting.seen)

    return run


def kill_after_checkpoint(number: int, command: str) -> None:
    """Run a command in a process of its own, and kill it once it has a checkpoint of that update."""
    line = [sys.executable, "-m", "ketchup_cli", *command.split()]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while newest_checkpoint() < number and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def newest_checkpoint() -> int:
    """Return the update of the newest checkpoint under construction, -1 where there is none."""
    found = Path("runs/tmp").glob("*/state/checkpoint-*")
    return max((int(path.name.split("-")[1]) for path in found), default=-1)


def test_a_distillation_killed_twice_ends_with_the_digest_of_a_straight_one(
    project: Path, straight: Callable[[str], Straight]
) -> None:
    wanted = straight(LONG_DISTILL).artifact
    for number in KILLED_AT:
        kill_after_checkpoint(number, LONG_DISTILL)
    found = result_of(LONG_DISTILL)
    resumed = [
        line["update"]
        for line in read_metrics(found.path / "logs" / "metrics.jsonl")
        if line.get("event") == "resume"
    ]

    assert found.digest == wanted.digest
    assert (found.id, found.other_digest) == (wanted.id, None)
    assert len(resumed) == len(KILLED_AT)
    assert all(update >= number for update, number in zip(resumed, KILLED_AT, strict=True))
    assert projects.half_written(project / "runs") == []


@contextmanager
def full_disk(at: int, folder: Path) -> Iterator[Injector]:
    """Let the disk be full at one call to the system."""
    injector = Injector(fault="ENOSPC", at=at, fired=folder / "fired")
    injector.install()
    try:
        yield injector
    finally:
        for name, call in injector.real.items():
            setattr(os, name, call)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_at_any_call_ends_with_28_and_publishes_nothing_by_half(
    name: str, share: float, project: Path, straight: Callable[[str], Straight], tmp_path: Path
) -> None:
    command, wanted = COMMANDS[name], straight(COMMANDS[name])
    before = projects.published(project / "runs")
    with full_disk(int(share * wanted.calls), tmp_path):
        result = type_in(command)
    more = projects.published(project / "runs").keys() - before.keys()

    assert result.code == 28, result.err
    assert "hint: free" in result.err
    assert "Traceback" not in result.err
    # whole, where the disk was full while it was given its name
    assert not more or type_in("verify").code == 0
    assert result_of(command).digest == wanted.artifact.digest


@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_disk_that_is_really_full_it_is_28_and_after_making_room_the_same_bytes(
    name: str, project: Path, straight: Callable[[str], Straight], tmp_path: Path
) -> None:
    command = COMMANDS[name]
    wanted = straight(command).artifact
    with storing.small_disk(tmp_path / "disk", options="size=8m") as disk:
        store = disk / "runs"
        shutil.copytree(project / "runs", store)
        before = projects.published(store)
        with (disk / "filler").open("wb") as filler:
            filler.write(bytes(shutil.disk_usage(disk).free - (1 << 15)))
        result = type_in(f"{command} --store {store}")

        assert result.code == 28, result.err
        assert "hint: free" in result.err
        assert projects.published(store) == before
        storing.enlarge(disk, "64m")
        assert result_of(command, store=store).digest == wanted.digest
        gc.collect()  # weights are mapped from the disk that goes
