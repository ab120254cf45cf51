"""Which words of two texts stand for each other: IBM model 1 both ways, and where both agree.

    p(c | p) = prod_j 1/(I + 1) sum_{i=0..I} w(c_j | p_i),   p_0 the empty word

The weights w are those of the largest likelihood, by expectation and maximisation; the likelihood has
no other maximum to be caught in. Words of a completion may stand for the empty word, not the other
way round, so the same is learnt with both sides changed over, and a link is what both ways say.

Source: Brown et al. 1993, ACL J93-2003; links in both directions, Och and Ney 2003, ACL J03-1002.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ketchup_cli.scoring.measurement import Floats

ROUNDS = 5
"""Rounds of expectation and maximisation; more give rare words ever fewer partners."""
MOST_CELLS = 20_000_000
"""Pairs of places to learn from, at some 50 bytes each: about 80,000 sentences of 15 words."""
Words = Sequence[str]
TextPair = tuple[Words, Words]
"""The words of a prompt and of its completion."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One of the two models: how likely a given word brings forth another."""

    weight_K: Floats
    """[K] of every entry."""
    empty_V: Floats
    """[V] of the empty word, for every word brought forth."""
    log_likelihood: float
    """Of the texts under the weights of the round before (nats)."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """Weights of all pairs of words that stood in a pair of texts together, both ways.

    Invariant: entry k is about word `key_K[k] // len(completion_words)` of prompts and word
    `key_K[k] % len(completion_words)` of completions; the keys rise.
    """

    prompt_words: Mapping[str, int]
    completion_words: Mapping[str, int]
    key_K: Floats
    forward: Way
    """From words of prompts to those of completions."""
    backward: Way
    pairs: int
    """Pairs of texts it was learnt from."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """The words of one side of all texts, one after the other."""

    words: Mapping[str, int]
    word_T: Floats
    """[T] ids of all words, in order."""
    place_N: Floats
    """[N] which of them each cell belongs to."""
    others_T: Floats
    """[T] words on the other side of the same pair of texts."""


def learn(pairs: Sequence[TextPair], *, rounds: int = ROUNDS, most: int = MOST_CELLS) -> Lexicon:
    """Return the weights of both ways, learnt from pairs of texts; those with an empty side count not.

    Every round, of the model from prompts to completions:

        share_ij = w(c_j | p_i) / sum_{i'=0..I} w(c_j | p_i')
        w(c | p) = sum share_ij over all i, j with these words / sum of it over all c

    Args:
        pairs: words of prompts and completions.
        rounds: of expectation and maximisation, from equal weights.
        most: cells, one for every two words of a pair; the pairs after that are left out.

    Source: Brown et al. 1993, section 4.1.
    """
    import numpy

    used = _within([pair for pair in pairs if pair[0] and pair[1]], most)
    prompt, completion = _side(used, 0), _side(used, 1)
    key_N = prompt.word_T[prompt.place_N] * max(1, len(completion.words))
    key_N += completion.word_T[completion.place_N]
    key_K, entry_N = numpy.unique(key_N, return_inverse=True)
    del key_N
    prompt_K, completion_K = numpy.divmod(key_K, max(1, len(completion.words)))
    return Lexicon(
        prompt_words=prompt.words,
        completion_words=completion.words,
        key_K=key_K,
        forward=_way(completion, entry_N, prompt_K, rounds=rounds),
        backward=_way(prompt, entry_N, completion_K, rounds=rounds),
        pairs=len(used),
    )


def links(lexicon: Lexicon, pair: TextPair) -> list[tuple[int, int]]:
    """Return the places (i, j) that stand for each other, i of the prompt and j of the completion.

    Word j goes to the place of largest w(c_j | p_i), the empty word among them, and word i to that of
    largest w(p_i | c_j); of equal ones to the nearest, (i + 1/2) / I beside (j + 1/2) / J. A link is
    there where each is the other's. A word the lexicon has not met has none.
    """
    import numpy

    if not pair[0] or not pair[1] or not len(lexicon.key_K):
        return []
    id_I = numpy.array([lexicon.prompt_words.get(word, -1) for word in pair[0]])
    id_J = numpy.array([lexicon.completion_words.get(word, -1) for word in pair[1]])
    key_IJ = id_I[:, None] * len(lexicon.completion_words) + id_J
    entry_IJ = numpy.searchsorted(lexicon.key_K, key_IJ).clip(max=len(lexicon.key_K) - 1)
    # the key of an unknown word may be that of two known ones
    met_IJ = (lexicon.key_K[entry_IJ] == key_IJ) & (id_I >= 0)[:, None] & (id_J >= 0)
    place_I, place_J = ((numpy.arange(len(words)) + 0.5) / len(words) for words in pair)
    far_IJ = abs(place_I[:, None] - place_J)
    forward_IJ, backward_IJ = (
        numpy.where(met_IJ, way.weight_K[entry_IJ], 0.0)
        for way in (lexicon.forward, lexicon.backward)
    )
    to_J = _nearest_best(forward_IJ, far_IJ, lexicon.forward.empty_V[id_J])
    to_I = _nearest_best(backward_IJ.T, far_IJ.T, lexicon.backward.empty_V[id_I])
    return [(i, j) for j, i in enumerate(to_J) if i >= 0 and to_I[i] == j]


def entropies(lexicon: Lexicon) -> tuple[dict[str, float], dict[str, float]]:
    """Return how many words every word of prompts stands for, and every word of completions (nats).

        H(p) = - sum_c w(c|p) log w(c|p),   H(c) = - sum_p w(p|c) log w(p|c);   0 where it is one word

    The empty word stands for none of them.
    """
    import numpy

    prompt_K, completion_K = numpy.divmod(lexicon.key_K, max(1, len(lexicon.completion_words)))
    found = []
    for words, given_K, way in (
        (lexicon.prompt_words, prompt_K, lexicon.forward),
        (lexicon.completion_words, completion_K, lexicon.backward),
    ):
        log_K = numpy.log(numpy.where(way.weight_K > 0, way.weight_K, 1.0))
        sums_V = numpy.bincount(given_K, -way.weight_K * log_K, minlength=len(words))
        found.append({word: float(sums_V[number]) for word, number in words.items()})
    return found[0], found[1]


def _within(pairs: Sequence[TextPair], most: int) -> list[TextPair]:
    """Return the first pairs that have at most so many cells, one at least."""
    used: list[TextPair] = []
    cells = 0
    for pair in pairs:
        cells += len(pair[0]) * len(pair[1])
        if cells > most and used:
            break
        used.append(pair)
    return used


def _side(pairs: Sequence[TextPair], number: int) -> _Side:
    """Return the words of one side; the cells of a pair are its prompt's words by its completion's."""
    import numpy

    words: dict[str, int] = {}
    ids = [words.setdefault(word, len(words)) for pair in pairs for word in pair[number]]
    blocks = [numpy.zeros(0, dtype=numpy.int32)]
    others: list[int] = []
    start = 0
    for pair in pairs:
        size, other = len(pair[number]), len(pair[1 - number])
        place_T = numpy.arange(start, start + size, dtype=numpy.int32)
        blocks.append(place_T.repeat(other) if number == 0 else numpy.tile(place_T, other))
        others += [other] * size
        start += size
    return _Side(
        words=words,
        word_T=numpy.array(ids, dtype=numpy.int64),
        place_N=numpy.concatenate(blocks),
        others_T=numpy.array(others, dtype=numpy.int64),
    )


def _way(side: _Side, entry_N: Floats, given_K: Floats, *, rounds: int) -> Way:
    """Return the model that brings forth the words of this side, given those of the other."""
    import numpy

    count = len(side.words)
    weight_K = numpy.full(len(given_K), 1.0 / max(1, count))
    empty_V = numpy.full(count, 1.0 / max(1, count))
    likelihood = 0.0
    for _ in range(rounds):
        share_N = weight_K[entry_N]
        empty_T = empty_V[side.word_T]
        below_T = numpy.bincount(side.place_N, share_N, minlength=len(empty_T)) + empty_T
        share_N /= below_T[side.place_N]
        count_K = numpy.bincount(entry_N, share_N, minlength=len(given_K))
        weight_K = count_K / numpy.bincount(given_K, count_K)[given_K]
        count_V = numpy.bincount(side.word_T, empty_T / below_T, minlength=count)
        empty_V = count_V / count_V.sum()
        likelihood = float(numpy.log(below_T / (side.others_T + 1)).sum())
    return Way(weight_K=weight_K, empty_V=empty_V, log_likelihood=likelihood)


def _nearest_best(weight_IJ: Floats, far_IJ: Floats, empty_J: Floats) -> list[int]:
    """Return for every column the row of largest weight, of equals the nearest; -1 for the empty word."""
    import numpy

    best_J = weight_IJ.max(axis=0)
    row_J = numpy.where(weight_IJ == best_J, far_IJ, numpy.inf).argmin(axis=0)
    return [
        int(row) if best > 0 and best >= empty else -1
        for row, best, empty in zip(row_J, best_J, empty_J, strict=True)
    ]
