"""Checkpoints of a run that may be killed: whole or absent, checked before they are believed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

KEPT = 2
"""Checkpoints on disk; the newest may be the one a kill damaged."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """State after `update` updates."""

    update: int
    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


@final
class Checkpoints:
    """A folder of checkpoints `00000200/{state.safetensors, facts.json}`.

    Invariant: a checkpoint is named once it is whole; its facts hold the digest of its tensors.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(
        self, update: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Write the state after `update` updates; older checkpoints go afterwards."""
        data = save_tensors({name: value.contiguous() for name, value in tensors.items()})
        described = {"digest": hashlib.sha256(data).hexdigest(), **facts}
        final_path = self._folder / f"{update:08d}"
        staging = self._folder / f".tmp-{update:08d}"
        for stale in (staging, final_path):
            shutil.rmtree(stale, ignore_errors=True)
        staging.mkdir(parents=True)
        _write(staging / "state.safetensors", data)
        _write(staging / "facts.json", json.dumps(described, allow_nan=False).encode())
        staging.rename(final_path)
        _sync(self._folder)
        for old in self._paths()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        self._forget_bests(update)

    def keep_best(self, update: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Write the weights after `update` updates, the best so far."""
        self._folder.mkdir(parents=True, exist_ok=True)
        data = save_tensors({name: value.contiguous() for name, value in weights.items()})
        staging = self._folder / ".tmp-best"
        _write(staging, data)
        staging.rename(self._best_path(update))
        _sync(self._folder)

    def best(self, update: int) -> dict[str, torch.Tensor]:
        """Return what `keep_best` wrote after that update."""
        weights: dict[str, torch.Tensor] = load_tensors(self._best_path(update).read_bytes())
        return weights

    def _best_path(self, update: int) -> Path:
        return self._folder / f"best-{update:08d}.safetensors"

    def _forget_bests(self, update: int) -> None:
        """Remove best weights that no checkpoint refers to, those of a later run's past too."""
        known = {
            found.facts["watch"]["best_update"]
            for found in map(_read, self._paths())
            if found is not None
        }
        for path in self._folder.glob("best-*.safetensors"):
            number = int(path.stem.removeprefix("best-"))
            if number not in known and number <= update:
                path.unlink()

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, or None."""
        for path in reversed(self._paths()):
            found = _read(path)
            if found is not None:
                return found
        return None

    def _paths(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.name.isdigit())


def _read(path: Path) -> Checkpoint | None:
    try:
        facts = json.loads((path / "facts.json").read_bytes())
        data = (path / "state.safetensors").read_bytes()
    except (OSError, ValueError):
        return None
    if hashlib.sha256(data).hexdigest() != facts.pop("digest", None):
        return None
    return Checkpoint(update=int(path.name), tensors=load_tensors(data), facts=facts)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
