"""n-grams of many short texts counted at once: sorted numbers in place of a dictionary a text."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[Any]

ROOM = 2**62
"""Numbers an n-gram may be given, with item and text in it: what 64 bits hold."""


@final
@dataclass(frozen=True, slots=True)
class Texts:
    """Texts as numbers, one behind the other: of every item a hypothesis and its references."""

    codes_P: Integers
    """What stands at every place, from 0."""
    lengths_T: Integers
    """Places of every text."""
    items_T: Integers
    """Item of every text, from 0."""
    streams_T: Integers
    """0 for the hypothesis, 1 for the first reference, and so on."""


def number_characters(texts: Sequence[str]) -> tuple[Integers, Integers]:
    """Return what `Texts` holds of texts read character by character: codes and lengths."""
    import numpy

    # a text may hold half of a surrogate pair, which is a character to Python
    data = "".join(texts).encode("utf-32-le", "surrogatepass")
    points_P = numpy.frombuffer(data, dtype="<u4").astype(numpy.int64)
    known = numpy.bincount(points_P) > 0
    codes_P = (numpy.cumsum(known) - 1)[points_P]
    return codes_P, numpy.array([len(text) for text in texts], dtype=numpy.int64)


def number_words(texts: Sequence[Sequence[Hashable]]) -> tuple[Integers, Integers]:
    """Return what `Texts` holds of texts read word by word: codes and lengths."""
    import numpy

    known: dict[Hashable, int] = {}
    codes = [known.setdefault(word, len(known)) for text in texts for word in text]
    lengths = [len(text) for text in texts]
    return numpy.array(codes, dtype=numpy.int64), numpy.array(lengths, dtype=numpy.int64)


def gram_counts(texts: Texts, *, orders: int) -> Iterator[tuple[Integers, Integers]]:
    """Yield for n = 1, 2, ... how often every n-gram of an item occurs in each of its texts.

    Args:
        texts: of any number of items.
        orders: the largest n.

    Yields:
        [G] items, in ascending order, each as often as it has different n-grams, and [G, S] counts,
        a column a stream.
    """
    import numpy

    item_P = numpy.repeat(texts.items_T, texts.lengths_T)
    stream_P = numpy.repeat(texts.streams_T, texts.lengths_T)
    # places to the end of the own text, this one included
    ends_T = numpy.cumsum(texts.lengths_T)
    left_P = numpy.repeat(ends_T, texts.lengths_T) - numpy.arange(len(item_P))
    items, streams = _above(texts.items_T), _above(texts.streams_T)
    grams_P = codes_P = texts.codes_P
    size = alphabet = _above(codes_P)
    for order in range(1, orders + 1):
        if order > 1:
            if size * alphabet * items * streams >= ROOM:
                known, grams_P = numpy.unique(grams_P, return_inverse=True)
                size = len(known)
            # what follows the last place is never read: its n-gram has not room enough
            grams_P = grams_P * alphabet + numpy.roll(codes_P, 1 - order)
            size *= alphabet
        whole_P = left_P >= order
        keys = (item_P * size + grams_P) * streams + stream_P
        yield _tabled(keys[whole_P], size=size, streams=streams)


def summed(item_G: Integers, values_G: Integers, *, items: int) -> Integers:
    """Return [items] sums of whole numbers, item by item."""
    import numpy

    sums = numpy.bincount(item_G, weights=values_G, minlength=items)
    return sums.astype(numpy.int64)


def _tabled(keys: Integers, *, size: int, streams: int) -> tuple[Integers, Integers]:
    """Return the item of every n-gram, and its counts in each stream."""
    import numpy

    keys.sort()
    first = numpy.flatnonzero(numpy.diff(keys, prepend=-1))
    counts = numpy.diff(first, append=len(keys))
    gram_K, stream_K = numpy.divmod(keys[first], streams)
    fresh_K = numpy.diff(gram_K, prepend=-1) != 0
    table_GS = numpy.zeros((int(fresh_K.sum()), streams), dtype=numpy.int64)
    table_GS[numpy.cumsum(fresh_K) - 1, stream_K] = counts
    return gram_K[fresh_K] // size, table_GS


def _above(numbers: Integers) -> int:
    return int(numbers.max(initial=0)) + 1
