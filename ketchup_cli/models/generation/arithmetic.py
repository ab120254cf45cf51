"""Sums that a model writes as `<<95*7=665>>`: read by a grammar of four operations, and never run.

    sum      product, then `+` or `-` and a product, any number of times
    product  factor, then `*` or `/` and a factor, any number of times
    factor   `-` factor, `(` sum `)`, or a number: 12, 1,200, 3.5, .5

Arithmetic is that of fractions, so nothing is lost on the way. There is no power and no name, and
what is too long is not read: the work is bounded, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, final

OPEN, CLOSE, EQUALS = "<<", ">>", "="

LONGEST = 200
"""Characters of an expression; beyond it is not read."""

DEEPEST = 16
"""Parentheses and signs inside each other."""

LARGEST = 10**15
"""Results from here on are not written: beyond it nothing a text counts is meant."""

DECIMALS = 10
"""Most digits after the point: a result is rounded there, and zeros at its end are left out."""

Refusal = Literal["malformed", "division by zero", "out of range"]
"""Why an expression has no result."""

Outcome = Literal[
    "completed",
    "begun otherwise",
    "unfinished",
    "malformed",
    "division by zero",
    "out of range",
]
"""What became of an expression in a text: its result stands there, or another; it is cut, or without
a result at all."""

_TOKEN = re.compile(
    r" *(?:([0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|([-+*/()]))"
)


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an expression as text, or why there is none."""

    text: str = ""
    refusal: Refusal | None = None


class _Malformed(Exception):
    """Raised inside this module alone."""


def answer(expression: str) -> Answer:
    """Return the result of an expression; whatever the text, this comes back soon and never raises.

    Args:
        expression: what stands left of `=`.
    """
    if len(expression) > LONGEST:
        return Answer(refusal="malformed")
    try:
        value = _Reader(_tokens(expression)).whole()
    except _Malformed:
        return Answer(refusal="malformed")
    except ZeroDivisionError:
        return Answer(refusal="division by zero")
    text = written(value)
    return Answer(refusal="out of range") if text is None else Answer(text=text)


def written(value: Fraction) -> str | None:
    """Return a number as texts write it, or None where it is too large, or rounds to 0 and is not.

    Without separators or exponent, rounded half to even at `DECIMALS` digits.
    """
    shifted = round(abs(value) * 10**DECIMALS)
    if abs(value) >= LARGEST or (value != 0 and shifted == 0):
        return None
    whole, part = divmod(shifted, 10**DECIMALS)
    digits = f"{part:0{DECIMALS}d}".rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def rest_of(text: str) -> str:
    """Return what a calculator writes after a text: the rest of a result and `>>`; mostly nothing.

    After `<<95*7=` it is `665>>`, after `<<95*7=6` it is `65>>`. Where the text has begun another
    result, it is nothing: a calculator takes nothing back.
    """
    _, opened, inside = text.rpartition(OPEN)
    expression, equals, begun = inside.partition(EQUALS)
    if not opened or not equals:
        return ""
    found = answer(expression)
    whole = found.text + CLOSE
    return "" if found.refusal or not whole.startswith(begun) else whole[len(begun) :]


def outcomes(text: str) -> Iterator[Outcome]:
    """Yield what became of every expression in a text, in their order."""
    for part in text.split(OPEN)[1:]:
        inside, closed, _ = part.partition(CLOSE)
        expression, equals, begun = inside.partition(EQUALS)
        yield _outcome(expression, begun if equals else None, closed=bool(closed))


def _outcome(expression: str, begun: str | None, *, closed: bool) -> Outcome:
    if begun is None:
        return "malformed" if closed else "unfinished"
    found = answer(expression)
    if found.refusal is not None:
        return found.refusal
    if closed:
        return "completed" if begun == found.text else "begun otherwise"
    return "unfinished" if (found.text + CLOSE).startswith(begun) else "begun otherwise"


def _tokens(expression: str) -> list[str]:
    """Return numbers, without separators, and signs.

    Raises:
        _Malformed: anything else stands there.
    """
    text = expression.rstrip(" ")
    found: list[str] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _Malformed
        found.append((match[1] or match[2]).replace(",", ""))
        place = match.end()
    return found


@final
class _Reader:
    """Reads tokens from left to right; each method returns the value of what it has read."""

    def __init__(self, tokens: list[str]) -> None:
        self._left = tokens[::-1]
        self._depth = 0

    def whole(self) -> Fraction:
        """Read everything."""
        value = self._sum()
        if self._left:
            raise _Malformed
        return value

    def _next(self, choices: str) -> str:
        """Take the next token if it is one of these, else take nothing and return ""."""
        return self._left.pop() if self._left and self._left[-1] in choices else ""

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._next("+-"):
            other = self._product()
            value = value + other if sign == "+" else value - other
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while sign := self._next("*/"):
            other = self._factor()
            value = value * other if sign == "*" else value / other
        return value

    def _factor(self) -> Fraction:
        self._depth += 1
        if self._depth > DEEPEST:
            raise _Malformed
        value = self._inner()
        self._depth -= 1
        return value

    def _inner(self) -> Fraction:
        if self._next("-"):
            return -self._factor()
        if self._next("("):
            value = self._sum()
            if not self._next(")"):
                raise _Malformed
            return value
        if not self._left or self._left[-1] in "+*/)":
            raise _Malformed
        return Fraction(self._left.pop())
