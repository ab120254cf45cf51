"""Texts turned around: word by word, entity by entity, or segment by segment.

A text is a list of words, what stands between spaces. Tokens are turned around later, where there is
a tokenizer (`models/sources.py`): reversing, decoding and encoding again would change them.

Source: Golovneva et al. 2024, arXiv 2403.13799. The four ways are reconstructed from memory of the
paper; the separator and how entities are found are ours.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Literal

Mode = Literal["word", "entity", "random", "tokens"]
Span = tuple[int, int]
"""First word, and the one after the last."""

SEPARATOR = "[REV]"
"""Between random segments, whose borders nothing else tells."""

_ENDS = ".,;:!?"


def turned(words: Sequence[str], spans: Sequence[Span] = ()) -> list[str]:
    """Return the words from last to first, each span as it is; without spans, word reversal.

        c_1 ... c_m -> c_m ... c_1      c a span, or a single word

    Turned again with `mirrored` spans the words are as before.
    """
    ends = dict(spans)
    chunks: list[Sequence[str]] = []
    place = 0
    while place < len(words):
        after = ends.get(place, place + 1)
        chunks.append(words[place:after])
        place = after
    return [word for chunk in reversed(chunks) for word in chunk]


def mirrored(spans: Sequence[Span], count: int) -> list[Span]:
    """Return where the spans of `count` words stand once they are turned around."""
    return [(count - after, count - first) for first, after in reversed(spans)]


def segments(count: int, *, most: int, random_: random.Random) -> list[Span]:
    """Return random segments of 1 to `most` words that together are all words."""
    found: list[Span] = []
    place = 0
    while place < count:
        after = min(count, place + random_.randint(1, most))
        found.append((place, after))
        place = after
    return found


def separated(words: Sequence[str], spans: Sequence[Span]) -> list[str]:
    """Return the segments from last to first, the separator between every two.

    s_1 ... s_m -> s_m [REV] s_{m-1} [REV] ... s_1
    """
    found: list[str] = []
    for number, (first, after) in enumerate(reversed(spans)):
        found += [SEPARATOR] * (number > 0) + list(words[first:after])
    return found


def listed_spans(words: Sequence[str], entities: Collection[tuple[str, ...]]) -> list[Span]:
    """Return where listed entities stand, the longest first wherever two begin together.

    Punctuation after the last word of an entity belongs to it.
    """
    longest = max(map(len, entities), default=0)
    found: list[Span] = []
    place = 0
    while place < len(words):
        for after in range(min(len(words), place + longest), place, -1):
            taken = (*words[place : after - 1], words[after - 1].rstrip(_ENDS))
            if taken in entities or tuple(words[place:after]) in entities:
                found.append((place, after))
                break
        place = found[-1][1] if found and found[-1][1] > place else place + 1
    return found


def capitalised_spans(words: Sequence[str]) -> list[Span]:
    """Return runs of words that begin with a capital; punctuation ends a run.

    A heuristic: the first word of a sentence counts, and names with small words in them are cut.
    """
    found: list[Span] = []
    open_run = False
    for place, word in enumerate(words):
        capital = word[:1].isupper()
        if capital and open_run:
            found[-1] = (found[-1][0], place + 1)
        elif capital:
            found.append((place, place + 1))
        open_run = capital and word[-1] not in _ENDS
    return found


def cut_entities(
    words: Sequence[str], after: Sequence[str], entities: Collection[tuple[str, ...]]
) -> tuple[int, int]:
    """Return how many listed entities of a text do not stand in another in one piece, and of how many."""
    spans = listed_spans(words, entities)
    text = f" {' '.join(after)} "
    cut = sum(f" {' '.join(words[first:end])} " not in text for first, end in spans)
    return cut, len(spans)
