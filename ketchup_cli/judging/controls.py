"""What a judge is worth, by questions whose answer is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

TRUSTED, BELIEVED = 0.9, 0.7
"""Shares of controls answered rightly below which a warning is given, and nothing is claimed."""
LEFT = 5
"""Fewest controls that could tell, where others could not, for a judge to be believed."""


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """How a judge did on its controls."""

    right: int
    asked: int
    """Those that could tell; what was not answered is wrong."""
    by_kind: dict[str, str]
    mute: int = 0
    """Those that could not: of a text that has the lowest rating, and so has its spoilt copy."""

    @property
    def accuracy(self) -> float | None:
        """Share answered rightly; None where none was asked, or none could tell."""
        return self.right / self.asked if self.asked else None

    @property
    def believed(self) -> bool:
        """Whether anything may be claimed in this judge's name."""
        if self.mute and self.asked < LEFT:
            return False
        return self.accuracy is None or self.accuracy >= BELIEVED


def counted(answers: Iterable[tuple[str, bool | None]]) -> Controls:
    """Return the tally of controls by kind, each right, wrong, or None where it could not tell."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    mute = 0
    for kind, told in answers:
        mute += told is None
        asked[kind] += told is not None
        right[kind] += bool(told)
    return Controls(
        right=right.total(),
        asked=asked.total(),
        by_kind={kind: f"{right[kind]}/{count}" for kind, count in asked.items() if count},
        mute=mute,
    )
