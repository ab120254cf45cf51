"""Artifacts of a few bytes, and a disk of a few mebibytes: what the tests of the store stand on."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.build import Build, begin
from ketchup_cli.store.layout import Store

FILES = {"report.json": b'{"rows": 2}\n', "rows/train.jsonl": b'{"id": "a"}\n{"id": "b"}\n'}


@contextmanager
def building(
    store: Store,
    *,
    kind: str = "corpus",
    spec: Mapping[str, Any] | None = None,
    inputs: Sequence[Input] = (),
    version: int = 1,
) -> Iterator[Build]:
    """Open a build of a small recipe."""
    table = {"seed": 0} if spec is None else spec
    with begin(
        store, kind=kind, version=version, spec=table, inputs=inputs, label="a test"
    ) as build:
        yield build


def commit(build: Build, *, summary: Mapping[str, Any] | None = None) -> Artifact:
    """Publish with a manifest that says little."""
    return build.commit(
        summary=summary or {"rows": 2}, signature="test", environment={"cpu": 1}, seconds=0.5
    )


def publish(
    store: Store,
    files: Mapping[str, bytes] = FILES,
    *,
    kind: str = "corpus",
    spec: Mapping[str, Any] | None = None,
    inputs: Sequence[Input] = (),
) -> Artifact:
    """Build an artifact of these files, with a log beside them."""
    with building(store, kind=kind, spec=spec, inputs=inputs) as build:
        for name, content in files.items():
            build.write_bytes(name, content)
        build.log_path("metrics.jsonl").write_bytes(b'{"update": 1}\n')
        return commit(build)


def numbered(
    store: Store, seed: int, *, kind: str = "corpus", of: tuple[Input, ...] = ()
) -> Artifact:
    """Build one of many artifacts."""
    return publish(store, {"a": b"%d" % seed}, kind=kind, spec={"seed": seed}, inputs=of)


class Stopped(Exception):
    """Ends a build like a failing stage."""


@contextmanager
def interrupted(store: Store) -> Iterator[Build]:
    """Open a build that fails at the end of its block."""
    with suppress(Stopped), building(store) as build:
        yield build
        raise Stopped


def leftovers(store: Store) -> list[str]:
    """Return what is under construction, without the lock files, which stay."""
    return [path for path in tree(store.staging) if not path.endswith(".lock")]


def tree(folder: Path) -> list[str]:
    """Return every path below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@contextmanager
def small_disk(folder: Path, *, options: str) -> Iterator[Path]:
    """Mount a disk in memory; where that is not allowed, skip and say so."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def enlarge(disk: Path, size: str) -> None:
    """Give a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
