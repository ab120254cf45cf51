"""The way in: any metric by its name, for one number or for a report with intervals."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import NonFiniteError
from ketchup_cli.records import ItemScores, Score
from ketchup_cli.scoring import (
    bleu,
    diversity,
    exact,
    gains,
    languages,
    lexical,
    passes,
    rouge,
    texts,
    words,
)
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Figure, Measurement, intervals
from ketchup_cli.scoring.settings import Settings as Settings
from ketchup_cli.spec import unknown

NAMES = (
    *bleu.NAMES, *rouge.NAMES, *exact.NAMES, *words.NAMES, *lexical.NAMES, *diversity.NAMES,
    *texts.NAMES,
)  # fmt: skip
"""Every metric there is; the last of them bring several figures each."""
BERTSCORE, COMET = "bertscore", "comet"
LEARNED = (BERTSCORE, COMET)
"""Metrics that need a model, which is none of this layer's business: they come as `extra`."""
Outcome = Measurement | Figure
Found = Mapping[str, tuple[Outcome, ...]]
"""What metrics found, by their names: one figure each, or several."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Figures over a corpus, figures per item, and what to know about them."""

    scores: tuple[Score, ...]
    items: tuple[ItemScores, ...]
    details: dict[str, float]
    """Named figures that explain a score, as `bleu.brevity_penalty`."""
    warnings: tuple[str, ...]


def check_names(names: Sequence[str], *, known: Sequence[str] = NAMES) -> None:
    """Refuse a metric nobody knows.

    Raises:
        SpecError: with the nearest three names.
    """
    for name in names:
        if name not in known:
            raise unknown("a metric", name, known, hint='--set metrics=\'["bleu", "chrf"]\'')


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
        SpecError: no metric or tokenizer of that name, or one that is more than a number.
        DataError: shapes or types are wrong.
    """
    check_names([name], known=(*bleu.NAMES, *rouge.NAMES, *exact.NAMES))
    if name in bleu.NAMES:
        return bleu.corpus_value(name, hypotheses, references, tokenize=tokenize)
    if name in rouge.NAMES:
        return rouge.corpus_value(name, hypotheses, references)
    return exact.corpus_value(name, hypotheses, references)


def measurements(names: Sequence[str], items: Items, settings: Settings) -> Found:
    """Return what every named metric finds, in the order asked.

    Raises:
        SpecError: no metric or tokenizer of that name, or one that does not fit the language.
        DataError: texts no metric can use.
    """
    wanted = tuple(dict.fromkeys(names))
    check_names(wanted)
    found: dict[str, tuple[Outcome, ...]] = {}
    for family, measure in _FAMILIES.items():
        own = [name for name in wanted if name in family]
        if own:
            found |= measure(own, items, settings)
    right_or_wrong = [name for name in wanted if name in exact.NAMES]
    found |= passes.measure(right_or_wrong, found, items, settings)
    found |= gains.measure(right_or_wrong, found, items)
    return {name: found[name] for name in wanted}


def make_report(
    names: Sequence[str],
    items: Items,
    settings: Settings,
    *,
    extra: Found | None = None,
) -> Report:
    """Return the named metrics over joined items, with bootstrap intervals.

    Args:
        names: metrics in the order of the report.
        items: what is scored.
        settings: what changes a number.
        extra: what metrics found that are computed elsewhere, by their names among `names`.

    Raises:
        SpecError: no metric or tokenizer of that name, or one that does not fit the language.
        DataError: texts no metric can use.
        NonFiniteError: a metric came out as no number.
    """
    elsewhere = extra or {}
    here = measurements([name for name in names if name not in elsewhere], items, settings)
    found = {**here, **elsewhere}
    outcomes = [one for name in dict.fromkeys(names) for one in found[name]]
    measured = [one for one in outcomes if isinstance(one, Measurement)]
    _check_finite(outcomes, items)
    drawn = intervals(measured, resamples=settings.resamples, seed=settings.seed)
    bounds = dict(zip((one.metric for one in measured), drawn, strict=True))
    return Report(
        scores=tuple(_score(one, bounds.get(one.metric), items) for one in outcomes),
        items=tuple(_item_scores(items, measured)),
        details={
            f"{one.metric}.{name}": float(value)
            for one in outcomes
            for name, value in one.details.items()
        },
        warnings=_warnings(outcomes, settings),
    )


def _score(one: Outcome, interval: tuple[float, float] | None, items: Items) -> Score:
    return Score(
        metric=one.metric,
        value=one.value,
        interval=interval,
        count=len(items.ids),
        signature=one.signature,
        details={name: float(value) for name, value in one.details.items()},
    )


def _check_finite(outcomes: Sequence[Outcome], items: Items) -> None:
    for one in outcomes:
        if not math.isfinite(one.value) or not all(map(math.isfinite, one.details.values())):
            raise NonFiniteError(
                f"{one.metric} came out as {one.value}", hint=f"leave {one.metric} out of metrics"
            )
        values = one.items if isinstance(one, Measurement) else ()
        for id, value in zip(items.ids, values, strict=bool(values)):
            if value is not None and not math.isfinite(value):
                raise NonFiniteError(f"{one.metric} of `{id}` came out as {value}")


def _item_scores(items: Items, measured: Sequence[Measurement]) -> Iterator[ItemScores]:
    for index, id in enumerate(items.ids):
        yield ItemScores(
            id=id,
            values={one.metric: one.items[index] for one in measured},
            extracted={
                one.metric: one.extracted[index] for one in measured if one.extracted is not None
            },
        )


def _warnings(outcomes: Sequence[Outcome], settings: Settings) -> tuple[str, ...]:
    warnings = [warning for one in outcomes for warning in one.warnings]
    if "ter" in {one.metric for one in outcomes} and languages.is_unspaced(settings.languages):
        code = languages.base_language(settings.languages)
        warnings.append(
            f"ter takes what stands between spaces for a word, which `{code}` lacks: use chrf"
        )
    return tuple(dict.fromkeys(warnings))


Family = Callable[[Sequence[str], Items, Settings], Found]


def _of_bleu(names: Sequence[str], items: Items, settings: Settings) -> Found:
    tokenize = languages.SPACED
    if "bleu" in names:
        tokenize = languages.pick_tokenizer(settings.tokenize, settings.languages)
        references = [text for several in items.references for text in several]
        languages.check_script(tokenize, settings.languages, references)
    found = bleu.measure(
        names, items.hypotheses, items.references, tokenize=tokenize, processes=settings.processes
    )
    return {one.metric: (one,) for one in found}


def _of_rouge(names: Sequence[str], items: Items, settings: Settings) -> Found:
    found = rouge.measure(
        names,
        items.hypotheses,
        items.references,
        settings=settings.rouge,
        processes=settings.processes,
    )
    return {one.metric: (one,) for one in found}


def _of_exact(names: Sequence[str], items: Items, _settings: Settings) -> Found:
    found = exact.measure(names, items.hypotheses, items.references)
    return {one.metric: (exact.by_group(one, items.groups),) for one in found}


_FAMILIES: Mapping[tuple[str, ...], Family] = {
    bleu.NAMES: _of_bleu,
    rouge.NAMES: _of_rouge,
    exact.NAMES: _of_exact,
    words.NAMES: words.measure,
    lexical.NAMES: lexical.measure,
    diversity.NAMES: diversity.measure,
    texts.NAMES: texts.measure,
}
