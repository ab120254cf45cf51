"""Training runs of a few bytes, at work, killed and finished: what tests of watching stand on."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ketchup_cli.store import find
from ketchup_cli.store.artifact import Artifact
from ketchup_cli.store.build import Build, begin
from ketchup_cli.store.layout import Store
from ketchup_cli.watching.runs import LOG

LINES = (
    {"event": "begin", "update": 0, "updates": 4, "metric": "bleu"},
    {"update": 1, "loss": 2.0, "seconds": 1.0},
)


class Killed(Exception):
    """Ends a build as a kill would: the lock goes, the files stay."""


def write(build: Build, lines: Sequence[dict[str, Any]]) -> None:
    with build.log_path(LOG).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@contextmanager
def at_work(
    store: Store, label: str = "kl", *, seed: int = 0, lines: Sequence[dict] = LINES
) -> Iterator[Build]:
    with begin(
        store, kind="model", version=1, spec={"seed": seed, "updates": 4}, inputs=(), label=label
    ) as build:
        if lines:
            write(build, lines)
        yield build


def killed(store: Store, label: str = "kl", *, seed: int = 0) -> str:
    with suppress(Killed), at_work(store, label, seed=seed) as build:
        raise Killed
    return build.id


def commit(build: Build) -> Artifact:
    build.write_bytes("config.json", b"{}")
    return build.commit(
        summary={"metric": "bleu", "best_update": 4, "sentence": "kept update 4"},
        signature="distill/1",
        environment={},
        seconds=1.0,
    )


def finished(store: Store, name: str = "kl", *, seed: int = 0) -> Artifact:
    with at_work(store, name, seed=seed) as build:
        artifact = commit(build)
    find.give_name(store, name, artifact)
    return artifact
