"""Teacher caches for tests, made by the stage itself in a store of their own."""

import json
from pathlib import Path
from typing import Any

import msgspec
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ketchup_cli.corpora import read_split
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.encode import Limits, Row, collate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.records import Example, Generation
from ketchup_cli.reporting import Reporter, SilentProgress, SilentReporter
from ketchup_cli.signals import Batch, Needs, TeacherSignal
from ketchup_cli.spec import to_table
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.stages import cache_teacher
from ketchup_cli.store.artifact import Artifact, Input, folder_input
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store

LIMITS = Limits(prompt=512, completion=256)


def inputs_of(teacher: Path, corpus: Path, pseudo_targets: Path | None = None) -> dict[str, Input]:
    """Return plain folders as the stage's inputs."""
    inputs = {
        "teacher": folder_input(teacher, "teacher"),
        "corpus": folder_input(corpus, "corpus", kind="corpus"),
    }
    if pseudo_targets is not None:
        inputs["pseudo-targets"] = folder_input(
            pseudo_targets, "pseudo-targets", kind="pseudo-targets"
        )
    return inputs


def make_cache(
    root: Path,
    inputs: dict[str, Input],
    *,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Artifact:
    """Run `cache-teacher` in the store at `root` and publish what it made."""
    spec = CacheTeacherSpec(**settings)
    with begin(
        Store.open(root),
        kind="teacher-cache",
        version=1,
        spec=to_table(spec),
        inputs=list(inputs.values()),
        label="cache-teacher",
    ) as build:
        summary = cache_teacher.run(spec, inputs, build, reporter or SilentReporter())
        return build.commit(
            summary=summary, signature=summary["signature"], environment={}, seconds=0.0
        )


def rows_of(policy: Policy, corpus: Path, split: str = "train") -> tuple[Row, ...]:
    """Return the rows training would make of a split's references."""
    return reference_rows(policy, read_split(corpus, split), LIMITS).rows


def make_inputs(folder: Path, family: str, *, train: int) -> dict[str, Input]:
    """Make a teacher of one family, a corpus, and pseudo-targets that are not its references."""
    corpus = tiny.make_corpus(folder / "corpus", train=train)
    teacher = tiny.make_policy_folder(folder / "teacher", family)
    policy = load_policy(teacher)
    write_pseudo_targets(folder / "texts", read_split(corpus, "train"), eos=policy.eos_id)
    return inputs_of(teacher, corpus, folder / "texts")


def write_pseudo_targets(folder: Path, examples: list[Example], *, eos: int) -> None:
    """Write two texts for every third example: one that ended, one that was cut."""
    folder.mkdir()
    rows: list[Generation] = []
    for number, example in enumerate(examples[::3]):
        body = (7, 7 + number, 9)
        ended = Generation(id=example.id, text="", tokens=(*body, eos), stop="eos", logp=-1.0)
        cut = msgspec.structs.replace(ended, sample=1, tokens=body, stop="length")
        rows += [ended, cut]
    content = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    (folder / "pseudo-targets.jsonl").write_bytes(content)


def shard_tensors(artifact: Artifact) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in sorted(artifact.path.glob("*.safetensors"))]


def report_of(artifact: Artifact) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((artifact.path / "report.json").read_text())
    return report


def batch_of(policy: Policy, inputs: dict[str, Input], numbers: tuple[int, ...]) -> Batch:
    """Return some rows of the corpus as a batch."""
    rows = rows_of(policy, inputs["corpus"].path)
    return collate([rows[number] for number in numbers], pad_id=policy.pad_id, source="data")


def read(artifact: Artifact, batch: Batch, needs: Needs) -> TeacherSignal:
    """Return what a cache says about a batch."""
    return CachedTeacher(artifact.path, name="kept").signal(batch, needs)


def spoil(path: Path, column: str, value: int) -> None:
    """Replace the first number of a tensor in a finished file."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[column][0] = value
    path.chmod(0o644)
    save_file(tensors, path, metadata=metadata)


class Stopped(Exception):
    """Stands for a kill between two moments of a run."""


class CountingReporter:
    """Counts the rows a run has finished, and stops it after some."""

    def __init__(self, *, stop_after: int = 10**9) -> None:
        self.rows = 0
        self.tokens = 0
        self.done = 0
        self.stop_after = stop_after

    def note(self, label: str, text: str) -> None:
        pass

    def figures(self, line: object) -> None:
        """Ignore them."""

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> "CountingProgress":
        del label, total, unit
        self.done = done
        return CountingProgress(self)


class CountingProgress(SilentProgress):  # type: ignore[misc]
    def __init__(self, reporter: CountingReporter) -> None:
        self.reporter = reporter

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        self.reporter.rows += count
        self.reporter.tokens += tokens
        if self.reporter.rows >= self.reporter.stop_after:
            raise Stopped
