"""The specs of what turns a corpus around, and of the task that tells what it was good for.

Changing a default changes ids and is a changelog entry.
"""

from typing import Literal, final

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import Count, Share


@final
class ReverseSpec(Spec, frozen=True, kw_only=True):
    """Add the texts of a split from last to first, for causal models."""

    mode: Literal["word", "entity", "random", "tokens"] = "word"
    """What is turned around: words, words with entities left whole, random segments, or token ids."""
    match: Literal["data", "compute"] = "data"
    """data keeps every text and adds its reverse, twice the words; compute has each text in one
    direction alone, as many words as before."""
    share: Share = 0.5
    """Share of the texts that are turned around under `compute`, drawn one by one."""
    entities: Literal["listed", "capitalised"] = "listed"
    """Where mode `entity` finds entities: in the file of `--entities`, or in runs of capitals."""
    most: Count = 25
    """Longest random segment (words)."""
    split: str = "train"
    """Split that is turned around; the others are copied."""
    seed: int = 0
    """With the id of a text, decides its direction and its segments."""


@final
class ReversalProbeSpec(Spec, frozen=True, kw_only=True):
    """Make a task of made-up names that asks from both ends."""

    pairs: Count = 100
    """Pairs of names, one to one."""
    words: Count = 2
    """Words of a name."""
    seed: int = 0
    """Decides the names."""
