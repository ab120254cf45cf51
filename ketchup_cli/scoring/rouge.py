"""ROUGE F1: the best over an item's references, with all that changes it in the signature."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from ketchup_cli.scoring import sentences
from ketchup_cli.scoring.items import check_items
from ketchup_cli.scoring.languages import count_letters
from ketchup_cli.scoring.measurement import Measurement, mean_measurement
from ketchup_cli.scoring.rouge_engines import score_pairs
from ketchup_cli.scoring.settings import RougeSettings

NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
MAX_FOREIGN_SHARE = 0.2
"""Share of letters outside a-z from which on ROUGE no longer sees the text."""
REFERENCE = RougeSettings(engine="reference")


def corpus_value(
    name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> float:
    """Return the mean F1 of one ROUGE type, stemmed, by rouge-score, in percent."""
    return measure([name], hypotheses, references, settings=REFERENCE)[0].value


def measure(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    settings: RougeSettings = REFERENCE,
    processes: int = 1,
) -> tuple[Measurement, ...]:
    """Return each named ROUGE type with its F1 per item: the best over an item's references.

    An empty hypothesis scores 0.

    Raises:
        DataError: shapes or types are wrong.
    """
    check_items(hypotheses, references)
    read = _reader(settings) if "rougeLsum" in names else str
    texts = [read(text) for text in hypotheses]
    read_references = [[read(text) for text in several] for several in references]
    pairs = [
        (reference, text)
        for text, several in zip(texts, read_references, strict=True)
        for reference in several
    ]
    found = score_pairs(names, pairs, settings, processes=processes)
    rows = iter(found.values)
    best = [_best([next(rows) for _ in several]) for several in references]
    warnings = (*found.warnings, *foreign_warning(hypotheses, references, settings=settings))
    measured = [
        mean_measurement(
            name, [100.0 * row[name] for row in best], _signature(name, settings, found.engine)
        )
        for name in names
    ]
    return (replace(measured[0], warnings=warnings), *measured[1:])


def foreign_warning(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    settings: RougeSettings = REFERENCE,
) -> tuple[str, ...]:
    """Return a warning where more than a fifth of the letters are ones ROUGE throws away."""
    if settings.words == "unicode":
        return ()
    known, foreign = count_letters([*hypotheses, *itertools.chain.from_iterable(references)])
    if foreign <= MAX_FOREIGN_SHARE * (known + foreign):
        return ()
    return (
        f"{foreign / (known + foreign):.0%} of the letters are outside a-z, which ROUGE throws away: use chrf,"
        " or --set rouge_words=unicode",
    )


def _reader(settings: RougeSettings) -> Callable[[str], str]:
    """Return what puts every sentence of rougeLsum on a line of its own."""
    if settings.lines == "sentences":
        return lambda text: "\n".join(sentences.split_sentences(text))
    if settings.lines == "none":
        return lambda text: text.replace("\n", " ")
    return str


def _signature(name: str, settings: RougeSettings, engine: str) -> str:
    stem = "porter" if settings.stemmer else "no"
    split = settings.lines
    shown = f"sentences-{sentences.VERSION}" if split == "sentences" else split
    lines = f"|split:{shown}" if name == "rougeLsum" else ""
    words = "|words:unicode-1" if settings.words == "unicode" else ""
    return f"{name}|f1|stemmer:{stem}|refs:best{lines}{words}|{engine}"


def _best(rows: Sequence[dict[str, tuple[float, float, float]]]) -> dict[str, float]:
    return {name: max(row[name][2] for row in rows) for name in rows[0]}
