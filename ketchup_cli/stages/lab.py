"""Compare estimators of the policy gradient on one set of rollouts of the student.

Writes `lab.json`, every figure with its interval, `rollouts.jsonl`, the texts all estimators share,
and `lab.svg`; times, which differ from run to run, stand in `logs/seconds.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ketchup_cli import corpora
from ketchup_cli.lab.estimators import estimators
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import LabSpec
from ketchup_cli.stages.gate import gate
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.lab.measure import Bench
    from ketchup_cli.lab.moments import Moments
    from ketchup_cli.lab.report import Line
    from ketchup_cli.lab.resume import Kept
    from ketchup_cli.lab.rollouts import Rollouts
    from ketchup_cli.signals import Batch

DOCUMENT, ROLLOUTS, PLOT, SECONDS = "lab.json", "rollouts.jsonl", "lab.svg", "seconds.json"


def plan(spec: LabSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: what is measured, on how many samples.

    Raises:
        SpecError: no such split, or an estimator that cannot be measured.
    """
    corpora.read_split(inputs["corpus"].path, spec.split)
    labels = [item.label for item in estimators(spec)]
    return (
        ("estimators", f"{len(labels)}: {', '.join(labels)}"),
        (
            "plan",
            f"{spec.batches} batches of {spec.prompts} prompts x {spec.samples}, gradient of:"
            f" {spec.parameters}",
        ),
    )


def run(
    spec: LabSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `lab.json`, `rollouts.jsonl` and `lab.svg`; a killed run goes on at the next batch.

    Raises:
        SpecError: an estimator that cannot be measured, or memory too small for the intervals.
        MismatchError: student and teacher have different tokenizers.
        CheckFailed: they do not speak alike in another way.
        DataError: fewer prompts of that length than asked for.
        NonFiniteError: logits or a gradient are not finite.
        NoSpace: the sums of gradients, kept while it runs, would not fit on the disk.
    """
    from ketchup_cli.lab.measure import clock_of
    from ketchup_cli.lab.plot import svg
    from ketchup_cli.lab.report import legend, lines, table
    from ketchup_cli.lab.resume import Kept

    kept = Kept(build.state_path)
    bench, rollouts = _prepare(spec, inputs, reporter, kept=kept)
    build.write_rows(ROLLOUTS, rollouts.texts)
    batches = rollouts.batches
    moments = _measure(spec, bench, batches, kept=kept, build=build, reporter=reporter)
    seconds = _time_alone(bench, batches[: spec.timed], reporter)
    found = lines(bench.estimators, moments)
    of_first = next(iter(moments.values()))
    groups, size = of_first.sums_GP.shape
    facts = {**_facts(rollouts), "weights": size, "groups": groups}
    told = legend(found, groups=groups)
    build.write_json(DOCUMENT, _document(found, facts, bench))
    build.write_bytes(PLOT, svg(found, caption=told))
    build.log_path(SECONDS).write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")
    for number, row in enumerate(table(found, seconds)):
        reporter.note("" if number else "lab", row)
    _, clock = clock_of(bench.student.device)
    times = f"ms: an update of this estimator alone, {clock}, median of {spec.timed} batches"
    for number, text in enumerate((*told, times) if seconds else told):
        reporter.note("" if number else "legend", text)
    return _summary(found, facts, seconds)


def _measure(
    spec: LabSpec,
    bench: Bench,
    batches: Sequence[Batch],
    *,
    kept: Kept,
    build: Build,
    reporter: Reporter,
) -> Mapping[str, Moments]:
    """Return what all estimators have counted on all batches, in this run and killed ones."""
    from ketchup_cli.lab.moments import group_count

    size = sum(value.numel() for value in bench.parameters.values())
    vectors = len(bench.estimators)
    groups = group_count(spec.batches, vectors=vectors, size=size, memory_bytes=spec.memory_bytes)
    moments = bench.moments(groups)
    kept.restore(moments, groups=groups)
    done = int(next(iter(moments.values())).sizes_G.sum())
    build.require_space(min(groups, len(batches) - done) * vectors * size * 4)
    with reporter.progress("measuring", total=len(batches), unit="batches", done=done) as progress:
        bench.measure(batches, moments, kept=kept, progress=progress)
    return moments


def _time_alone(bench: Bench, batches: Sequence[Batch], reporter: Reporter) -> dict[str, float]:
    """Return the seconds of each estimator by itself; nothing where nothing is to be timed."""
    if not batches:
        return {}
    with reporter.progress("timing", total=len(bench.estimators), unit="estimators") as progress:
        return bench.time_alone(batches, progress=progress)


def _prepare(
    spec: LabSpec, inputs: Mapping[str, Input], reporter: Reporter, *, kept: Kept
) -> tuple[Bench, Rollouts]:
    """Load both models, draw the samples, and choose the weights."""
    from ketchup_cli.lab.gradients import choose_parameters
    from ketchup_cli.lab.measure import Bench
    from ketchup_cli.lab.rollouts import choose_prompts, draw
    from ketchup_cli.models.load import load_policy, precision_warnings, quiet
    from ketchup_cli.stages.teaching import load_live

    quiet()
    asked = estimators(spec)
    student = load_policy(
        inputs["student"].path, device=spec.device, precision=spec.precision, dropout=0.0
    )
    for warning in precision_warnings(student):
        reporter.note("warning", warning)
    student.module.eval()
    teacher = load_live(inputs["teacher"], student, chunk_tokens=spec.chunk_tokens)
    gate(teacher.policy, student, inputs, split=spec.split, reporter=reporter)
    examples = corpora.read_split(inputs["corpus"].path, spec.split)
    rows = choose_prompts(student, examples, spec)
    rollouts = draw(student, rows, spec=spec, reporter=reporter, kept=kept)
    bench = Bench(
        student=student,
        teacher=teacher,
        estimators=asked,
        parameters=choose_parameters(student, spec.parameters),
        counts=rollouts.counts,
    )
    return bench, rollouts


def _facts(rollouts: Rollouts) -> dict[str, Any]:
    tokens, sequences = rollouts.counts
    return {
        "batches": len(rollouts.batches),
        "completions_per_batch": round(sequences, 2),
        "tokens_per_batch": round(tokens, 2),
        "finished": round(rollouts.finished, 4),
    }


def _document(found: Sequence[Line], facts: Mapping[str, Any], bench: Bench) -> dict[str, Any]:
    from ketchup_cli.lab.report import LEVEL

    return {
        "lab": 1,
        **facts,
        "names": sorted(bench.parameters),
        "level": LEVEL,
        "unit_of_trace": found[0].reference,
        "estimators": [msgspec.to_builtins(line) for line in found],
    }


def _summary(
    found: Sequence[Line], facts: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Return what the manifest says: the main figures and the times."""
    return {
        "note": f"{len(found)} estimators, {facts['batches']} batches, {facts['weights']:,} weights",
        **facts,
        "estimators": {
            line.label: {
                **{name: told.value for name, told in line.figures.items()},
                "seconds": seconds.get(line.label),
            }
            for line in found
        },
    }
