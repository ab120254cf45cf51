"""ROUGE F1 through rouge-score, its stems remembered."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, final

from ketchup_cli.scoring.items import check_items
from ketchup_cli.scoring.measurement import Measurement, mean_measurement

NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
MAX_FOREIGN_SHARE = 0.2
"""Share of letters outside a-z from which on ROUGE no longer sees the text."""
STEMS_KEPT = 2**17


def corpus_value(
    name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> float:
    """Return the mean F1 of one ROUGE type, stemmed, in percent."""
    return measure([name], hypotheses, references)[0].value


def measure(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    stemmer: bool = True,
) -> tuple[Measurement, ...]:
    """Return each named ROUGE type with its F1 per item: the best over an item's references.

    rougeLsum takes a line as a sentence. An empty hypothesis scores 0.

    Raises:
        DataError: shapes or types are wrong.
    """
    check_items(hypotheses, references)
    scorer = _scorer(names, stemmer=stemmer)
    rows = [_best(scorer, text, refs) for text, refs in zip(hypotheses, references, strict=True)]
    return tuple(
        mean_measurement(
            name, [100.0 * row[name] for row in rows], _signature(name, stemmer=stemmer)
        )
        for name in names
    )


def foreign_warning(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """Return a warning where more than a fifth of the letters are ones ROUGE throws away."""
    texts = [*hypotheses, *(text for several in references for text in several)]
    letters = sum(char.isalpha() for text in texts for char in text)
    foreign = sum(char.isalpha() and not char.isascii() for text in texts for char in text)
    if foreign <= MAX_FOREIGN_SHARE * letters:
        return ()
    return (
        f"{foreign / letters:.0%} of the letters are outside a-z, which ROUGE throws away: use chrf",
    )


def _signature(name: str, *, stemmer: bool) -> str:
    import importlib.metadata

    version = importlib.metadata.version("rouge-score")
    stem = "porter" if stemmer else "no"
    split = "|split:newline" if name == "rougeLsum" else ""
    return f"{name}|f1|stemmer:{stem}|refs:best{split}|engine:rouge-score|version:{version}"


def _best(scorer: Any, text: str, references: Sequence[str]) -> dict[str, float]:
    scores = [scorer.score(reference, text) for reference in references]
    return {name: max(score[name].fmeasure for score in scores) for name in scores[0]}


def _scorer(names: Sequence[str], *, stemmer: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(names), tokenizer=_Tokenizer(stemmer=stemmer))


@final
class _Tokenizer:
    """rouge-score's own tokenizer over a stemmer that remembers."""

    def __init__(self, *, stemmer: bool) -> None:
        self._stemmer = _Stemmer() if stemmer else None

    def tokenize(self, text: str) -> list[str]:
        from rouge_score import tokenize

        tokens: list[str] = tokenize.tokenize(text, self._stemmer)
        return tokens


@final
class _Stemmer:
    """nltk's Porter stemmer, each word stemmed once: half of ROUGE's time on short texts."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import porter

        self.stem = lru_cache(maxsize=STEMS_KEPT)(porter.PorterStemmer().stem)
