"""What pairs to train on keep of rare words: their share, which of them survive, how settled they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.alignment import TextPair, entropies, learn
from ketchup_cli.scoring.measurement import Figure, Measurement, ratio_measurement

RAW = "raw"
"""The set of prompts beside their references."""
Words = Sequence[str]
Pairs = Sequence[Sequence[TextPair]]
"""Pairs of a set by example, none or several each."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rare:
    """Which words are rare: those that a text has, at most so many times."""

    in_prompts: frozenset[str]
    in_completions: frozenset[str]
    limit: int

    @classmethod
    def of(cls, pairs: Sequence[TextPair], *, limit: int) -> Rare:
        """Return the words that stand at most `limit` times in prompts, and in completions."""
        sides = [Counter(word for pair in pairs for word in pair[side]) for side in (0, 1)]
        prompts, completions = (
            frozenset(word for word, count in counts.items() if count <= limit) for counts in sides
        )
        return cls(in_prompts=prompts, in_completions=completions, limit=limit)


def measure(sets: Mapping[str, Pairs], rare: Rare, *, signature: str) -> list[Measurement | Figure]:
    """Return figures of every set, of the same examples; `raw` is one of them.

        rare-tokens    100 rare words of completions / words of completions
        rare-kept      100 sum_w min(count in the reference, largest count in a completion)
                           / rare words of references,   over rare words w
        rare-words     100 different rare words of references that a completion has / all of them
        rare-entropy   mean over rare words p of prompts of H(p) = - sum_c w(c|p) log w(c|p)
        rare-entropy-back   mean over rare words c of references of H(c), the other way round

    The last two are in nats, of IBM model 1 learnt from the set alone, over the rare words of the raw
    pairs that the set has too: small where every word is put in one way. They fall with less text as
    well, and `both` has twice as much.

    Args:
        sets: pairs by name and example.
        rare: which words are rare.
        signature: what changes the figures.

    Raises:
        DataError: no word of the references is rare.

    Source: our reading of the analysis of Ding et al. 2021, arXiv 2106.00903, whose links by an
    aligner are not told exactly enough to be counted again.
    """
    references = [pairs[0][1] for pairs in sets[RAW]]
    wanted = [_counts(words, rare.in_completions) for words in references]
    if not any(wanted):
        raise DataError(
            f"no word of these references stands at most {rare.limit} times in the split",
            hint="--set rare=20",
        )
    asked = frozenset(word for pairs in sets[RAW] for word in pairs[0][0]) & rare.in_prompts
    found: list[Measurement | Figure] = []
    for name, pairs in sets.items():
        found += _of_completions(name, pairs, rare, signature=signature)
        if name != RAW:
            found += _kept(name, pairs, wanted, signature=signature)
        found += _entropies(name, pairs, (asked, frozenset().union(*wanted)), signature=signature)
    return found


def _counts(words: Words, among: frozenset[str]) -> Counter[str]:
    return Counter(word for word in words if word in among)


def _of_completions(
    name: str, pairs: Pairs, rare: Rare, *, signature: str
) -> list[Measurement | Figure]:
    metric = f"rare-tokens[{name}]"
    rows = [[word for _, words in several for word in words] for several in pairs]
    above = [_counts(words, rare.in_completions).total() for words in rows]
    return [
        ratio_measurement(
            metric, above, [len(words) for words in rows], signature=f"{metric}|{signature}"
        )
    ]


def _kept(
    name: str, pairs: Pairs, wanted: Sequence[Counter[str]], *, signature: str
) -> list[Measurement | Figure]:
    """Return how many rare words of references the completions have, counted and by kind."""
    written = [_most(several) for several in pairs]
    there = frozenset(word for counts in written for word in counts)
    kinds = frozenset().union(*wanted)
    return [
        ratio_measurement(
            f"rare-kept[{name}]",
            [(want & have).total() for want, have in zip(wanted, written, strict=True)],
            [want.total() for want in wanted],
            signature=f"rare-kept[{name}]|{signature}",
        ),
        Figure(
            metric=f"rare-words[{name}]",
            value=100.0 * len(kinds & there) / len(kinds),
            signature=f"rare-words[{name}]|{signature}",
            details={"words": len(kinds)},
        ),
    ]


def _most(several: Sequence[TextPair]) -> Counter[str]:
    """Return of every word the largest number of times that one completion has it."""
    most: Counter[str] = Counter()
    for _, words in several:
        most |= Counter(words)
    return most


def _entropies(
    name: str, pairs: Pairs, kinds: tuple[frozenset[str], frozenset[str]], *, signature: str
) -> list[Figure]:
    lexicon = learn([pair for several in pairs for pair in several])
    found: list[Figure] = []
    for metric, entropy, among in zip(
        ("rare-entropy", "rare-entropy-back"), entropies(lexicon), kinds, strict=True
    ):
        values = [entropy[word] for word in sorted(among) if word in entropy]
        if values:
            found.append(
                Figure(
                    metric=f"{metric}[{name}]",
                    value=sum(values) / len(values),
                    signature=f"{metric}[{name}]|learnt:{lexicon.pairs} pairs|{signature}",
                    details={"words": len(values)},
                )
            )
    return found
