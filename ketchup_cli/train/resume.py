"""Checkpoints of a run that may be killed: whole or absent, checked before they are believed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ketchup_cli.errors import Damaged

KEPT = 2
"""Checkpoints on disk; the newest may be the one a kill damaged."""

DIGITS = 16
"""Hex digits of its digest in the name of a file."""

FACTS = "facts"
"""The one key of a checkpoint's `__metadata__`: safetensors writes several in random order."""

Kind = Literal["checkpoint", "best"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """State after `update` updates."""

    update: int
    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


@final
class Checkpoints:
    """A folder of files `checkpoint-00000200-<digest>.safetensors` and `best-...`.

    Invariant: a file is named once it is whole, and believed only as long as its content has the
    digest in its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(
        self, update: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Write the state after `update` updates; older checkpoints go afterwards."""
        described = {FACTS: json.dumps(facts, allow_nan=False)}
        self._write("checkpoint", update, _packed(tensors, described))
        for old in self._files("checkpoint")[:-KEPT]:
            old.unlink()
        self._forget_bests(update)

    def keep_best(self, update: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Write the weights after `update` updates, the best so far."""
        self._write("best", update, _packed(weights, None))

    def best(self, update: int) -> dict[str, torch.Tensor]:
        """Return what `keep_best` wrote after that update.

        Raises:
            Damaged: it is not there, or not what was written.
        """
        data = self._best(update)
        if data is None:
            raise Damaged(
                f"the best weights of the run, after update {update}, are damaged or gone from"
                f" `{self._folder}`",
                hint="run the same command again; it goes on from an earlier checkpoint",
            )
        weights: dict[str, torch.Tensor] = load_tensors(data)
        return weights

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, as are the best weights it refers to."""
        for path in reversed(self._files("checkpoint")):
            data, facts = _believed(path), _facts(path)
            if data is None or facts is None:
                continue
            if self._best(facts["watch"]["best_update"]) is not None:
                return Checkpoint(update=_update(path), tensors=load_tensors(data), facts=facts)
        return None

    def _best(self, update: int) -> bytes | None:
        found = [_believed(path) for path in self._files("best") if _update(path) == update]
        return next((data for data in found if data is not None), None)

    def _forget_bests(self, update: int) -> None:
        """Remove best weights that no checkpoint refers to, but for those of a later update.

        A run that goes on from an earlier checkpoint meets them again.
        """
        checkpoints = [_facts(path) for path in self._files("checkpoint")]
        known = {facts["watch"]["best_update"] for facts in checkpoints if facts is not None}
        for path in self._files("best"):
            if _update(path) not in known and _update(path) <= update:
                path.unlink()

    def _files(self, kind: Kind) -> list[Path]:
        return sorted(self._folder.glob(f"{kind}-????????-*.safetensors"))

    def _write(self, kind: Kind, update: int, data: bytes) -> None:
        write_named(self._folder, f"{kind}-{update:08d}", data)


def write_named(folder: Path, stem: str, data: bytes) -> None:
    """Write `<stem>-<digest>.safetensors`, whole and durable; another of that stem goes."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".tmp-{stem.partition('-')[0]}"
    with staging.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:DIGITS]}.safetensors"
    staging.rename(path)
    for other in folder.glob(f"{stem}-*.safetensors"):
        if other != path:
            other.unlink()
    _sync(folder)


def read_named(folder: Path, stem: str) -> bytes | None:
    """Return what `write_named` wrote, or None where it is not there or not what was written."""
    found = (_believed(path) for path in sorted(folder.glob(f"{stem}-*.safetensors")))
    return next((data for data in found if data is not None), None)


def _packed(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None) -> bytes:
    plain = {name: value.contiguous() for name, value in tensors.items()}
    return bytes(save_tensors(plain, metadata=metadata))


def _update(path: Path) -> int:
    return int(path.name.split("-")[1])


def _believed(path: Path) -> bytes | None:
    """Return the content of a file, or None where it is not what was written."""
    data = path.read_bytes()
    digest = path.stem.rpartition("-")[2]
    return data if hashlib.sha256(data).hexdigest()[:DIGITS] == digest else None


def _facts(path: Path) -> dict[str, Any] | None:
    """Return the facts of a checkpoint; reads its header alone, and believes it."""
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    try:
        facts: dict[str, Any] = json.loads(json.loads(header)["__metadata__"][FACTS])
    except (ValueError, KeyError):
        return None
    return facts


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
