"""Edits of TER, one for one those of sacrebleu, from bits of integers in place of a table of cells.

A text of 25 words takes a fifteenth of the time. Where sacrebleu's beam could miss the shortest way,
or its limit on shifts could stop the search, its own function counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

LONGEST_SHIFT = 10
"""Words that move at once, at most."""
FARTHEST_SHIFT = 50
"""Places between which words are looked for."""
MOST_SHIFTS = 1000
"""Shifts tried before sacrebleu stops: where it gets there, its order of trying decides."""
BEAM = 25
"""Cells on either side of the diagonal that sacrebleu fills."""


_Row = tuple[int, int, int, int, int]
"""A row of the table of distances: bits over the reference's words, and its last cell.

Where a cell is one more than the one to its left, where one less; the last cell; where a cell equals
the one before it on the diagonal, and where it is one more than the one above it.
"""
_COST, _KEPT, _DELETED = 2, 3, 4


@final
class _Reference:
    """The words of a reference, and where each of them stands."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.count = words, len(words)
        self.full = (1 << len(words)) - 1
        self.bits: dict[str, int] = {}
        self.places: dict[str, list[int]] = {}
        for place, word in enumerate(words):
            self.bits[word] = self.bits.get(word, 0) | 1 << place
            self.places.setdefault(word, []).append(place)

    def first_row(self) -> _Row:
        """Return the row of no words: every word of the reference is inserted."""
        return self.full, 0, self.count, 0, 0

    def below(self, row: _Row, words: Iterable[str]) -> Iterator[_Row]:
        """Yield the rows below one, of every further word.

        Source: Hyyro 2003, A bit-vector algorithm for computing Levenshtein distances.
        """
        bits, full, last = self.bits, self.full, self.count - 1
        higher, lower, cost, _, _ = row
        for word in words:
            match = bits.get(word, 0)
            kept = ((((match & higher) + higher) ^ higher) | match | lower) & full
            deleted = lower | (full & ~(kept | higher))
            fewer = kept & higher
            cost += (deleted >> last & 1) - (fewer >> last & 1)
            shifted = (deleted << 1 | 1) & full
            higher = (fewer << 1 & full) | (full & ~(kept | shifted))
            lower = shifted & kept
            yield higher, lower, cost, kept, deleted

    def rows(self, words: Sequence[str]) -> list[_Row]:
        """Return the whole table."""
        first = self.first_row()
        return [first, *self.below(first, words)]

    def is_exact(self, cost: int, count: int) -> bool:
        """Return whether sacrebleu's beam holds every shortest way of that cost.

        A way of d edits between n and m words stays within (d + |n - m|) / 2 cells of the line from
        corner to corner; two cells are for what is rounded.
        """
        return self.count < BEAM or cost + abs(self.count - count) <= 2 * (BEAM - 2)


def edits(hypothesis: list[str], reference: list[str]) -> int:
    """Return the edits of TER: shifts, and insertions, deletions and substitutions after them.

    Source: Snover et al. 2006; the search is that of Tercom as sacrebleu has it.
    """
    if not reference:
        return len(hypothesis)
    target, words, shifts = _Reference(reference), hypothesis, 0
    fewest = max(len(words), len(reference)) - (Counter(words) & Counter(reference)).total()
    tried = 0
    while True:
        rows = target.rows(words)
        cost = rows[-1][_COST]
        # whatever the order of its words, a text is no nearer than its words allow
        moved = _best_shift(words, rows, target) if cost > fewest else _Shifted(cost, words, 0)
        tried += moved.tried
        if moved.cost < 0 or not target.is_exact(cost, len(words)) or tried >= MOST_SHIFTS:
            return _by_sacrebleu(hypothesis, reference)
        if moved.cost >= cost:
            return shifts + cost
        shifts, words = shifts + 1, moved.words


@final
@dataclass(frozen=True, slots=True)
class _Shifted:
    """The nearest text one shift away."""

    cost: int
    """Its distance; -1 where sacrebleu's beam might see another."""
    words: list[str]
    tried: int


