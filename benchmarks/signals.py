"""What a cached teacher costs in bytes, and how far `kl` from it is from the whole teacher.

    python benchmarks/signals.py --write

Makes a student of the shipped English-Dutch teacher, caches the teacher in every way, and holds
`kl` from each cache against `kl` from all logits, on the same rows. --write puts the table into
docs/signals.md.
"""

import argparse
import gzip
import json
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ketchup_cli.corpora import read_split
from ketchup_cli.models.cache import read_meta
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.encode import Limits, Row, by_length, collate
from ketchup_cli.models.heads import HEAD
from ketchup_cli.models.load import load_policy, quiet
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.models.teacher import LiveTeacher, Teacher
from ketchup_cli.objectives.kl import Kl
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.signals import Batch, Inputs, StudentSignal
from ketchup_cli.spec import Spec, to_table
from ketchup_cli.specs import (
    CacheTeacherSpec,
    CorpusSpec,
    DistillSpec,
    OptimizerSpec,
    ShrinkSpec,
    ValidationSpec,
)
from ketchup_cli.stages import cache_teacher, corpus, distill, shrink
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import Artifact, Input, file_input, folder_input
from ketchup_cli.store.layout import Store

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "signals.md"
MARKS = ("<!-- written by benchmarks/signals.py -->", "<!-- to here -->")
BYTES_PER_LOGIT = 4

WAYS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "8 largest, bucket": ({"top": 8}, "bucket"),
    "8 largest, renormalise": ({"top": 8}, "renormalise"),
    "32 largest, bucket": ({"top": 32}, "bucket"),
    "32 largest, renormalise": ({"top": 32}, "renormalise"),
    "128 largest, bucket": ({"top": 128}, "bucket"),
    "128 largest, renormalise": ({"top": 128}, "renormalise"),
    "12 draws": ({"keep": "sampled", "draws": 12}, "bucket"),
    "50 draws": ({"keep": "sampled", "draws": 50}, "bucket"),
    "255 draws": ({"keep": "sampled", "draws": 255}, "bucket"),
    "states in float16": ({"keep": "hidden"}, "bucket"),
    "states in float32": ({"keep": "hidden", "state_dtype": "float32"}, "bucket"),
}
"""Settings of `cache-teacher`, and the tail rule of `kl`, by the name of the row."""


@final
@dataclass(frozen=True, slots=True)
class Errors:
    """How far `kl` from a cache is from `kl` of the whole teacher, over all tokens."""

    mean: float
    """Mean value (nats a token)."""
    bias: float
    """Mean of the difference of values."""
    step: float
    """Mean over tokens of the gradient's distance on the student's logits, summed over the vocabulary."""
    whole: float
    """Relative distance of the gradients of the output layer, of the mean over all tokens."""


