"""What a killed measurement leaves for the next one: samples batch by batch, sums group by group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ketchup_cli.lab.moments import Moments
from ketchup_cli.models.generation.hf import Samples
from ketchup_cli.signals import Batch, to_device
from ketchup_cli.train.resume import FACTS, read_named, write_named

FINISHED = "finished_B"


@final
class Kept:
    """Files of one measurement, by name.

    Invariant: a file is there once it is whole, and believed only as long as it is what was written.

    Example: `kept.put_samples(0, samples)`, then `kept.samples(0, device="cpu")`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_samples(self, number: int, samples: Samples) -> None:
        """Write the samples of a batch."""
        tensors = {FINISHED: samples.finished_B}
        facts: dict[str, Any] = {}
        for entry in fields(Batch):
            value = getattr(samples.batch, entry.name)
            if isinstance(value, Tensor):
                tensors[entry.name] = value
            elif value is not None:
                facts[entry.name] = value
        self._put(_samples_name(number), tensors, facts)

    def samples(self, number: int, *, device: object) -> Samples | None:
        """Return the samples of a batch, or None where they are not kept."""
        found = self._get(_samples_name(number))
        if found is None:
            return None
        tensors, facts = found
        finished_B = tensors.pop(FINISHED)
        told = {key: tuple(x) if isinstance(x, list) else x for key, x in facts.items()}
        held: dict[str, Any] = {**tensors, **told}
        batch = to_device(Batch(**held), device)
        return Samples(batch=batch, finished_B=finished_B.to(device))  # type: ignore[call-overload]

    def put_group(self, group: int, moments: Mapping[str, Moments]) -> None:
        """Write what all estimators have counted in one group; no other group has changed."""
        states = [own.group(group) for own in moments.values()]
        tensors = {
            "sums_EP": torch.stack([sum_P for sum_P, _ in states]),
            "figures_E4": torch.stack([figures_4 for _, figures_4 in states]),
        }
        self._put(_group_name(group), tensors, {})

    def restore(self, moments: Mapping[str, Moments], *, groups: int) -> None:
        """Set what all estimators have counted to what is kept."""
        for group in range(groups):
            found = self._get(_group_name(group))
            if found is not None:
                states = zip(found[0]["sums_EP"], found[0]["figures_E4"], strict=True)
                for own, (sum_P, figures_4) in zip(moments.values(), states, strict=True):
                    own.set_group(group, sum_P, figures_4)

    def _put(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        from safetensors.torch import save

        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        write_named(self._folder, name, save(plain, metadata={FACTS: json.dumps(facts)}))

    def _get(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        from safetensors.torch import load

        data = read_named(self._folder, name)
        if data is None:
            return None
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return load(data), json.loads(header["__metadata__"][FACTS])


def _samples_name(number: int) -> str:
    return f"samples-{number:06d}"


def _group_name(group: int) -> str:
    return f"group-{group:06d}"
