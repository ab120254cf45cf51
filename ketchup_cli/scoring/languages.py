"""Which tokenizer finds the words of a language, and where one would mislead."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ketchup_cli.errors import SpecError
from ketchup_cli.spec import unknown

AUTO = "auto"
SPACED = "13a"
"""The tokenizer of languages that put spaces between words."""
MAX_UNSPACED_SHARE = 0.5
"""Share of letters in scripts without spaces from which on a text counts as written in one."""
_WORDS_BY_SPACE = frozenset({"13a", "intl"})
_UNSPACED: Mapping[str, str] = {
    "zh": "zh", "zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh",
    "ja": "ja-mecab", "jpn": "ja-mecab",
    "ko": "ko-mecab", "kor": "ko-mecab",
    "th": "char", "tha": "char", "lo": "char", "lao": "char",
    "km": "char", "khm": "char", "my": "char", "mya": "char", "bur": "char",
}  # fmt: skip
"""Languages whose words 13a cannot find, and the tokenizer for them."""
# Thai and Lao, Burmese, Khmer, kana, Han
_UNSPACED_LETTER = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
)


def pick_tokenizer(tokenize: str, languages: Sequence[str]) -> str:
    """Return the tokenizer to use: the one named, or under `auto` the one of the language.

    Args:
        tokenize: `auto`, or the name of a tokenizer of sacrebleu.
        languages: language codes of prompt and reference; none when not declared.

    Raises:
        SpecError: there is no such tokenizer, or it finds no words in the language.
    """
    if tokenize == AUTO:
        return _UNSPACED.get(base_language(languages), SPACED)
    check_tokenizer(tokenize, languages)
    return tokenize


def check_tokenizer(tokenize: str, languages: Sequence[str]) -> None:
    """Refuse a tokenizer sacrebleu does not have, or that finds no words in the language.

    Raises:
        SpecError: with the tokenizer that fits.
    """
    from sacrebleu.metrics.bleu import BLEU

    names = [name for name in BLEU.TOKENIZERS if name != "spm"]
    if tokenize not in names:
        raise unknown("a tokenizer of sacrebleu", tokenize, names, hint="--set tokenize=auto")
    code = base_language(languages)
    if code in _UNSPACED and tokenize in _WORDS_BY_SPACE:
        raise SpecError(
            f"tokenizer `{tokenize}` does not find words in `{code}`; BLEU would mean nothing",
            hint=f"--set tokenize={_UNSPACED[code]} (or char, which needs nothing installed)",
        )


def check_script(tokenize: str, languages: Sequence[str], texts: Sequence[str]) -> None:
    """Refuse to look for words between spaces in text of no declared language that has none.

    Raises:
        SpecError: more than half of the letters are of a script without spaces.
    """
    if languages or tokenize not in _WORDS_BY_SPACE:
        return
    letters = sum(count_letters(texts))
    unspaced = sum(len(_UNSPACED_LETTER.findall(text)) for text in texts)
    if unspaced > MAX_UNSPACED_SHARE * letters:
        raise SpecError(
            f"{unspaced / letters:.0%} of the references' letters are of a script without spaces,"
            f" and no language is declared: tokenizer `{tokenize}` would find no words",
            hint='import with --set \'languages=["en", "zh"]\', or --set tokenize=zh',
        )


def count_letters(texts: Iterable[str]) -> tuple[int, int]:
    """Return how many letters are ASCII and how many are not."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(text)
    letters = {char: count for char, count in found.items() if char.isalpha()}
    known = sum(count for char, count in letters.items() if char.isascii())
    return known, sum(letters.values()) - known


def base_language(languages: Sequence[str]) -> str:
    """Return the bare code of the reference language, or nothing."""
    last = languages[-1].lower() if languages else ""
    return last.replace("_", "-").partition("-")[0]


def is_unspaced(languages: Sequence[str]) -> bool:
    """Return whether the reference language writes words without reliable spaces."""
    return base_language(languages) in _UNSPACED


def bleu_metric(tokenize: str) -> Any:
    """Return sacrebleu's BLEU with this tokenizer.

    Raises:
        SpecError: there is no such tokenizer, or it cannot be had here.
    """
    from sacrebleu.metrics import BLEU

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


def word_splitter(tokenize: str) -> Callable[[str], list[str]]:
    """Return the function from a text to its words, as BLEU with this tokenizer sees them.

    Raises:
        SpecError: there is no such tokenizer, or it cannot be had here.
    """
    tokenizer = bleu_metric(tokenize).tokenizer

    def split(text: str) -> list[str]:
        words: list[str] = tokenizer(text.rstrip()).split()
        return words

    return split
