"""Of which family a model is, as far as names tell: a judge prefers what its own family writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "BART": ("bart", "mbart"),
    "Claude": ("claude",),
    "Cohere": ("command", "aya", "c4ai"),
    "DeepSeek": ("deepseek",),
    "Falcon": ("falcon",),
    "Gemini and Gemma": ("gemini", "gemma"),
    "GPT": ("gpt", "chatgpt", "o1", "o3", "o4"),
    "Granite": ("granite",),
    "Llama": ("llama", "codellama", "tinyllama", "vicuna"),
    "Marian": ("marian", "opus"),
    "Mistral": ("mistral", "mixtral", "ministral", "magistral", "codestral"),
    "NLLB": ("nllb",),
    "OLMo": ("olmo",),
    "Phi": ("phi",),
    "Pythia": ("pythia",),
    "Qwen": ("qwen", "qwq"),
    "SmolLM": ("smollm",),
    "T5": ("t5", "mt5", "byt5", "flan"),
    "Yi": ("yi",),
}
"""Words of names by family; makers that train several on one another's data count as one."""
_WORD = re.compile(r"[a-z]+\d*")


def families(name: str) -> frozenset[str]:
    """Return the families that a model's name speaks of: several for one distilled from another."""
    words = set(_WORD.findall(name.lower()))
    # `qwen2` and `llama3` are written with and without a number
    words |= {word.rstrip("0123456789") for word in words}
    return frozenset(family for family, known in _FAMILIES.items() if words & set(known))


def familiar(
    judges: Sequence[str], writers: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, str, str], ...]:
    """Return judge, writer and family wherever a judge reads text of its own family.

    Args:
        judges: names of the judges.
        writers: for every system, the names of all models it came from.
    """
    return tuple(
        (judge, writer, family)
        for judge in judges
        for writer, names in writers.items()
        for family in sorted(families(judge) & frozenset().union(*map(families, names)))
    )
