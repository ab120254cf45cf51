"""What computes ROUGE: rouge-score with its stems remembered, or rouge-score-rs, held against it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

from ketchup_cli.scoring.settings import RougeSettings
from ketchup_cli.scoring.workers import spread

CHECKED_PAIRS = 200
"""First pairs of a run on which the fast engine must give the reference's own values."""
STEMS_KEPT = 2**17
REFERENCE, FAST = "rouge-score", "rouge-score-rs"

Pairs = Sequence[tuple[str, str]]
"""Reference and hypothesis, in this order."""
Values = list[dict[str, tuple[float, float, float]]]
"""Per pair and ROUGE type: precision, recall and F1."""


@final
@dataclass(frozen=True, slots=True)
class Found:
    """Values, who computed them, and what to know about that."""

    values: Values
    engine: str
    """For the signature: name and version, and what it was held against."""
    warnings: tuple[str, ...] = ()


def score_pairs(
    names: Sequence[str], pairs: Pairs, settings: RougeSettings, *, processes: int = 1
) -> Found:
    """Return the values of every pair.

    rouge-score-rs computes them where it is installed, settings allow it, and the first 200 pairs
    come out exactly as from rouge-score; if they do not, rouge-score does, and a warning says so.
    """
    reference = f"engine:{REFERENCE}|version:{_version(REFERENCE)}"
    if settings.engine == "reference" or settings.words != "ascii" or not _has_fast():
        return Found(_by_reference(names, pairs, settings, processes), reference)
    checked = pairs[:CHECKED_PAIRS]
    wanted = _reference_values(names, checked, settings)
    differing = first_difference(wanted, _fast_values(names, checked, settings))
    if differing is not None:
        warning = (
            f"{FAST} {_version(FAST)} differs from {REFERENCE} on pair {differing}; {REFERENCE} was"
            " used"
        )
        found = _by_reference(names, pairs, settings, processes)
        return Found(found, reference, (warning,))
    engine = f"engine:{FAST}|version:{_version(FAST)}|equal:{REFERENCE}-{_version(REFERENCE)}"
    return Found(_fast_values(names, pairs, settings), f"{engine}@{len(checked)}")


def first_difference(wanted: Values, given: Values) -> int | None:
    """Return the number of the first pair whose values are not exactly equal."""
    for number, (one, other) in enumerate(zip(wanted, given, strict=True)):
        if one != other:
            return number
    return None


def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _has_fast() -> bool:
    return importlib.util.find_spec("rouge_score_rs") is not None


def _by_reference(
    names: Sequence[str], pairs: Pairs, settings: RougeSettings, processes: int
) -> Values:
    return spread(_reference_values, pairs, processes=processes, before=(names,), after=(settings,))


def _reference_values(names: Sequence[str], pairs: Pairs, settings: RougeSettings) -> Values:
    from rouge_score.rouge_scorer import RougeScorer

    return _values(RougeScorer(list(names), tokenizer=Tokenizer(settings)), pairs)


def _fast_values(names: Sequence[str], pairs: Pairs, settings: RougeSettings) -> Values:
    from rouge_score_rs.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(names), use_stemmer=settings.stemmer)
    texts = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    return [_plain(row) for row in scorer.score_batch(*texts)]


def _values(scorer: Any, pairs: Pairs) -> Values:
    return [_plain(scorer.score(reference, hypothesis)) for reference, hypothesis in pairs]


def _plain(row: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    return {name: (one.precision, one.recall, one.fmeasure) for name, one in row.items()}


@final
class Tokenizer:
    """rouge-score's own tokenizer over a stemmer that remembers, or words of any script."""

    def __init__(self, settings: RougeSettings) -> None:
        stemmer = _Stemmer() if settings.stemmer else None
        self._split = _ascii_words(stemmer) if settings.words == "ascii" else _any_words(stemmer)

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text."""
        return self._split(text)


@final
class _Stemmer:
    """nltk's Porter stemmer, each word stemmed once: half of ROUGE's time on short texts."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import porter

        self.stem = lru_cache(maxsize=STEMS_KEPT)(porter.PorterStemmer().stem)


def _ascii_words(stemmer: _Stemmer | None) -> Callable[[str], list[str]]:
    from rouge_score import tokenize

    def split(text: str) -> list[str]:
        words: list[str] = tokenize.tokenize(text, stemmer)
        return words

    return split


_SHORTEST_STEMMED = 4
"""rouge-score stems no shorter word either."""
_OWN_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
)
"""A character that is a word by itself: of a script without spaces."""


def _any_words(stemmer: _Stemmer | None) -> Callable[[str], list[str]]:
    spaced = lru_cache(maxsize=None)(_spaced)

    def split(text: str) -> list[str]:
        folded = unicodedata.normalize("NFKC", text).casefold()
        return [_stemmed(word, stemmer) for word in "".join(map(spaced, folded)).split()]

    return split


def _spaced(char: str) -> str:
    """Return a character of a word as it is, one that is a word with spaces, a space for others."""
    if unicodedata.category(char)[0] not in "LMN":
        return " "
    return f" {char} " if _OWN_WORD.match(char) else char


def _stemmed(word: str, stemmer: _Stemmer | None) -> str:
    if stemmer is None or len(word) < _SHORTEST_STEMMED or not word.isascii():
        return word
    return str(stemmer.stem(word))
