"""BLEU, chrF and TER through sacrebleu, with its signature word for word."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.scoring.formulas import (
    bleu_from_sums,
    chrf_from_sums,
    sentence_bleu_from_sums,
    ter_from_sums,
)
from ketchup_cli.scoring.items import check_items
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.spec import unknown

if TYPE_CHECKING:
    from ketchup_cli.scoring.measurement import Floats

NAMES = ("bleu", "chrf", "ter")
TOKENIZED_LINES = 100
"""Hypotheses that end in a detached full stop from which on the text looks tokenised."""
_UNSPACED: Mapping[str, str] = {
    "zh": "zh", "zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh",
    "ja": "ja-mecab", "jpn": "ja-mecab",
    "ko": "ko-mecab", "kor": "ko-mecab",
}  # fmt: skip
"""Languages whose words 13a cannot find, and the tokenizer for them."""


@final
@dataclass(frozen=True, slots=True)
class BleuDetails:
    """Corpus BLEU and how far the lengths explain it."""

    value: float
    brevity_penalty: float
    length_ratio: float
    """Tokens of the hypotheses by tokens of the references."""
    signature: str


def corpus_value(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
) -> float:
    """Return one of bleu, chrf, ter over the whole corpus, in percent."""
    check_items(hypotheses, references)
    metric = _metric(name, tokenize)
    return float(metric.corpus_score(list(hypotheses), streams(references)).score)


def bleu_details(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "13a"
) -> BleuDetails:
    """Return corpus BLEU with its brevity penalty, length ratio and signature.

    Raises:
        DataError: shapes or types are wrong.
        SpecError: there is no such tokenizer, or it cannot be had here.
    """
    check_items(hypotheses, references)
    metric = _metric("bleu", tokenize)
    score = metric.corpus_score(list(hypotheses), streams(references))
    return BleuDetails(
        value=float(score.score),
        brevity_penalty=float(score.bp),
        length_ratio=float(score.ratio),
        signature=str(metric.get_signature()),
    )


def measure(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
) -> tuple[Measurement, ...]:
    """Return each named metric of bleu, chrf, ter with its item values and statistics.

    Raises:
        DataError: shapes or types are wrong, or sacrebleu's statistics do not add up to its
            own value.
        SpecError: there is no such tokenizer, or it cannot be had here.
    """
    check_items(hypotheses, references)
    return tuple(_measure(name, list(hypotheses), references, tokenize) for name in names)


def _measure(
    name: str, hypotheses: list[str], references: Sequence[Sequence[str]], tokenize: str
) -> Measurement:
    import numpy

    metric = _metric(name, tokenize)
    refs = streams(references)
    score = metric.corpus_score(hypotheses, refs)
    # private, but the only way to per-item chrF counts; held against the public value below
    rows = metric._extract_corpus_statistics(hypotheses, refs)
    statistics_NK = numpy.asarray(rows, dtype=numpy.float64)
    corpus, sentence = _FORMULAS[name]
    _check_sum(name, float(score.score), corpus(statistics_NK.sum(axis=0, keepdims=True)))
    items_N = sentence(statistics_NK)
    bleu = name == "bleu"
    return Measurement(
        metric=name,
        value=float(score.score),
        items=tuple(float(value) for value in items_N),
        statistics_NK=statistics_NK,
        combine=corpus,
        signature=str(metric.get_signature()),
        details={"brevity_penalty": score.bp, "length_ratio": score.ratio} if bleu else {},
        warnings=_tokenized_warning(hypotheses) if bleu else (),
    )


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return references turned from one list per item to one list per stream, as sacrebleu asks.

    Items with fewer references than others get None in the streams they lack.
    """
    most = max(len(several) for several in references)
    return [
        [several[stream] if stream < len(several) else None for several in references]
        for stream in range(most)
    ]


def check_tokenizer(tokenize: str, languages: Sequence[str]) -> None:
    """Refuse a tokenizer sacrebleu does not have, or that finds no words in the language.

    Args:
        tokenize: name of a tokenizer of sacrebleu.
        languages: language codes of prompt and reference; none when not declared.

    Raises:
        SpecError: with the tokenizer that fits.
    """
    from sacrebleu.metrics.bleu import BLEU

    names = [name for name in BLEU.TOKENIZERS if name != "spm"]
    if tokenize not in names:
        raise unknown("a tokenizer of sacrebleu", tokenize, names, hint="--set tokenize=13a")
    code = base_language(languages)
    if code in _UNSPACED and tokenize in {"13a", "intl"}:
        raise SpecError(
            f"tokenizer `{tokenize}` does not find words in `{code}`; BLEU would mean nothing",
            hint=f"--set tokenize={_UNSPACED[code]} (or char, which needs nothing installed)",
        )


def base_language(languages: Sequence[str]) -> str:
    """Return the bare code of the reference language, or nothing."""
    last = languages[-1].lower() if languages else ""
    return last.replace("_", "-").partition("-")[0]


def is_unspaced(languages: Sequence[str]) -> bool:
    """Return whether the reference language writes words without reliable spaces."""
    return base_language(languages) in _UNSPACED


def _metric(name: str, tokenize: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF, TER

    if name == "chrf":
        return CHRF()
    if name == "ter":
        return TER()
    check_tokenizer(tokenize, ())
    try:
        # force: the tokenised-text warning goes into our report, not to a logger
        return BLEU(tokenize=tokenize, force=True)
    except (ImportError, RuntimeError, OSError, SystemExit) as error:
        first = str(error).strip().partition("\n")[0]
        raise SpecError(
            f"tokenizer `{tokenize}` cannot be had here: {first}",
            hint="--set tokenize=char, or install what it needs (see sacrebleu's documentation)",
        ) from None


def _check_sum(name: str, value: float, from_statistics: Floats) -> None:
    if not math.isclose(value, float(from_statistics[0]), rel_tol=1e-9, abs_tol=1e-9):
        raise DataError(
            f"sacrebleu reports {name} {value!r}, its statistics give {from_statistics[0]!r}",
            hint="install the sacrebleu of constraints.txt",
        )


def _tokenized_warning(hypotheses: Sequence[str]) -> tuple[str, ...]:
    count = sum(text.endswith(" .") for text in hypotheses)
    if count < TOKENIZED_LINES:
        return ()
    return (
        f"{count} hypotheses end in a detached full stop: the text looks tokenised, which lowers"
        " BLEU",
    )


_Formula = Callable[["Floats"], "Floats"]
_FORMULAS: Mapping[str, tuple[_Formula, _Formula]] = {
    "bleu": (bleu_from_sums, sentence_bleu_from_sums),
    "chrf": (chrf_from_sums, chrf_from_sums),
    "ter": (ter_from_sums, ter_from_sums),
}
"""Per metric: from the sums of a corpus, and from the statistics of one item."""