def main() -> None:
    """Print the table, and write it into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="put the table into docs/signals.md")
    given = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        text = measured(Path(folder), examples=given.examples, updates=given.updates)
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(MARKS[0])
        _, _, after = rest.partition(MARKS[1])
        PAGE.write_text(f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def measured(folder: Path, *, examples: int, updates: int) -> str:
    """Return the table, and the sentence that says what was measured."""
    inputs = prepared(folder, examples=examples, updates=updates)
    teacher = load_policy(inputs["teacher"].path, device="cpu")
    student = load_policy(inputs["student"].path, device="cpu")
    batches = batches_of(student, inputs["corpus"].path)
    tokens = int(sum(float(batch.mask_BT.sum()) for batch in batches))
    truth = list(found_by(student, LiveTeacher(teacher), batches, Kl()))
    whole = BYTES_PER_LOGIT * teacher.vocabulary
    rows = [
        (
            "all logits, live",
            f"{whole:,}",
            f"{torch.cat([item[0] for item in truth]).mean():.4f}",
            "0",
            "0",
            "0",
        )
    ]
    for name, (settings, tail) in WAYS.items():
        artifact = made(
            folder, cache_teacher, CacheTeacherSpec(**settings), only(inputs, "teacher")
        )
        cached = CachedTeacher(artifact.path, name=name)
        objective = Kl(tail=tail)  # type: ignore[arg-type]
        found = errors(found_by(student, cached, batches, objective), truth)
        cost = size_of(artifact)
        rows.append((
            name,
            cost,
            f"{found.mean:.4f}",
            _signed(found.bias),
            _small(found.step),
            _small(found.whole),
        ))
        print(*rows[-1], file=sys.stderr, flush=True)
    header = ("kept", "bytes a token", "kl", "value off by", "gradient at a step", "of all tokens")
    said = (
        f"{examples} sentences of `examples/en-nl`, {tokens:,} tokens, vocabulary"
        f" {teacher.vocabulary:,}; teacher: the shipped one; student: 3 encoder layers and 1 decoder"
        f" layer of it after {updates} updates of `kl`. Nats a token; the gradient at a step is its"
        " L1 distance on the student's logits, averaged over tokens; of all tokens: the relative"
        " distance of the gradients of the output layer. Draws with seed 0, one run."
    )
    command = f"python benchmarks/signals.py --examples {examples} --updates {updates} --write"
    lines = textwrap.fill(said, width=100, break_long_words=False, break_on_hyphens=False)
    return f"{_table(header, rows)}\n{lines}\n`{command}`\n"


def prepared(folder: Path, *, examples: int, updates: int) -> dict[str, Input]:
    """Return corpus, teacher and student; the student has learnt for a while."""
    shipped = ROOT / "examples" / "en-nl"
    with gzip.open(shipped / "data" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(examples), strict=False)]
    fields = [json.loads(line) for line in lines]
    plain = [{"prompt": item["src"], "reference": item["tgt"]} for item in fields]
    text = "".join(json.dumps(item) + "\n" for item in plain)
    files = {}
    for split in ("train", "dev"):
        path = folder / f"{split}.jsonl"
        path.write_text(text, encoding="utf-8")
        files[split] = file_input(path, split)
    shutil.copytree(shipped / "teacher", folder / "teacher")
    teacher = folder_input(folder / "teacher", "teacher")
    rows = made(folder, corpus, CorpusSpec(), files)
    start = made(folder, shrink, ShrinkSpec(encoder=3, decoder=1), {"teacher": teacher})
    inputs = {
        "corpus": folder_input(rows.path, "corpus", kind="corpus"),
        "teacher": teacher,
        "student": folder_input(start.path, "student"),
    }
    spec = DistillSpec(
        objective=({"name": "kl"},),
        updates=updates,
        tokens_per_batch=1200,
        optimizer=OptimizerSpec(warmup=10),
        validation=ValidationSpec(every=0, examples=20, metric="loss", probe=0),
        teacher="live",
        device="cpu",
    )
    learnt = made(folder, distill, spec, inputs)
    return {**inputs, "student": folder_input(learnt.path, "student")}


def made(folder: Path, stage: Any, spec: Spec, inputs: Mapping[str, Input]) -> Artifact:
    """Run a stage in a store of the folder."""
    name = stage.__name__.rpartition(".")[2]
    kind = {"corpus": "corpus", "cache_teacher": "teacher-cache"}.get(name, "model")
    with begin(
        Store.open(folder / "runs"),
        kind=kind,
        version=1,
        spec=to_table(spec),
        inputs=list(inputs.values()),
        label=name,
    ) as build:
        if build.published is not None:
            return build.published
        summary = stage.run(spec, inputs, build, SilentReporter())
        return build.commit(summary=summary, signature=name, environment={}, seconds=0.0)


def only(inputs: Mapping[str, Input], *names: str) -> dict[str, Input]:
    """Return the corpus and these inputs."""
    return {name: inputs[name] for name in ("corpus", *names)}


def batches_of(policy: Policy, folder: Path) -> list[Batch]:
    """Return the references as batches."""
    limits = Limits(prompt=512, completion=256)
    rows: Sequence[Row] = reference_rows(policy, read_split(folder, "train"), limits).rows
    return [
        collate([rows[index] for index in chosen], pad_id=policy.pad_id, source="data")
        for chosen in by_length(rows, 1200)
    ]


def size_of(artifact: Artifact) -> str:
    """Return the bytes of a token, and those of the head where there is one."""
    meta = read_meta(artifact.path)
    heads = [file.bytes for file in artifact.manifest.files if file.path == HEAD]
    once = "".join(f", and {size / 1e6:.1f} MB once" for size in heads)
    return f"{meta.bytes_per_token:,.1f}".removesuffix(".0") + once


Found = list[tuple[Tensor, Tensor, Tensor]]
"""Values [N], gradients on the student's logits [N, V] and its states [N, H] of every batch."""


def found_by(
    student: Policy, teacher: Teacher, batches: Sequence[Batch], objective: Kl
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield what `kl` of a teacher says of every batch."""
    for batch in batches:
        with torch.no_grad():
            hidden_BTH = student.hidden(batch)
            logits_BTV = student.head(hidden_BTH)
        logits_BTV.requires_grad_()
        signal = teacher.signal(batch, objective.needs)
        says = StudentSignal(logits_BTV=logits_BTV, logp_taken_BT=batch.mask_BT)
        loss = objective(Inputs(batch=batch, student=says, teacher=signal))
        real_BT = batch.mask_BT.bool()
        values_BT = loss.loss_BT * batch.mask_BT
        (slope_BTV,) = torch.autograd.grad(values_BT.sum(), logits_BTV)
        yield values_BT[real_BT].detach(), slope_BTV[real_BT], hidden_BTH[real_BT]


def errors(found: Iterator[tuple[Tensor, Tensor, Tensor]], truth: Found) -> Errors:
    """Hold one way against the whole teacher."""
    values, biases, steps = [], [], []
    own_VH = true_VH = torch.zeros(())
    for (a_N, a_NV, h_NH), (b_N, b_NV, _) in zip(found, truth, strict=True):
        values.append(a_N)
        biases.append(a_N - b_N)
        steps.append((a_NV - b_NV).abs().sum(dim=-1))
        own_VH, true_VH = own_VH + a_NV.T @ h_NH, true_VH + b_NV.T @ h_NH
    return Errors(
        mean=float(torch.cat(values).mean()),
        bias=float(torch.cat(biases).mean()),
        step=float(torch.cat(steps).mean()),
        whole=float((own_VH - true_VH).norm() / true_VH.norm()),
    )


def _signed(value: float) -> str:
    return f"{value:+.4f}" if abs(value) >= 0.0001 else f"{value:+.0e}"


def _small(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.0e}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