def _best_shift(words: list[str], rows: list[_Row], target: _Reference) -> _Shifted:
    """Return the shift that leaves the smallest distance, of equals the longest, then the first."""
    best, chosen, tried = (-rows[-1][_COST], 0, 0, 0), words, 0
    seen: set[tuple[int, int, int]] = set()
    for length, start, place in _shifts(words, rows, target):
        tried += 1
        if (length, start, place) in seen:
            continue
        seen.add((length, start, place))
        shifted = _moved(words, start, length=length, place=place)
        same = min(start, place)
        *_, last = rows[same], *target.below(rows[same], shifted[same:])
        cost = last[_COST]
        if not target.is_exact(cost, len(words)):
            return _Shifted(-1, words, tried)
        candidate = (-cost, length, -start, -place)
        if candidate > best:
            best, chosen = candidate, shifted
    return _Shifted(-best[0], chosen, tried)


def _shifts(
    words: list[str], rows: list[_Row], target: _Reference
) -> Iterator[tuple[int, int, int]]:
    """Yield length, start and goal of every shift worth trying, as often as sacrebleu tries it.

    Worth it are words that stand in the reference too, wrong where they are, with something wrong
    where they belong.
    """
    beside, reference_wrong, wrong = _alignment(words, rows, target)
    for start, place, length in _shared(words, target):
        if not any(wrong[start : start + length]):
            continue
        if not any(reference_wrong[place : place + length]):
            continue
        if start <= beside[place] < start + length:
            continue
        before = -1
        # in front of the words' place in the reference, and behind each of the words there
        for offset in range(place - 1, min(place + length, target.count)):
            goal = 0 if offset < 0 else beside[offset] + 1
            if goal != before:
                yield length, start, goal
            before = goal


def _shared(words: list[str], target: _Reference) -> Iterator[tuple[int, int, int]]:
    """Yield start in the text, place in the reference and length of all words both have in a row."""
    for start, word in enumerate(words):
        for place in target.places.get(word, ()):
            if abs(place - start) > FARTHEST_SHIFT:
                continue
            most = min(LONGEST_SHIFT, len(words) - start, target.count - place)
            length = 0
            while length < most and words[start + length] == target.words[place + length]:
                length += 1
                yield start, place, length


def _alignment(
    words: list[str], rows: list[_Row], target: _Reference
) -> tuple[list[int], list[bool], list[bool]]:
    """Return the word beside each of the reference's, and which words on either side are wrong.

    A word stays or is substituted where that is a shortest way, else it is deleted, else one is
    inserted: which of several shortest ways is taken decides what sacrebleu may shift.
    """
    beside = [-1] * target.count
    reference_wrong, wrong = [True] * target.count, [True] * len(words)
    row, column = len(words), target.count
    while column:
        bit = column - 1
        same = row > 0 and words[row - 1] == target.words[bit]
        beside[bit] = row - 1
        if same or (row and not rows[row][_KEPT] >> bit & 1):
            reference_wrong[bit] = wrong[row - 1] = not same
            row, column = row - 1, bit
        elif row and rows[row][_DELETED] >> bit & 1:
            row -= 1
        else:
            column = bit
    return beside, reference_wrong, wrong


def _moved(words: list[str], start: int, *, length: int, place: int) -> list[str]:
    """Return the words with `length` of them from `start` on put in front of `place`."""
    block = words[start : start + length]
    if place < start:
        return words[:place] + block + words[place:start] + words[start + length :]
    # counted without the block where the goal lies inside it
    end = place if place > start + length else place + length
    return words[:start] + words[start + length : end] + block + words[end:]


def _by_sacrebleu(hypothesis: list[str], reference: list[str]) -> int:
    from sacrebleu.metrics.lib_ter import translation_edit_rate

    count, _ = translation_edit_rate(hypothesis, reference)
    return int(count)
