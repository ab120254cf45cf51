"""Compare systems on the texts they wrote for one split: differences, tests, and what may be said.

Writes `comparison.json`, and `items.jsonl`, the values of every example for every run.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring import report as scoring
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.specs import CompareSpec, ScoreSpec
from ketchup_cli.stages.comparing import Answers, Measured, compared
from ketchup_cli.stages.comparison import FILE, ROLE, Comparison, of_metric
from ketchup_cli.stages.score import read_scored, settings_of
from ketchup_cli.statistics.claims import in_quality
from ketchup_cli.statistics.resampling import LEVEL
from ketchup_cli.store import manifest
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input
from ketchup_cli.store.manifest import Manifest

ITEMS_FILE = "items.jsonl"


def plan(spec: CompareSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan: systems and runs, the split, metrics, and how they are tested.

    Raises:
        SpecError: fewer than two systems, or a metric nobody knows.
        MismatchError: texts of another split, or of another number of its examples.
    """
    scoring.check_names(spec.metrics)
    runs = _runs(spec, inputs)
    first = _answered(spec, runs)
    shown = f"the first {first} examples of " if first else ""
    count = len(spec.metrics) * _pair_count(spec)
    return (
        ("systems", ", ".join(f"{name} ({_counted(len(own))})" for name, own in runs.items())),
        ("split", f"{shown}{spec.split}"),
        ("metrics", ", ".join(spec.metrics)),
        ("tests", f"{count}, Holm-corrected; {LEVEL:.0%} intervals, {spec.resamples:,} resamples"),
    )


def run(
    spec: CompareSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `comparison.json` and `items.jsonl`.

    Returns:
        All of the comparison, with a note.

    Raises:
        SpecError: a metric or tokenizer nobody knows, or one that does not fit the language.
        MismatchError: texts of another split, or of another number of its examples.
        DataError: the ids of texts and examples differ, or two runs wrote the same texts.
        NonFiniteError: a resample leaves a metric nothing to compute it from.
    """
    runs = _runs(spec, inputs)
    _answered(spec, runs)
    answers = [_answers(spec, name, own, inputs["corpus"]) for name, own in runs.items()]
    found = compared(spec, answers, warnings=tuple(_decoding_warnings(runs)))
    build.write_json(FILE, msgspec.to_builtins(found))
    build.write_rows(ITEMS_FILE, _item_rows(answers))
    for warning in found.warnings:
        reporter.note("warning", warning)
    return {"note": _note(found), **msgspec.to_builtins(found)}


def _answers(spec: CompareSpec, name: str, own: Sequence[Input], corpus: Input) -> Answers:
    """Return the texts of a system's runs with what was measured on them."""
    several = [read_scored(texts, corpus) for texts in own]
    return Answers(
        name=name,
        ids=several[0].items.ids,
        texts=tuple(one.items.hypotheses for one in several),
        measured=tuple(_measured(spec, one.items, corpus) for one in several),
        generations=tuple(item.digest for item in own),
        models=tuple(_model(manifest.read(item.path)) for item in own),
    )


def _runs(spec: CompareSpec, inputs: Mapping[str, Input]) -> dict[str, tuple[Input, ...]]:
    """Return the texts of every run by system, in the order of the spec."""
    if len(spec.systems) < 2:
        raise SpecError(
            f"{len(spec.systems)} systems are named, and a comparison takes two",
            hint="ketchup compare kl-student ketchup-student",
        )
    found = {
        name: tuple(_of_system(inputs, number)) for number, name in enumerate(spec.systems, start=1)
    }
    known = sum(map(len, found.values()))
    if len(found) != len(spec.systems) or not all(found.values()) or known != len(inputs) - 1:
        raise SpecError(
            f"the systems {', '.join(spec.systems)} are not those of the inputs",
            hint="name systems on the command line, not by --set systems",
        )
    return found


def _of_system(inputs: Mapping[str, Input], number: int) -> Iterator[Input]:
    run = 1
    while (role := ROLE.format(system=number, run=run)) in inputs:
        yield inputs[role]
        run += 1


def _answered(spec: CompareSpec, runs: Mapping[str, Sequence[Input]]) -> int | None:
    """Return how many first examples were asked for, or None for the whole split."""
    counts: dict[int, str] = {}
    for item in (item for own in runs.values() for item in own):
        recipe = manifest.read(item.path).spec
        split = recipe.get("split")
        if split != spec.split:
            raise MismatchError(
                f"generations `{item.label}` answer split `{split}`, not `{spec.split}`",
                hint=f"--split {split}, or name texts of `{spec.split}` only",
            )
        counts.setdefault(int(recipe.get("examples") or 0), item.label)
    if len(counts) > 1:
        (few, one), (many, other) = sorted(counts.items())[:2]
        words = [f"the first {count}" if count else "all" for count in (few, many)]
        raise MismatchError(
            f"`{one}` answers {words[0]} examples of {spec.split}, `{other}` {words[1]}",
            hint="generate the same examples with every system",
        )
    return next(iter(counts)) or None


def _measured(spec: CompareSpec, items: Items, corpus: Input) -> Measured:
    of_score = ScoreSpec(
        metrics=spec.metrics,
        tokenize=spec.tokenize,
        stemmer=spec.stemmer,
        rouge_engine=spec.rouge_engine,
        rouge_lines=spec.rouge_lines,
        rouge_words=spec.rouge_words,
        seed=spec.seed,
    )
    found = scoring.measurements(spec.metrics, items, settings_of(of_score, corpus, items))
    measured: dict[str, Measurement] = {}
    for one in (one for several in found.values() for one in several):
        if not isinstance(one, Measurement):
            raise SpecError(
                f"{one.metric} is no function of sums over examples, so it cannot be resampled",
                hint=f"leave out of metrics what brings {one.metric}",
            )
        measured[one.metric] = one
    return measured


def _model(texts: Manifest) -> str | None:
    return next((item.digest for item in texts.inputs if item.role == "model"), None)


def _decoding_warnings(runs: Mapping[str, Sequence[Input]]) -> Iterator[str]:
    """Yield a warning where texts were not decoded alike."""
    seen: dict[bytes, str] = {}
    for name, own in runs.items():
        for item in own:
            decoding = manifest.read(item.path).spec.get("decoding")
            seen.setdefault(msgspec.json.encode(decoding, order="sorted"), name)
    if len(seen) > 1:
        # names of systems, for labels of inputs are no part of the recipe
        names = " and ".join(f"`{name}`" for name in dict.fromkeys(seen.values()))
        yield f"texts of {names} were not all decoded alike, so decoding may explain a difference"


def _item_rows(answers: Sequence[Answers]) -> Iterator[dict[str, Any]]:
    for index, id in enumerate(answers[0].ids):
        yield {
            "id": id,
            "values": {
                system.name: {
                    metric: [run[metric].items[index] for run in system.measured]
                    for metric in system.measured[0]
                }
                for system in answers
            },
        }


def _note(found: Comparison) -> str:
    first = found.pairs[0]
    metric = of_metric(found, first.metric)
    return (
        f"{first.other} against {first.one}: {first.difference:+.1f} {metric.name},"
        f" {in_quality(first.claim, metric.better)} ({first.test}, Holm p {first.p_holm:.2g})"
    )


def _pair_count(spec: CompareSpec) -> int:
    count = len(spec.systems)
    return count - 1 if spec.pairs == "first" else count * (count - 1) // 2


def _counted(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"
