"""Word accuracy by how often a word stood in the text a model was trained on."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from ketchup_cli.errors import SpecError
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.languages import pick_tokenizer, word_splitter
from ketchup_cli.scoring.measurement import Measurement, ratio_measurement
from ketchup_cli.scoring.settings import Frequencies, Settings

NAMES = ("words",)
Words = Sequence[str]


@final
@dataclass(frozen=True, slots=True)
class Matches:
    """Words of one item and one bucket: a matched one is counted in all three."""

    matched: int = 0
    in_reference: int = 0
    in_hypothesis: int = 0


def measure(
    _names: Sequence[str], items: Items, settings: Settings
) -> dict[str, tuple[Measurement, ...]]:
    """Return F1 over all words, `words`, and over those of every bucket, `words[5-9]`.

        match = sum_w min(count in hypothesis, count in reference),   over words w of the bucket
        precision = match / words of hypotheses,   recall = match / words of references
        F1 = 2 match / (words of hypotheses + words of references)

    A bucket is a range of counts in the training text. Of several references the one with the
    largest F1 over all words is taken. A bucket without words is left out.

    Raises:
        SpecError: there is no training text, or limits of buckets that do not rise.

    Source: the word accuracies of compare-mt (Neubig et al. 2019), whose printed precision and
    recall are each other's; here precision is over hypotheses.
    """
    if settings.frequencies is None:
        raise SpecError(
            "`words` needs the text that words are counted in",
            hint="--set frequency_split=train, or leave `words` out of metrics",
        )
    tokenize = pick_tokenizer(settings.tokenize, settings.languages)
    split = word_splitter(tokenize)
    bucket_of = buckets(settings.frequencies, split)
    names = labels(settings.frequencies.limits)
    pairs = [
        _best(split(text), [split(reference) for reference in several])
        for text, several in zip(items.hypotheses, items.references, strict=True)
    ]
    rows = [count_matches(hyp, ref, bucket_of, count=len(names)) for hyp, ref in pairs]
    signature = _signature(tokenize, settings.frequencies)
    whole = [[_sum(row)] for row in rows]
    found = [_measurement("words", whole, 0, signature=signature)]
    for number, label in enumerate(names):
        if any(row[number].in_reference or row[number].in_hypothesis for row in rows):
            found.append(_measurement(f"words[{label}]", rows, number, signature=signature))
    return {"words": tuple(found)}


def buckets(frequencies: Frequencies, split: Callable[[str], Words]) -> Callable[[str], int]:
    """Return the function from a word to the number of its bucket.

    Raises:
        SpecError: limits that do not rise.
    """
    counts = Counter(word for text in frequencies.texts for word in split(text))
    return by_count(counts, frequencies.limits)


def by_count(counts: Counter[str], limits: Sequence[int]) -> Callable[[str], int]:
    """Return the function from a word to the number of the bucket of its count.

    Raises:
        SpecError: limits that do not rise.
    """
    limits = list(limits)
    if limits != sorted(set(limits)) or not limits or limits[0] < 1:
        raise SpecError(
            f"frequency_buckets {limits} do not rise from 1 or more",
            hint="--set 'frequency_buckets=[1, 5, 100]'",
        )
    return lambda word: bisect_right(limits, counts[word])


def labels(limits: Sequence[int]) -> list[str]:
    """Return the ranges of counts, first to last: `0`, `1`, `5-9`, `1000+`."""
    starts = [0, *limits]
    inner = [
        f"{low}" if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(starts, limits, strict=False)
    ]
    return [*inner, f"{starts[-1]}+"]


def count_matches(
    hypothesis: Words, reference: Words, bucket_of: Callable[[str], int], *, count: int
) -> list[Matches]:
    """Return words and clipped matches of one item in each of `count` buckets."""
    hyp, ref = Counter(hypothesis), Counter(reference)
    sums = [[0, 0, 0] for _ in range(count)]
    for column, found in enumerate((hyp & ref, ref, hyp)):
        for word, times in found.items():
            sums[bucket_of(word)][column] += times
    return [Matches(*row) for row in sums]


def _best(hypothesis: Words, references: Sequence[Words]) -> tuple[Words, Words]:
    def f1(reference: Words) -> float:
        matched = (Counter(hypothesis) & Counter(reference)).total()
        return 2 * matched / max(len(hypothesis) + len(reference), 1)

    return hypothesis, max(references, key=f1)


def _sum(row: Sequence[Matches]) -> Matches:
    return Matches(
        sum(one.matched for one in row),
        sum(one.in_reference for one in row),
        sum(one.in_hypothesis for one in row),
    )


def _measurement(
    name: str, rows: Sequence[Sequence[Matches]], number: int, *, signature: str
) -> Measurement:
    column = [row[number] for row in rows]
    measured = ratio_measurement(
        name,
        [2 * one.matched for one in column],
        [one.in_reference + one.in_hypothesis for one in column],
        signature=signature,
    )
    return replace(measured, details=_details(_sum(column)))


def _details(total: Matches) -> dict[str, float]:
    details: dict[str, float] = {
        "matched": total.matched,
        "in_references": total.in_reference,
        "in_hypotheses": total.in_hypothesis,
    }
    if total.in_hypothesis:
        details["precision"] = 100.0 * total.matched / total.in_hypothesis
    if total.in_reference:
        details["recall"] = 100.0 * total.matched / total.in_reference
    return details


def _signature(tokenize: str, frequencies: Frequencies) -> str:
    from sacrebleu import __version__ as version

    limits = ",".join(map(str, frequencies.limits))
    return (
        f"words|f1|match:clipped|tok:{tokenize}|case:mixed|refs:best|counts:references of {frequencies.source}"
        f"|buckets:{limits}|sacrebleu:{version}"
    )
