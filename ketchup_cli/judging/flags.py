"""What is worth knowing of the texts of a question, beside its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ketchup_cli.judging.prompts import Question, looks_like_a_verdict

Flag = Literal["suspicious_text", "truncated"]
SUSPICIOUS: Flag = "suspicious_text"
"""A text talks to the judge."""
TRUNCATED: Flag = "truncated"
"""A text is shown without its end."""


def flags_of(question: Question) -> tuple[Flag, ...]:
    """Return what is worth knowing of the candidates of a question."""
    return tuple(_flags(question))


def _flags(question: Question) -> Iterator[Flag]:
    if any(looks_like_a_verdict(text) for text in (question.first, question.second or "")):
        yield SUSPICIOUS
    if question.cut:
        yield TRUNCATED
