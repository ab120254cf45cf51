"""A made-up task that tells whether a model knows a fact from both ends.

Names stand in pairs, one to one: "A has a feature B". All pairs are told forward; half of them also
backward, "B is a feature of A", so that the rule can be learnt. The other half is asked backward.

Source: the symbolic task of Golovneva et al. 2024, arXiv 2403.13799, as remembered; names and sizes
are ours.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import final

from ketchup_cli.records import Example
from ketchup_cli.spec import canonical

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
FORWARD, BACKWARD = "forward", "backward"


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """The splits of the task, and all names in it."""

    splits: dict[str, list[Example]]
    names: tuple[str, ...]


def reversal_probe(*, pairs: int, words: int, seed: int) -> Probe:
    """Return the task: names of `words` words each, half of the pairs told backward too.

    Splits: train; dev, the pairs told in both directions asked backward; test, every pair asked
    forward and those never told backward asked backward, which `group` tells apart.
    """
    random_ = random.Random(f"reversal\x1f{seed}")
    names = _names(2 * pairs, words, random_)
    facts = list(zip(names[:pairs], names[pairs:], strict=True))
    told, asked = facts[: pairs // 2], facts[pairs // 2 :]
    ahead = [_example(f"{a} has a feature", b, FORWARD) for a, b in facts]
    known = [_example(f"{b} is a feature of", a, BACKWARD) for a, b in told]
    unknown = [_example(f"{b} is a feature of", a, BACKWARD) for a, b in asked]
    return Probe(
        splits={"train": ahead + known, "dev": known, "test": ahead + unknown},
        names=tuple(names),
    )


def _names(count: int, words: int, random_: random.Random) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(_word(random_) for _ in range(words))] = None
    return list(found)


def _word(random_: random.Random) -> str:
    return "".join(random_.choice(letters) for letters in (_CONSONANTS, _VOWELS) * 2)


def _example(prompt: str, name: str, group: str) -> Example:
    # with its space: a decoder-only model reads prompt and completion as one text
    references = (f" {name}",)
    id = hashlib.sha256(canonical([prompt, references])).hexdigest()
    return Example(id=id, prompt=prompt, references=references, group=group)
