"""sacrebleu's sufficient statistics of BLEU, chrF and TER, counted for many items at once.

The same whole numbers, hence the same values to the last digit; sacrebleu's own tokenizers read the
texts, and its own formula picks the best of several references.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ketchup_cli.scoring import grams
from ketchup_cli.scoring.edits import edits

if TYPE_CHECKING:
    from ketchup_cli.scoring.grams import Integers

Pairs = Sequence[tuple[str, Sequence[str]]]
"""Hypothesis and its references."""
Rows = list[list[float]]
WORDS_KEPT = 2**17


def bleu_rows(metric: Any, pairs: Pairs) -> Rows:
    """Return lengths, matches and n-grams of every item.

    The length is that of the closest reference; an n-gram may match as often as it stands in any.
    """
    import numpy

    split = _splitter(metric)
    read = [[split(text) for text in _texts(pair)] for pair in pairs]
    orders, items = metric.max_ngram_order, len(pairs)
    matches: list[Integers] = []
    found: list[Integers] = []
    for item_G, counts_GS in grams.gram_counts(_numbered(read), orders=orders):
        allowed_G = counts_GS[:, 1:].max(axis=1, initial=0)
        matches_G = numpy.minimum(counts_GS[:, 0], allowed_G)
        matches.append(grams.summed(item_G, matches_G, items=items))
        found.append(grams.summed(item_G, counts_GS[:, 0], items=items))
    closest = [
        metric._get_closest_ref_len(len(text), list(map(len, several))) for text, *several in read
    ]
    return _transposed([[len(text) for text, *_ in read], closest, *matches, *found])


def _splitter(metric: Any) -> Callable[[str], list[str]]:
    """Return what finds the words of a text as sacrebleu does, each word between spaces once.

    Tokenizer 13a looks one character around itself, and at spaces, so that it reads a text word by
    word; of line ends alone it looks at more.
    """

    def whole(text: str) -> list[str]:
        words: list[str] = metric._preprocess_segment(text).split()
        return words

    def by_word(text: str) -> list[str]:
        if "\n" in text:
            return whole(text)
        return [part for word in text.split() for part in _parts_by_13a(word)]

    return by_word if metric.tokenizer.signature() == "13a" and not metric.lowercase else whole


@lru_cache(maxsize=WORDS_KEPT)
def _parts_by_13a(word: str) -> tuple[str, ...]:
    return tuple(_tokenizer_13a()(word).split())


@lru_cache(maxsize=1)
def _tokenizer_13a() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def chrf_rows(metric: Any, pairs: Pairs) -> Rows:
    """Return n-grams of hypothesis and reference, and matches, of every item and order.

    Of several references they are those of the one with the best F.
    """
    import numpy

    streams = 1 + max(len(several) for _, several in pairs)
    tables = [*_characters(metric, pairs), *_words(metric, pairs)]
    found = []
    for stream in range(1, streams):
        columns: list[Integers] = []
        for item_G, counts_GS in tables:
            hyp_G, ref_G = counts_GS[:, 0], counts_GS[:, stream]
            hyp, ref, match = (
                grams.summed(item_G, each, items=len(pairs))
                for each in (hyp_G, ref_G, numpy.minimum(hyp_G, ref_G))
            )
            columns += [numpy.where(ref > 0, hyp, 0), ref, match]
        found.append(_transposed(columns))
    # the first of the best, as sacrebleu takes it
    return [
        own[0] if len(several) == 1 else max(own[: len(several)], key=metric._compute_f_score)
        for (_, several), *own in zip(pairs, *found, strict=True)
    ]


def ter_rows(metric: Any, pairs: Pairs) -> Rows:
    """Return the fewest edits of every item over its references, and their mean length."""
    rows: Rows = []
    for pair in pairs:
        text, *several = (metric._preprocess_segment(text).split() for text in _texts(pair))
        fewest = min(edits(text, reference) for reference in several)
        rows.append([fewest, sum(map(len, several)) / len(several)])
    return rows


ROWS: Mapping[str, Callable[[Any, Pairs], Rows]] = {
    "bleu": bleu_rows,
    "chrf": chrf_rows,
    "chrf++": chrf_rows,
    "ter": ter_rows,
}
"""What counts for each metric."""


def _texts(pair: tuple[str, Sequence[str]]) -> tuple[str, ...]:
    return (pair[0], *pair[1])


def _characters(metric: Any, pairs: Pairs) -> Iterator[tuple[Integers, Integers]]:
    read = [["".join(text.split()) for text in _texts(pair)] for pair in pairs]
    codes_P, lengths_T = grams.number_characters(list(itertools.chain.from_iterable(read)))
    texts = _placed(codes_P, lengths_T, list(map(len, read)))
    return grams.gram_counts(texts, orders=metric.char_order)


def _words(metric: Any, pairs: Pairs) -> Iterator[tuple[Integers, Integers]]:
    if not metric.word_order:
        return iter(())
    read = [[metric._remove_punctuation(text) for text in _texts(pair)] for pair in pairs]
    return grams.gram_counts(_numbered(read), orders=metric.word_order)


def _numbered(read: Sequence[Sequence[Sequence[Hashable]]]) -> grams.Texts:
    codes_P, lengths_T = grams.number_words(list(itertools.chain.from_iterable(read)))
    return _placed(codes_P, lengths_T, list(map(len, read)))


def _placed(codes_P: Integers, lengths_T: Integers, each: Sequence[int]) -> grams.Texts:
    """Return numbered texts with the item and the stream of each, of `each` item so many."""
    import numpy

    streams = [stream for count in each for stream in range(count)]
    return grams.Texts(
        codes_P=codes_P,
        lengths_T=lengths_T,
        items_T=numpy.repeat(numpy.arange(len(each)), each),
        streams_T=numpy.array(streams, dtype=numpy.int64),
    )


def _transposed(columns: Sequence[Sequence[float] | Integers]) -> Rows:
    import numpy

    rows: Rows = numpy.stack([numpy.asarray(column) for column in columns], axis=1).tolist()
    return rows
