"""Whether words of prompts are put as the references put them, by how often a word was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.scoring.alignment import ROUNDS, Lexicon, TextPair, learn, links
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.languages import pick_tokenizer, word_splitter
from ketchup_cli.scoring.measurement import Measurement, ratio_measurement
from ketchup_cli.scoring.settings import Frequencies, Settings
from ketchup_cli.scoring.words import by_count, labels

NAMES = ("lexical",)
Words = Sequence[str]


@final
@dataclass(frozen=True, slots=True)
class Choices:
    """Words of one prompt and one bucket that a word of the reference stands for."""

    linked: int = 0
    answered: int = 0
    """Of them those a word of the hypothesis stands for."""
    right: int = 0
    """Of them those where it is the same word."""


def measure(
    _names: Sequence[str], items: Items, settings: Settings
) -> dict[str, tuple[Measurement, ...]]:
    """Return the accuracy of lexical choice, `lexical`, and that of every bucket, `lexical[5-9]`.

        100 right / linked,   over words of prompts that are linked with a word of the reference
        right: linked with the same word of the hypothesis

    Links are those of IBM model 1 both ways, learnt from the training text and from what is scored
    beside its references, never from hypotheses: all systems are held against the same links. A word
    that the hypothesis leaves out is wrong; `details` has the share of right ones among answered
    words too. A bucket is a range of counts in the prompts of the training text. The first reference
    counts. A bucket without linked words is left out.

    Raises:
        SpecError: there is no training text, or limits of buckets that do not rise.
        DataError: no word of a prompt is linked with one of its reference.

    Source: the script of alphadl/LCNAT (Ding et al., ICLR 2021). Differs: that aligns the hypothesis
    with the reference, has thirds of the vocabulary for buckets, and counts no word that is left out.
    """
    frequencies = settings.frequencies
    if frequencies is None or not frequencies.pairs:
        raise SpecError(
            "`lexical` needs training text with prompts to learn from which words are which",
            hint="--set frequency_split=train, or leave `lexical` out of metrics",
        )
    tokenize = pick_tokenizer(settings.tokenize, settings.languages)
    split = word_splitter(tokenize)
    seen = [(split(prompt), split(text)) for prompt, text in frequencies.pairs]
    counts = Counter(word for prompt, _ in seen for word in prompt)
    bucket_of = by_count(counts, frequencies.limits)
    asked = [split(prompt) for prompt in items.prompts]
    wanted = [split(several[0]) for several in items.references]
    written = [split(text) for text in items.hypotheses]
    lexicon = learn([*seen, *zip(asked, wanted, strict=True)])
    names = labels(frequencies.limits)
    rows: list[list[Choices]] = []
    for prompt, reference, hypothesis in zip(asked, wanted, written, strict=True):
        found = chosen(lexicon, (prompt, reference), hypothesis)
        rows.append(_sums(found, [bucket_of(word) for word in prompt], count=len(names)))
    if not any(one.linked for row in rows for one in row):
        raise DataError(
            "no word of a prompt is linked with one of its reference",
            hint="name a larger frequency_split, or leave `lexical` out of metrics",
        )
    signature = _signature(tokenize, frequencies, lexicon)
    return {"lexical": tuple(_measurements(rows, names, signature=signature))}


def chosen(lexicon: Lexicon, pair: TextPair, hypothesis: Words) -> dict[int, bool | None]:
    """Return of every linked place of a prompt whether the hypothesis has the reference's word there.

    None where no word of the hypothesis stands for it.
    """
    prompt, reference = pair
    answers = {i: hypothesis[j] for i, j in links(lexicon, (prompt, hypothesis))}
    return {
        i: answers[i] == reference[j] if i in answers else None for i, j in links(lexicon, pair)
    }


def _sums(
    found: dict[int, bool | None], bucket_of_place: Sequence[int], *, count: int
) -> list[Choices]:
    """Return the words of one prompt in each of `count` buckets."""
    sums = [[0, 0, 0] for _ in range(count)]
    for place, right in found.items():
        row = sums[bucket_of_place[place]]
        row[0] += 1
        row[1] += right is not None
        row[2] += bool(right)
    return [Choices(*row) for row in sums]


def _measurements(
    rows: Sequence[Sequence[Choices]], names: Sequence[str], *, signature: str
) -> list[Measurement]:
    whole = [_total(row) for row in rows]
    columns = {"lexical": whole} | {
        f"lexical[{label}]": [row[number] for row in rows] for number, label in enumerate(names)
    }
    return [
        _measurement(name, column, signature=signature)
        for name, column in columns.items()
        if _total(column).linked
    ]


def _measurement(name: str, column: Sequence[Choices], *, signature: str) -> Measurement:
    measured = ratio_measurement(
        name,
        [one.right for one in column],
        [one.linked for one in column],
        signature=signature,
    )
    total = _total(column)
    details: dict[str, float] = {
        "linked": total.linked,
        "answered": total.answered,
        "right": total.right,
    }
    if total.answered:
        details["right_of_answered"] = 100.0 * total.right / total.answered
    return replace(measured, details=details)


def _total(several: Sequence[Choices]) -> Choices:
    return Choices(
        sum(one.linked for one in several),
        sum(one.answered for one in several),
        sum(one.right for one in several),
    )


def _signature(tokenize: str, frequencies: Frequencies, lexicon: Lexicon) -> str:
    from sacrebleu import __version__ as version

    limits = ",".join(map(str, frequencies.limits))
    return (
        f"lexical|right:same word|left out:wrong|links:ibm1x{ROUNDS},both ways"
        f"|learnt:{lexicon.pairs} pairs|tok:{tokenize}|case:mixed|refs:first"
        f"|counts:prompts of {frequencies.source}|buckets:{limits}|sacrebleu:{version}"
    )
