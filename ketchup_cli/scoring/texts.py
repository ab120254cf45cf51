"""Whether the texts are texts at all: their length, the empty, the cut and the copied ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.languages import pick_tokenizer, word_splitter
from ketchup_cli.scoring.measurement import Measurement, mean_measurement, ratio_measurement
from ketchup_cli.scoring.settings import Settings

NAMES = ("texts",)
Sizes = Callable[[str], int]


def measure(
    _names: Sequence[str], items: Items, settings: Settings
) -> dict[str, tuple[Measurement, ...]]:
    """Return the length ratio in words and characters, and shares of empty, cut and copied text.

    Raises:
        DataError: prompts or ends of the texts are not known, or every reference is empty.
    """
    if not items.prompts or not items.unfinished:
        raise DataError("prompts and ends of the texts are not known", hint="leave out `texts`")
    tokenize = pick_tokenizer(settings.tokenize, settings.languages)
    split = word_splitter(tokenize)
    copied = [
        copied_share(split(text), split(prompt))
        for text, prompt in zip(items.hypotheses, items.prompts, strict=True)
    ]
    copies = [
        text.strip() == prompt.strip()
        for text, prompt in zip(items.hypotheses, items.prompts, strict=True)
    ]
    known = f"tok:{tokenize}"
    return {
        "texts": (
            _length_ratio("length", items, lambda text: len(split(text)), known=known),
            _length_ratio("length/characters", items, len, known="unit:characters"),
            _share("empty", [not text.strip() for text in items.hypotheses], "strip:yes"),
            _share("unfinished", items.unfinished, "cut at a length"),
            _share("copies", copies, "text equals prompt|strip:yes"),
            mean_measurement(
                "copied", copied, f"copied|longest run of words in the prompt|{known}"
            ),
        )
    }


def copied_share(text: Sequence[str], prompt: Sequence[str]) -> float:
    """Return the longest run of words a text shares with its prompt, by its words, in percent."""
    if not text:
        return 0.0
    # autojunk would leave out the commonest words of a long prompt
    matcher = SequenceMatcher(None, prompt, text, autojunk=False)
    return 100.0 * matcher.find_longest_match().size / len(text)


def _length_ratio(name: str, items: Items, size: Sizes, *, known: str) -> Measurement:
    """Return sizes of texts by those of the nearest reference: over the corpus and per item."""
    ours = [size(text) for text in items.hypotheses]
    theirs = [
        min((size(reference) for reference in several), key=lambda n: (abs(n - own), n))
        for own, several in zip(ours, items.references, strict=True)
    ]
    if not any(theirs):
        raise DataError("every reference is empty", hint="leave out `texts`")
    signature = f"{name}|text by reference|refs:closest|{known}"
    measured = ratio_measurement(name, ours, theirs, signature=signature)
    return replace(measured, details={"hypotheses": sum(ours), "references": sum(theirs)})


def _share(name: str, flags: Sequence[bool], known: str) -> Measurement:
    return mean_measurement(name, [100.0 * flag for flag in flags], f"{name}|{known}")
