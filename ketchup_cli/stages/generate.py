"""Write a model's text for a split: `generations.jsonl` and `report.json`."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import GenerateSpec
from ketchup_cli.stages.answering import amount as amount
from ketchup_cli.stages.answering import answer, counted, describe, overview
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

GENERATIONS = "generations.jsonl"


def plan(spec: GenerateSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: how text is drawn, for how many prompts.

    Raises:
        SpecError: the corpus has no such split.
    """
    return describe(spec, inputs)


def run(
    spec: GenerateSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `generations.jsonl`, one row a text in corpus order, and `report.json`.

    Returns:
        Counts, and the speed of this run.

    Raises:
        SpecError: no such split, or a decoding the model cannot do.
        DataError: a prompt is longer than allowed, or none is left.
        NonFiniteError: the model's logits are not finite.
    """
    answers = answer(spec, inputs, build, reporter, role="model")
    counts: Counter[str] = Counter()
    build.write_rows(GENERATIONS, counted(answers, counts, spec=spec))
    report = overview(spec, answers, counts)
    build.write_json("report.json", report)
    finished = 1 - counts["unfinished"] / counts["texts"]
    note = (
        f"{counts['texts']:,} texts of {spec.split}, {report['decoding']}, {finished:.0%} finished"
    )
    reporter.note("generations", note)
    return {
        "note": note,
        **report,
        "parameters": answers.parameters,
        "texts_per_s": answers.texts_per_s,
    }
