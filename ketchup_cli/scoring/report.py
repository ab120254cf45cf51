"""The way in: any metric by its name, for one number or for a report with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.records import ItemScores, Score
from ketchup_cli.scoring import bleu, exact, rouge
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Measurement, intervals
from ketchup_cli.spec import unknown

NAMES = (*bleu.NAMES, *rouge.NAMES, *exact.NAMES)
"""Every metric there is."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What changes a number, apart from the texts."""

    tokenize: str = "13a"
    """Tokenizer of sacrebleu for BLEU."""
    stemmer: bool = True
    """Whether ROUGE stems words."""
    languages: tuple[str, ...] = ()
    """Language codes of prompt and reference, where declared."""
    resamples: int = 1000
    """Bootstrap draws behind an interval."""
    seed: int = 0
    """Decides the draws."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Figures over a corpus, figures per item, and what to know about them."""

    scores: tuple[Score, ...]
    items: tuple[ItemScores, ...]
    details: dict[str, float]
    """Named figures that explain a score, as `bleu.brevity_penalty`."""
    warnings: tuple[str, ...]


def check_names(names: Sequence[str]) -> None:
    """Refuse a metric nobody knows.

    Raises:
        SpecError: with the nearest three names.
    """
    for name in names:
        if name not in NAMES:
            raise unknown("a metric", name, NAMES, hint='--set metrics=\'["bleu", "chrf"]\'')


def corpus_metric(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
) -> float:
    """Return one metric over the corpus, in percent; no items, no interval.

    Example: `corpus_metric("bleu", ["a text"], [["a text", "one text"]])`

    Raises:
        SpecError: no metric or tokenizer of that name.
        DataError: shapes or types are wrong.
    """
    check_names([name])
    if name in bleu.NAMES:
        return bleu.corpus_value(name, hypotheses, references, tokenize=tokenize)
    if name in rouge.NAMES:
        return rouge.corpus_value(name, hypotheses, references)
    return exact.corpus_value(name, hypotheses, references)


def make_report(names: Sequence[str], items: Items, settings: Settings) -> Report:
    """Return the named metrics over joined items, with bootstrap intervals.

    Raises:
        SpecError: no metric or tokenizer of that name, or one that does not fit the language.
        DataError: texts no metric can use.
    """
    wanted = tuple(dict.fromkeys(names))
    check_names(wanted)
    if "bleu" in wanted:
        bleu.check_tokenizer(settings.tokenize, settings.languages)
    by_name = {measured.metric: measured for measured in _measure(wanted, items, settings)}
    measured = [by_name[name] for name in wanted]
    bounds = intervals(measured, resamples=settings.resamples, seed=settings.seed)
    return Report(
        scores=tuple(
            Score(
                metric=one.metric,
                value=one.value,
                interval=interval,
                count=len(items.ids),
                signature=one.signature,
            )
            for one, interval in zip(measured, bounds, strict=True)
        ),
        items=tuple(_item_scores(items, measured)),
        details={
            f"{one.metric}.{name}": float(value)
            for one in measured
            for name, value in one.details.items()
        },
        warnings=_warnings(measured, items, settings),
    )


def _measure(names: Sequence[str], items: Items, settings: Settings) -> Iterator[Measurement]:
    texts, references = items.hypotheses, items.references
    of_bleu = [name for name in names if name in bleu.NAMES]
    of_rouge = [name for name in names if name in rouge.NAMES]
    of_exact = [name for name in names if name in exact.NAMES]
    if of_bleu:
        yield from bleu.measure(of_bleu, texts, references, tokenize=settings.tokenize)
    if of_rouge:
        yield from rouge.measure(of_rouge, texts, references, stemmer=settings.stemmer)
    if of_exact:
        yield from exact.measure(of_exact, texts, references)


def _item_scores(items: Items, measured: Sequence[Measurement]) -> Iterator[ItemScores]:
    for index, id in enumerate(items.ids):
        yield ItemScores(
            id=id,
            values={one.metric: one.items[index] for one in measured},
            extracted={
                one.metric: one.extracted[index] for one in measured if one.extracted is not None
            },
        )


def _warnings(measured: Sequence[Measurement], items: Items, settings: Settings) -> tuple[str, ...]:
    names = {one.metric for one in measured}
    warnings = [warning for one in measured for warning in one.warnings]
    if names & set(rouge.NAMES):
        warnings += rouge.foreign_warning(items.hypotheses, items.references)
    if "ter" in names and bleu.is_unspaced(settings.languages):
        code = bleu.base_language(settings.languages)
        warnings.append(f"ter takes what stands between spaces for a word, which `{code}` lacks")
    return tuple(warnings)
