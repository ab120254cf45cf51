"""Score generations against the references of their corpus, joined by id.

Writes `scores.json`, one figure with interval and signature per metric, and `items.jsonl`, the
values of every example.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import SpecError
from ketchup_cli.records import Example, Generation, Score
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring import report as scoring
from ketchup_cli.scoring.items import Items, join
from ketchup_cli.scoring.measurement import LEVEL
from ketchup_cli.specs import ScoreSpec
from ketchup_cli.store import manifest
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

GENERATIONS_FILE = "generations.jsonl"


def plan(spec: ScoreSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan: the split, the metrics, and how intervals are drawn.

    Raises:
        SpecError: a metric nobody knows, or generations that do not tell their split.
    """
    scoring.check_names(spec.metrics)
    first = _answered(inputs["generations"])
    shown = f"the first {first} examples of " if first else ""
    return (
        ("split", f"{shown}{_split(inputs['generations'])}"),
        ("metrics", ", ".join(spec.metrics)),
        ("intervals", f"{LEVEL:.0%} bootstrap over examples, {spec.resamples} draws"),
    )


def run(
    spec: ScoreSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `scores.json` and `items.jsonl`.

    Returns:
        The headline values with intervals and signatures, and what to know about the texts.

    Raises:
        SpecError: a metric or tokenizer nobody knows, or one that does not fit the language.
        DataError: the ids of texts and examples differ, or texts no metric can use.
    """
    split = _split(inputs["generations"])
    corpus = inputs["corpus"].path
    examples = corpora.read_split(corpus, split)[: _answered(inputs["generations"])]
    generations = corpora.read_generations(inputs["generations"].path / GENERATIONS_FILE)
    items = join(examples, generations)
    settings = scoring.Settings(
        tokenize=spec.tokenize,
        stemmer=spec.stemmer,
        languages=corpora.languages(corpus),
        resamples=spec.resamples,
        seed=spec.seed,
    )
    report = scoring.make_report(spec.metrics, items, settings)
    build.write_json("scores.json", msgspec.to_builtins(report.scores))
    build.write_rows("items.jsonl", report.items)
    warnings = (*report.warnings, *_sample_warning(generations))
    for score in report.scores:
        reporter.note(score.metric, _told(score))
    for warning in warnings:
        reporter.note("warning", warning)
    return {
        "split": split,
        "examples": len(examples),
        "scores": {score.metric: _headline(score) for score in report.scores},
        "details": report.details,
        "texts": _texts(items, examples, generations),
        "bootstrap": {"level": LEVEL, "resamples": spec.resamples, "seed": spec.seed},
        "warnings": list(warnings),
    }


def _split(generations: Input) -> str:
    split = manifest.read(generations.path).spec.get("split")
    if not isinstance(split, str):
        raise SpecError(
            f"generations `{generations.label}` do not tell which split they answer",
            hint="ketchup generate --split test",
        )
    return split


def _answered(generations: Input) -> int | None:
    """Return how many first examples were asked for, or None for the whole split."""
    return manifest.read(generations.path).spec.get("examples") or None


def _headline(score: Score) -> dict[str, Any]:
    return {
        "value": score.value,
        "interval": None if score.interval is None else list(score.interval),
        "signature": score.signature,
    }


def _texts(
    items: Items, examples: Sequence[Example], generations: Sequence[Generation]
) -> dict[str, int]:
    """Return counts that tell whether the scored texts are texts at all."""
    scored = [row for row in generations if row.sample == 0]
    pairs = zip(items.hypotheses, examples, strict=True)
    return {
        "scored": len(scored),
        "not_scored": len(generations) - len(scored),
        "unfinished": sum(row.stop == "length" for row in scored),
        "empty": sum(not text.strip() for text in items.hypotheses),
        "copies_of_prompt": sum(text.strip() == row.prompt.strip() for text, row in pairs),
    }


def _sample_warning(generations: Sequence[Generation]) -> tuple[str, ...]:
    more = sum(row.sample != 0 for row in generations)
    if not more:
        return ()
    return (f"several texts per prompt: sample 0 is scored, {more} other texts are not",)


def _told(score: Score) -> str:
    if score.interval is None:
        return f"{score.value:.2f}   {score.signature}"
    low, high = score.interval
    return f"{score.value:.2f}  [{low:.2f}, {high:.2f}]   {score.signature}"
