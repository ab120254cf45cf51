"""Score generations against the references of their corpus, joined by id.

Writes `scores.json`, one figure with interval and signature per metric, and `items.jsonl`, the
values of every example.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.records import Example, Generation, Score
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring import diversity, languages, lexical, words
from ketchup_cli.scoring import report as scoring
from ketchup_cli.scoring.items import Items, join
from ketchup_cli.scoring.settings import Frequencies, RougeSettings
from ketchup_cli.spec import unknown
from ketchup_cli.specs import ScoreSpec
from ketchup_cli.stages.similarity import learned
from ketchup_cli.statistics.resampling import LEVEL
from ketchup_cli.store import manifest
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

GENERATIONS_FILE = "generations.jsonl"
SHARED_WORDS = 400_000
"""Words of texts and references from which on several processes are worth their start."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The texts of one artifact of generations beside what they answer."""

    split: str
    examples: tuple[Example, ...]
    generations: tuple[Generation, ...]
    items: Items


def plan(spec: ScoreSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan: the split, the metrics, and how intervals are drawn.

    Raises:
        SpecError: a metric or tokenizer nobody knows, or that does not fit the corpus; or
            generations that do not tell their split.
    """
    scoring.check_names(spec.metrics, known=(*scoring.NAMES, *scoring.LEARNED))
    _check_fit(spec, inputs["corpus"])
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
        NonFiniteError: a metric came out as no number.
    """
    scored = read_scored(inputs["generations"], inputs["corpus"])
    if "base" in inputs:
        scored = replace(scored, items=_beside(scored, inputs["base"], inputs["corpus"]))
    settings = settings_of(spec, inputs["corpus"], scored.items)
    extra = learned(spec, inputs, scored.items, reporter)
    report = scoring.make_report(spec.metrics, scored.items, settings, extra=extra)
    build.write_json("scores.json", msgspec.to_builtins(report.scores))
    build.write_rows("items.jsonl", report.items)
    warnings = (*report.warnings, *_sample_warning(spec, scored.generations))
    for score in report.scores:
        reporter.note(score.metric, _told(score))
    for warning in warnings:
        reporter.note("warning", warning)
    return {
        "split": scored.split,
        "examples": len(scored.examples),
        "scores": {score.metric: _headline(score) for score in report.scores},
        "details": report.details,
        "texts": _texts(scored),
        "bootstrap": {"level": LEVEL, "resamples": spec.resamples, "seed": spec.seed},
        "warnings": list(warnings),
    }


def read_scored(generations: Input, corpus: Input) -> Scored:
    """Return the texts of a `generations` input joined with their examples by id.

    Raises:
        SpecError: the generations do not tell their split, or the corpus has none of that name.
        DataError: the ids of texts and examples differ.
    """
    split = _split(generations)
    examples = corpora.read_split(corpus.path, split)[: _answered(generations)]
    rows = corpora.read_generations(generations.path / GENERATIONS_FILE)
    return Scored(
        split=split,
        examples=tuple(examples),
        generations=tuple(rows),
        items=join(examples, rows),
    )


def _beside(scored: Scored, base: Input, corpus: Input) -> Items:
    """Return the items with the base's texts for the same examples.

    Raises:
        MismatchError: the base answers other examples.
    """
    other = read_scored(base, corpus).items
    if other.ids != scored.items.ids:
        raise MismatchError(
            f"the base `{base.label}` answers other examples than what is scored",
            hint="ketchup generate for the same split, with the same `examples`",
        )
    return replace(scored.items, base=other.samples or tuple((text,) for text in other.hypotheses))


def settings_of(spec: ScoreSpec, corpus: Input, items: Items) -> scoring.Settings:
    """Return what a spec says of metrics, with the languages and the words of its corpus.

    Raises:
        SpecError: the corpus has no split to count words in, where they are asked for.
    """
    return scoring.Settings(
        tokenize=spec.tokenize,
        rouge=RougeSettings(
            stemmer=spec.stemmer,
            engine=spec.rouge_engine,
            lines=spec.rouge_lines,
            words=spec.rouge_words,
        ),
        languages=corpora.languages(corpus.path),
        pass_k=spec.pass_k,
        frequencies=_frequencies(spec, corpus) if _counts_words(spec) else None,
        self_bleu_pairs=spec.self_bleu_pairs,
        resamples=spec.resamples,
        seed=spec.seed,
        processes=_processes(items),
    )


def _check_fit(spec: ScoreSpec, corpus: Input) -> None:
    """Refuse a tokenizer or a split to count in that this corpus has no use for."""
    languages.pick_tokenizer(spec.tokenize, corpora.languages(corpus.path))
    names = corpora.split_names(corpus.path)
    if _counts_words(spec) and spec.frequency_split not in names:
        raise unknown(
            "a split of this corpus",
            spec.frequency_split,
            names,
            hint=f"--set frequency_split={names[0]}",
        )


def _counts_words(spec: ScoreSpec) -> bool:
    return bool({*words.NAMES, *lexical.NAMES} & set(spec.metrics))


def _frequencies(spec: ScoreSpec, corpus: Input) -> Frequencies:
    examples = corpora.read_split(corpus.path, spec.frequency_split)
    digest = corpus.digest.removeprefix("sha256:")[:8]
    return Frequencies(
        texts=tuple(text for example in examples for text in example.references),
        source=f"{spec.frequency_split} of corpus {digest}",
        limits=spec.frequency_buckets,
        pairs=tuple(
            (example.prompt, example.references[0]) for example in examples if example.references
        ),
    )


def _processes(items: Items) -> int:
    """Return how many processes share the work: one for little of it, else all there are."""
    texts = (*items.hypotheses, *(text for several in items.references for text in several))
    many = sum(text.count(" ") + 1 for text in texts) >= SHARED_WORDS
    return len(os.sched_getaffinity(0)) if many and hasattr(os, "sched_getaffinity") else 1


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


def _texts(scored: Scored) -> dict[str, int]:
    """Return counts that tell whether the scored texts are texts at all."""
    items = scored.items
    pairs = zip(items.hypotheses, items.prompts, strict=True)
    return {
        "scored": len(items.ids),
        "not_scored": len(scored.generations) - len(items.ids),
        "unfinished": sum(items.unfinished),
        "empty": sum(not text.strip() for text in items.hypotheses),
        "copies_of_prompt": sum(text.strip() == prompt.strip() for text, prompt in pairs),
    }


def _sample_warning(spec: ScoreSpec, generations: Sequence[Generation]) -> tuple[str, ...]:
    more = sum(row.sample != 0 for row in generations)
    if not more:
        return ()
    every = bool(spec.pass_k) or bool(set(diversity.NAMES) & set(spec.metrics))
    others = "count for pass@k and self-BLEU alone" if every else "are not"
    return (f"several texts per prompt: sample 0 is scored, {more} other texts {others}",)


def _told(score: Score) -> str:
    if score.metric == "exact-folded" and score.details:
        each = ", ".join(f"{name} {value:.1f}" for name, value in score.details.items())
        return f"{_value_told(score)}   {each}"
    return _value_told(score)


def _value_told(score: Score) -> str:
    if score.interval is None:
        return f"{score.value:.2f}   {score.signature}"
    low, high = score.interval
    return f"{score.value:.2f}  [{low:.2f}, {high:.2f}]   {score.signature}"
