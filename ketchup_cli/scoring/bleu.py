"""BLEU, chrF, chrF++ and TER by sacrebleu's definitions, with its signature word for word.

Its statistics are counted by `counting`, many items at once, where the first items of a run come
out as sacrebleu's own; its formula makes the value of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.counting import ROWS, Pairs, Rows
from ketchup_cli.scoring.formulas import (
    bleu_from_sums,
    chrf_from_sums,
    sentence_bleu_from_sums,
    ter_from_sums,
)
from ketchup_cli.scoring.items import check_items
from ketchup_cli.scoring.languages import bleu_metric
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.scoring.workers import spread

if TYPE_CHECKING:
    from ketchup_cli.scoring.measurement import Floats

NAMES = ("bleu", "chrf", "chrf++", "ter")
CHRF_WORDS: Mapping[str, int] = {"chrf": 0, "chrf++": 2}
"""Longest n-gram of words that counts beside those of characters."""
TOKENIZED_LINES = 100
"""Hypotheses that end in a detached full stop from which on the text looks tokenised."""
ITEMS_AT_ONCE = 250
"""Items whose n-grams exist at a time: those of a whole corpus would take gigabytes."""
CHECKED_ITEMS = 100
"""First items of a run whose statistics are held against sacrebleu's own."""


@final
@dataclass(frozen=True, slots=True)
class BleuDetails:
    """Corpus BLEU and how far the lengths explain it."""

    value: float
    brevity_penalty: float
    length_ratio: float
    """Tokens of the hypotheses by tokens of the references."""
    signature: str


def corpus_value(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
) -> float:
    """Return one of bleu, chrf, chrf++, ter over the whole corpus, in percent."""
    check_items(hypotheses, references)
    metric = _metric(name, tokenize)
    return float(metric.corpus_score(list(hypotheses), streams(references)).score)


def bleu_details(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "13a"
) -> BleuDetails:
    """Return corpus BLEU with its brevity penalty, length ratio and signature.

    Raises:
        DataError: shapes or types are wrong.
        SpecError: there is no such tokenizer, or it cannot be had here.
    """
    check_items(hypotheses, references)
    metric = _metric("bleu", tokenize)
    score = metric.corpus_score(list(hypotheses), streams(references))
    return BleuDetails(
        value=float(score.score),
        brevity_penalty=float(score.bp),
        length_ratio=float(score.ratio),
        signature=str(metric.get_signature()),
    )


def measure(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
    processes: int = 1,
) -> tuple[Measurement, ...]:
    """Return each named metric of bleu, chrf, chrf++, ter with its item values and statistics.

    Raises:
        DataError: shapes or types are wrong, or sacrebleu's statistics do not add up to its
            own value.
        SpecError: there is no such tokenizer, or it cannot be had here.
    """
    check_items(hypotheses, references)
    pairs = list(zip(hypotheses, references, strict=True))
    return tuple(_measure(name, pairs, tokenize, processes=processes) for name in names)


def _measure(name: str, pairs: Pairs, tokenize: str, *, processes: int) -> Measurement:
    import numpy

    work, warnings = _counter(name, tokenize, pairs[:CHECKED_ITEMS])
    rows = spread(work, pairs, processes=processes, before=(name, tokenize))
    metric = _metric(name, tokenize)
    counts = {len(several) for _, several in pairs}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    score = metric._aggregate_and_compute(rows)
    statistics_NK = numpy.asarray(rows, dtype=numpy.float64)
    corpus, sentence = _FORMULAS[name]
    _check_sum(name, float(score.score), corpus(statistics_NK.sum(axis=0, keepdims=True)))
    items_N = sentence(statistics_NK)
    bleu = name == "bleu"
    return Measurement(
        metric=name,
        value=float(score.score),
        items=tuple(float(value) for value in items_N),
        statistics_NK=statistics_NK,
        combine=corpus,
        signature=str(metric.get_signature()),
        details={"brevity_penalty": score.bp, "length_ratio": score.ratio} if bleu else {},
        warnings=(*warnings, *(_tokenized_warning([text for text, _ in pairs]) if bleu else ())),
    )


def _counter(name: str, tokenize: str, pairs: Pairs) -> tuple[Callable[..., Rows], tuple[str, ...]]:
    """Return who counts: we, or sacrebleu where that makes a difference on some item."""
    ours, theirs = counted(name, tokenize, pairs), statistics(name, tokenize, pairs)
    differing = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
    if differing is None:
        return counted, ()
    from sacrebleu import __version__

    told = f"{name} of item {differing} is counted otherwise by sacrebleu {__version__}, which was used"
    return statistics, (told,)


def counted(name: str, tokenize: str, pairs: Pairs) -> Rows:
    """Return what `statistics` does, in a tenth of the time."""
    metric = _metric(name, tokenize)
    rows: Rows = []
    for start in range(0, len(pairs), ITEMS_AT_ONCE):
        rows += ROWS[name](metric, pairs[start : start + ITEMS_AT_ONCE])
    return rows


def statistics(name: str, tokenize: str, pairs: Pairs) -> Rows:
    """Return sacrebleu's sufficient statistics of every item; its own value is of their sum.

    Private in sacrebleu, but what its `corpus_score` does, and the only way to counts per item.
    """
    metric = _metric(name, tokenize)
    rows: Rows = []
    for start in range(0, len(pairs), ITEMS_AT_ONCE):
        texts, several = zip(*pairs[start : start + ITEMS_AT_ONCE], strict=True)
        rows += metric._extract_corpus_statistics(texts, streams(several))
    return rows


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return references turned from one list per item to one list per stream, as sacrebleu asks.

    Items with fewer references than others get None in the streams they lack.
    """
    most = max(len(several) for several in references)
    return [
        [several[stream] if stream < len(several) else None for several in references]
        for stream in range(most)
    ]


def _metric(name: str, tokenize: str) -> Any:
    from sacrebleu.metrics import CHRF, TER

    if name in CHRF_WORDS:
        return CHRF(word_order=CHRF_WORDS[name])
    if name == "ter":
        return TER()
    return bleu_metric(tokenize)


def _check_sum(name: str, value: float, from_statistics: Floats) -> None:
    if not math.isclose(value, float(from_statistics[0]), rel_tol=1e-9, abs_tol=1e-9):
        raise DataError(
            f"sacrebleu reports {name} {value!r}, its statistics give {from_statistics[0]!r}",
            hint="install the sacrebleu of constraints.txt",
        )


def _tokenized_warning(hypotheses: Sequence[str]) -> tuple[str, ...]:
    count = sum(text.endswith(" .") for text in hypotheses)
    if count < TOKENIZED_LINES:
        return ()
    return (
        f"{count} hypotheses end in a detached full stop: the text looks tokenised, which lowers"
        " BLEU",
    )


_Formula = Callable[["Floats"], "Floats"]
_FORMULAS: Mapping[str, tuple[_Formula, _Formula]] = {
    "bleu": (bleu_from_sums, sentence_bleu_from_sums),
    "chrf": (chrf_from_sums, chrf_from_sums),
    "chrf++": (chrf_from_sums, chrf_from_sums),
    "ter": (ter_from_sums, ter_from_sums),
}
"""Per metric: from the sums of a corpus, and from the statistics of one item."""
