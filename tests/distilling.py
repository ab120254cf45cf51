"""Teachers, students and caches of two layers: what tests of `distill` stand on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tiny

from ketchup_cli import objectives
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import (
    CacheTeacherSpec,
    DecodingSpec,
    DistillSpec,
    FiltersSpec,
    OptimizerSpec,
    RolloutSpec,
    SeqkdSpec,
    ValidationSpec,
)
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.layout import Store
from ketchup_cli.train.metrics import read_metrics

ROLLOUT = RolloutSpec(prompts=6, samples=2, max_new_tokens=6, unfinished="terminal")
OBJECTIVES = {
    "nll": {"name": "nll"},
    "kl": {"name": "kl"},
    "kl on samples": {"name": "kl", "prefixes": "student"},
    "ketchup": {"name": "ketchup", "k": 2},
    "llmr": {"name": "llmr"},
}


def make_spec(*tables: Mapping[str, Any], **changes: Any) -> DistillSpec:
    """The spec of three updates with these terms, or with `kl`."""
    terms = objectives.to_tables(objectives.terms(tables or ({"name": "kl"},)))
    settings: dict[str, Any] = {
        "objective": terms,
        "updates": 3,
        "tokens_per_batch": 200,
        "dropout": 0.0,
        "checkpoint_every": 1,
        "optimizer": OptimizerSpec(learning_rate=1e-3, warmup=0),
        "validation": ValidationSpec(metric="loss", every=2, examples=6, probe=4),
        "rollout": ROLLOUT,
        "device": "cpu",
    }
    return DistillSpec(**(settings | changes))


def make_inputs(folder: Path, architecture: str = "t5") -> dict[str, Input]:
    """Corpus, teacher and student, made once."""
    if not (folder / "student").exists():
        tiny.make_corpus(folder / "corpus")
        tiny.make_policy_folder(folder / "student", architecture, seed=0)
        tiny.make_policy_folder(folder / "teacher", architecture, seed=1)
    return tiny.inputs(
        corpus=folder / "corpus", student=folder / "student", teacher=folder / "teacher"
    )


def make_cache(folder: Path, inputs: dict[str, Input], **changes: Any) -> Input:
    """A cache of all logits unless told otherwise."""
    vocabulary = load_policy(folder / "teacher", device="cpu").vocabulary
    settings: dict[str, Any] = {"top": vocabulary, "gap_dtype": "float32", "device": "cpu"}
    spec = CacheTeacherSpec(**(settings | changes))
    used = {role: item for role, item in inputs.items() if role != "student"}
    artifact = tiny.run_stage(Store.open(folder / "caches"), "cache-teacher", spec, used)
    return tiny.inputs(cache=artifact.path)["cache"]


def make_pseudo_targets(folder: Path, inputs: dict[str, Input]) -> Input:
    """Two short samples of the teacher for every prompt."""
    spec = SeqkdSpec(
        decoding=DecodingSpec(method="sample", texts=2, max_new_tokens=8),
        filters=FiltersSpec(unfinished=False),
    )
    used = {role: inputs[role] for role in ("corpus", "teacher")}
    artifact = tiny.run_stage(Store.open(folder / "texts"), "seqkd", spec, used)
    return tiny.inputs(pseudo_targets=artifact.path)["pseudo-targets"]


def run(folder: Path, spec: DistillSpec, inputs: dict[str, Input], name: str = "runs") -> Artifact:
    """Run the stage in the store `folder/name`."""
    return tiny.run_stage(Store.open(folder / name), "distill", spec, inputs)


def log_of(artifact: Artifact, event: str | None = None) -> list[dict[str, Any]]:
    """Return the log's updates, or its lines about an event."""
    lines = read_metrics(artifact.path / "logs" / "metrics.jsonl")
    return [line for line in lines if line.get("event") == event]
