"""Make the made-up task that asks for facts from both ends: a corpus, and the list of its names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ketchup_cli.corpora.probes import reversal_probe
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import ReversalProbeSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

NAMES = "names.txt"


def plan(spec: ReversalProbeSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's line."""
    del inputs
    return (("probe", f"{spec.pairs} pairs of names of {spec.words} words"),)


def run(
    spec: ReversalProbeSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write train, dev and test, and `names.txt`, which `ketchup reverse --entities` reads."""
    del inputs, reporter
    probe = reversal_probe(pairs=spec.pairs, words=spec.words, seed=spec.seed)
    for split, rows in probe.splits.items():
        build.write_rows(f"{split}.jsonl", iter(rows))
    build.write_bytes(NAMES, "".join(f"{name}\n" for name in probe.names).encode())
    return {"examples": {split: len(rows) for split, rows in probe.splits.items()}}
