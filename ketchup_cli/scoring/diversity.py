"""How varied texts are among themselves, and how often one repeats itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.languages import bleu_metric, pick_tokenizer, word_splitter
from ketchup_cli.scoring.measurement import Figure, Measurement, mean_measurement, ratio_measurement
from ketchup_cli.scoring.settings import Settings

NAMES = ("diversity",)
WINDOW = 20
"""Words of a window: plain distinct-n falls with the length of a text, windows do not."""
REPEATED = 4
"""Length of the n-grams whose repetition is counted."""
REPETITIVE = 0.5
"""Share of repeated n-grams from which on a text counts as repetitive."""
Words = Sequence[str]


def measure(
    _names: Sequence[str], items: Items, settings: Settings
) -> dict[str, tuple[Measurement | Figure, ...]]:
    """Return distinct-n over the corpus and over windows, self-BLEU, and repetition.

    Raises:
        DataError: all texts are empty.
    """
    tokenize = pick_tokenizer(settings.tokenize, settings.languages)
    split = word_splitter(tokenize)
    texts = [split(text) for text in items.hypotheses]
    if not any(texts):
        raise DataError("every text is empty", hint="look at the generations: ketchup show")
    known = f"tok:{tokenize}|case:mixed"
    found: list[Measurement | Figure] = [
        Figure(
            metric=f"distinct-{n}",
            value=distinct(texts, n),
            signature=f"distinct-{n}|over:corpus|{known}",
        )
        for n in (1, 2)
        if any(len(text) >= n for text in texts)
    ]
    found += _windows(texts, known)
    found += _self_bleu(items, settings, tokenize)
    found += _repetition(texts, known)
    return {"diversity": tuple(found)}


def ngrams(words: Words, n: int) -> list[tuple[str, ...]]:
    """Return all runs of n words, in order."""
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def distinct(texts: Sequence[Words], n: int) -> float:
    """Return different n-grams by all n-grams over all texts, in percent.

    Source: Li et al. 2016, arXiv 1510.03055.
    """
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return 100.0 * len(set(grams)) / len(grams)


def _windows(texts: Sequence[Words], known: str) -> list[Measurement]:
    """Return the mean of distinct-n over windows of 20 words, where there is one."""
    cut = [
        [text[start : start + WINDOW] for start in range(0, len(text) - WINDOW + 1, WINDOW)]
        for text in texts
    ]
    if not any(cut):
        return []
    count = float(sum(map(len, cut)))
    return [
        replace(
            ratio_measurement(
                f"distinct-{n}/{WINDOW}",
                [sum(distinct([window], n) / 100.0 for window in windows) for windows in cut],
                [len(windows) for windows in cut],
                signature=f"distinct-{n}|over:windows-{WINDOW}|{known}",
            ),
            details={"windows": count},
        )
        for n in (1, 2)
    ]


def _self_bleu(items: Items, settings: Settings, tokenize: str) -> list[Measurement | Figure]:
    """Return sentence-BLEU of texts against each other: across prompts, and within them."""
    sentence = _sentence_bleu(tokenize)
    found: list[Measurement | Figure] = []
    pairs = sampled_pairs(len(items.ids), settings.self_bleu_pairs, seed=settings.seed)
    if pairs:
        values = [sentence(items.hypotheses[a], [items.hypotheses[b]]) for a, b in pairs]
        found.append(
            Figure(
                metric="self-bleu",
                value=sum(values) / len(values),
                signature=f"self-bleu|pairs:{len(pairs)}|seed:{settings.seed}|eff:yes|tok:{tokenize}",
                details={"pairs": len(pairs)},
            )
        )
    if items.samples and min(map(len, items.samples)) > 1:
        within = [_mean_against_others(sentence, several) for several in items.samples]
        signature = f"self-bleu|over:samples|refs:others|eff:yes|tok:{tokenize}"
        found.append(mean_measurement("self-bleu/samples", within, signature))
    return found


def sampled_pairs(count: int, most: int, *, seed: int) -> list[tuple[int, int]]:
    """Return at most `most` ordered pairs of different numbers below `count`, all where fewer."""
    total = count * (count - 1)
    numbers = random.Random(seed).sample(range(total), min(most, total))
    # pair number a * (count - 1) + b, b counted without a itself
    split = [divmod(number, count - 1) for number in sorted(numbers)]
    return [(a, b + (b >= a)) for a, b in split]


def _sentence_bleu(tokenize: str) -> Callable[[str, Sequence[str]], float]:
    metric: Any = bleu_metric(tokenize)
    metric.effective_order = True

    def sentence(text: str, references: Sequence[str]) -> float:
        return float(metric.sentence_score(text, list(references)).score)

    return sentence


def _mean_against_others(
    sentence: Callable[[str, Sequence[str]], float], several: Sequence[str]
) -> float:
    values = [
        sentence(text, [*several[:number], *several[number + 1 :]])
        for number, text in enumerate(several)
    ]
    return sum(values) / len(values)


def _repetition(texts: Sequence[Words], known: str) -> list[Measurement]:
    """Return the mean share of repeated 4-grams, and the share of texts that mostly repeat."""
    rates = [repetition(text) for text in texts]
    name = f"repetition-{REPEATED}"
    found = []
    if any(rate is not None for rate in rates):
        whole = ratio_measurement(
            name,
            [rate or 0.0 for rate in rates],
            [float(rate is not None) for rate in rates],
            signature=f"{name}|mean over texts of {REPEATED} words|{known}",
        )
        longest = max(map(longest_repeat, texts))
        found.append(replace(whole, details={"longest_repeated_words": longest}))
    shares = [100.0 * (rate is not None and rate > REPETITIVE) for rate in rates]
    signature = f"repetitive|{name}>{REPETITIVE}|{known}"
    return [*found, mean_measurement("repetitive", shares, signature)]


def repetition(words: Words) -> float | None:
    """Return 1 - different 4-grams / 4-grams of one text; None where it has none.

    Source: seq-rep-4 of Welleck et al. 2019, arXiv 1908.04319.
    """
    grams = ngrams(words, REPEATED)
    return 1.0 - len(set(grams)) / len(grams) if grams else None


def longest_repeat(words: Words) -> int:
    """Return the length of the longest run of words that a text has twice; the two may overlap."""
    low, high = 0, len(words)
    while high - low > 1:
        middle = (low + high) // 2
        runs = ngrams(words, middle)
        low, high = (middle, high) if len(set(runs)) < len(runs) else (low, middle)
    return low
