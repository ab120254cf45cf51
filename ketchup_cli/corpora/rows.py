"""What a reader hands on: a row with its place in the file, or what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

Reason = Literal[
    "not UTF-8",
    "not JSON",
    "not an object",
    "blank line",
    "line too long",
    "wrong number of columns",
    "field missing",
    "field not text",
    "empty prompt",
    "empty reference",
    "text too long",
]


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file, not yet looked at."""

    place: str
    """Where it stands, as in "line 7"."""
    fields: Mapping[str, object]


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """One record that cannot be used, and why."""

    place: str
    """Where it stands, as in "line 7"."""
    reason: Reason
    """One of the counted reasons."""
    detail: str
    """What exactly is wrong; never holds text of the record."""
