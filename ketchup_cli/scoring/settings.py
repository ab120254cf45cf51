"""What changes a figure, apart from the texts."""

from dataclasses import dataclass, field
from typing import Literal, final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RougeSettings:
    """How ROUGE reads a text, and what reads it."""

    stemmer: bool = True
    """Whether words are stemmed."""
    engine: Literal["auto", "reference"] = "auto"
    """auto takes rouge-score-rs where it is installed and agrees with rouge-score on this text."""
    lines: Literal["newline", "sentences", "none"] = "newline"
    """What rougeLsum takes for a sentence: a line, what a splitter finds, or the whole text."""
    words: Literal["ascii", "unicode"] = "ascii"
    """What a word is made of: a-z and digits, as in rouge-score, or the letters of any script."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Frequencies:
    """How often each word stands in the text a model was trained on."""

    texts: tuple[str, ...]
    """That text; its words are found by the tokenizer of the run."""
    source: str
    """Whose text it is, with a digest, for the signature."""
    limits: tuple[int, ...] = (1, 2, 3, 4, 5, 10, 100, 1000)
    """Smallest count of every bucket but the first, which begins at 0; rising."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Prompts beside their first references, for what asks which words are which."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What changes a number, apart from the texts."""

    tokenize: str = "auto"
    """Tokenizer of sacrebleu for BLEU and for all that counts words; auto follows the language."""
    rouge: RougeSettings = field(default_factory=RougeSettings)
    languages: tuple[str, ...] = ()
    """Language codes of prompt and reference, where declared."""
    pass_k: tuple[int, ...] = ()
    """Every k of pass@k, taken of each metric that is right or wrong."""
    frequencies: Frequencies | None = None
    """What the metrics `words` and `lexical` count in."""
    self_bleu_pairs: int = 500
    """Largest number of pairs behind self-BLEU."""
    resamples: int = 1000
    """Bootstrap draws behind an interval."""
    seed: int = 0
    """Decides the draws, and which pairs self-BLEU takes."""
    processes: int = 1
    """Processes that share the work; no figure depends on it."""
