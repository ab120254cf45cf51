"""Measure what pseudo-targets keep of rare words, beside the references of the same examples.

Writes `scores.json`, one figure and signature per measure and set of pairs, and `items.jsonl`, the
shares of every example. The sets: `raw`, prompts and references; `forward`, prompts and the teacher's
text; `reverse`, prompts of a backward teacher and references; `both`, the last two together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.records import Example, Generation, ItemScores, Score
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring import languages, rarity
from ketchup_cli.scoring.alignment import ROUNDS, TextPair
from ketchup_cli.scoring.measurement import Figure, Measurement, intervals
from ketchup_cli.scoring.rarity import RAW, Rare
from ketchup_cli.specs import RareWordsSpec
from ketchup_cli.statistics.resampling import LEVEL
from ketchup_cli.store import manifest
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

Split = Callable[[str], list[str]]


def plan(spec: RareWordsSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: whose texts, and which words are rare.

    Raises:
        SpecError: the pseudo-targets do not tell their split.
    """
    return (
        ("split", _split(inputs["pseudo-targets"])),
        ("rare", f"words that stand at most {spec.rare} times in it"),
        ("intervals", f"{LEVEL:.0%} bootstrap over examples, {spec.resamples} draws"),
    )


def run(
    spec: RareWordsSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `scores.json` and `items.jsonl`.

    Returns:
        The values with intervals and signatures.

    Raises:
        SpecError: no such split or tokenizer, or one that does not fit the language.
        DataError: an example that is answered has no reference, or no word of theirs is rare.
        MismatchError: a text answers no example of the split.
    """
    corpus, split = inputs["corpus"], _split(inputs["pseudo-targets"])
    tokenize = languages.pick_tokenizer(spec.tokenize, corpora.languages(corpus.path))
    words = languages.word_splitter(tokenize)
    examples = corpora.read_split(corpus.path, split)
    rare = Rare.of(
        [
            (words(one.prompt), words(one.references[0] if one.references else ""))
            for one in examples
        ],
        limit=spec.rare,
    )
    there, back = corpora.read_both_directions(inputs["pseudo-targets"].path)
    used = _answered(examples, (*there, *back))
    found = rarity.measure(
        _sets(used, there, back, words),
        rare,
        signature=_signature(spec, corpus, split=split, tokenize=tokenize),
    )
    scores = _scores(spec, found, count=len(used))
    build.write_json("scores.json", msgspec.to_builtins(scores))
    build.write_rows("items.jsonl", _items(used, found))
    _tell(scores, reporter)
    return {
        "split": split,
        "examples": len(used),
        "scores": {
            score.metric: {
                "value": score.value,
                "interval": None if score.interval is None else list(score.interval),
                "signature": score.signature,
                "unit": score.unit,
            }
            for score in scores
        },
        "details": {
            f"{score.metric}.{name}": value
            for score in scores
            for name, value in score.details.items()
        },
        "bootstrap": {"level": LEVEL, "resamples": spec.resamples, "seed": spec.seed},
    }


def _split(pseudo_targets: Input) -> str:
    split = manifest.read(pseudo_targets.path).spec.get("split")
    if not isinstance(split, str):
        raise SpecError(
            f"pseudo-targets `{pseudo_targets.label}` do not tell which split they answer",
            hint="make them again: ketchup seqkd",
        )
    return split


def _answered(examples: Sequence[Example], texts: Sequence[Generation]) -> list[Example]:
    """Return the examples that have a text, in corpus order."""
    ids = {row.id for row in texts}
    used = [example for example in examples if example.id in ids]
    unknown = ids - {example.id for example in used}
    if unknown:
        raise MismatchError(
            f"pseudo-target `{min(unknown)[:12]}` belongs to no example of this split",
            hint="name the corpus the pseudo-targets were made from: --corpus NAME",
        )
    for example in used:
        if not example.references:
            raise DataError(
                f"example `{example.id[:12]}` has no reference to hold its text against",
                hint="import the corpus with its references",
            )
    return used


def _sets(
    examples: Sequence[Example],
    there: Sequence[Generation],
    back: Sequence[Generation],
    words: Split,
) -> dict[str, list[list[TextPair]]]:
    """Return the sets that the pseudo-targets make, raw pairs first."""
    prompts = {example.id: words(example.prompt) for example in examples}
    references = {example.id: words(example.references[0]) for example in examples}
    forward: dict[str, list[TextPair]] = {example.id: [] for example in examples}
    reverse: dict[str, list[TextPair]] = {example.id: [] for example in examples}
    for row in there:
        forward[row.id].append((prompts[row.id], words(row.text)))
    for row in back:
        reverse[row.id].append((words(row.text), references[row.id]))
    found: dict[str, list[list[TextPair]]] = {
        RAW: [[(prompts[id], references[id])] for id in prompts]
    }
    if there:
        found["forward"] = list(forward.values())
    if back:
        found["reverse"] = list(reverse.values())
    if there and back:
        found["both"] = [[*forward[id], *reverse[id]] for id in prompts]
    return found


def _signature(spec: RareWordsSpec, corpus: Input, *, split: str, tokenize: str) -> str:
    from sacrebleu import __version__ as version

    digest = corpus.digest.removeprefix("sha256:")[:8]
    return (
        f"rare:1-{spec.rare} in {split} of corpus {digest}|refs:first|links:ibm1x{ROUNDS}"
        f"|tok:{tokenize}|case:mixed|sacrebleu:{version}"
    )


def _scores(
    spec: RareWordsSpec, found: Sequence[Measurement | Figure], *, count: int
) -> list[Score]:
    measured = [one for one in found if isinstance(one, Measurement)]
    drawn = intervals(measured, resamples=spec.resamples, seed=spec.seed)
    bounds = dict(zip((one.metric for one in measured), drawn, strict=True))
    return [
        Score(
            metric=one.metric,
            value=one.value,
            interval=bounds.get(one.metric),
            count=count,
            signature=one.signature,
            details={name: float(value) for name, value in one.details.items()},
            unit="nats" if one.metric.startswith("rare-entropy") else "percent",
        )
        for one in found
    ]


def _items(examples: Sequence[Example], found: Sequence[Measurement | Figure]) -> list[ItemScores]:
    measured = [one for one in found if isinstance(one, Measurement)]
    return [
        ItemScores(id=example.id, values={one.metric: one.items[number] for one in measured})
        for number, example in enumerate(examples)
    ]


def _tell(scores: Sequence[Score], reporter: Reporter) -> None:
    """Say the figures of every set in one line, and the signature that says most."""
    lines: dict[str, list[str]] = {}
    for score in scores:
        metric, _, name = score.metric.rstrip("]").partition("[")
        lines.setdefault(name, []).append(f"{metric} {_value(score)}")
    for name, figures in lines.items():
        reporter.note(name, ", ".join(figures))
    reporter.note("signature", scores[0].signature)


def _value(score: Score) -> str:
    if score.interval is None:
        return f"{score.value:.2f}"
    low, high = score.interval
    return f"{score.value:.2f} [{low:.2f}, {high:.2f}]"
