"""Exact match, by letter or without regard to case and spaces, and three readings of a GSM8K answer.

gsm8k-strict and gsm8k-flexible read as lm-evaluation-harness does (filters strict-match and
flexible-extract of its task gsm8k, and what its exact_match ignores), for comparability.
gsm8k-numeric is ours and compares numbers, not strings.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.items import check_items
from ketchup_cli.scoring.measurement import Measurement, mean_measurement

NAMES = ("exact", "exact-folded", "gsm8k-strict", "gsm8k-flexible", "gsm8k-numeric")

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = tuple(re.compile(pattern) for pattern in (",", r"\$", r"(?s).*#### ", r"\.$"))

_NUMBER = (
    r"(?:(?<![\w.)])[-\u2212])?(?:\\?[$\u20ac\u00a3\u00a5]\s?[-\u2212]?)?"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
)
_ANY_NUMBER = re.compile(_NUMBER)
_MARKED = re.compile(rf"(?i:####\s*|\\boxed\{{\s*|answer\s+is[\s:*]*)({_NUMBER})")
_NEXT_QUESTION = re.compile(r"(?i)\n\s*(?:question|problem|q)\s*\d*\s*[:.]")


def corpus_value(
    name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> float:
    """Return the share of items that match, in percent."""
    return measure([name], hypotheses, references)[0].value


def measure(
    names: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[Measurement, ...]:
    """Return each named metric: 100 for an item that matches one of its references, else 0.

    Raises:
        DataError: shapes or types are wrong, or a reference holds no number where one is needed.
    """
    check_items(hypotheses, references)
    return tuple(_measure(name, hypotheses, references) for name in names)


def _measure(
    name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> Measurement:
    if name == "exact":
        matches = [
            text.strip() in {reference.strip() for reference in several}
            for text, several in zip(hypotheses, references, strict=True)
        ]
        return mean_measurement(name, _percent(matches), "exact|strip:yes|case:mixed|refs:any")
    if name == "exact-folded":
        matches = [
            fold(text) in {fold(reference) for reference in several}
            for text, several in zip(hypotheses, references, strict=True)
        ]
        return mean_measurement(name, _percent(matches), "exact|spaces:folded|case:folded|refs:any")
    read = READINGS[name]
    extracted = tuple(read(text) for text in hypotheses)
    if name == "gsm8k-numeric":
        matches = _numeric_matches(extracted, references)
    else:
        matches = [
            found is not None and _ignore(found) in {_ignore(text) for text in several}
            for found, several in zip(extracted, references, strict=True)
        ]
    measured = mean_measurement(name, _percent(matches), _SIGNATURES[name])
    unread = 100.0 * extracted.count(None) / len(extracted)
    return replace(measured, extracted=extracted, details={"no_answer": unread})


def by_group(one: Measurement, groups: Sequence[str]) -> Measurement:
    """Return a measurement with the mean of every group among its details; as it is without groups."""
    means = {}
    for group in dict.fromkeys(group for group in groups if group):
        own = [value or 0.0 for value, of in zip(one.items, groups, strict=True) if of == group]
        means[group] = sum(own) / len(own)
    return replace(one, details={**one.details, **means}) if means else one


def fold(text: str) -> str:
    """Return a text without regard to case and to how its words are spaced."""
    return " ".join(text.casefold().split())


def _percent(matches: Sequence[bool]) -> list[float]:
    return [100.0 * match for match in matches]


def read_strict(text: str) -> str | None:
    """Return the number after the first `#### `."""
    found = _STRICT.search(text)
    return found[1] if found else None


def read_flexible(text: str) -> str | None:
    """Return the last thing that looks like a number."""
    found = _FLEXIBLE.findall(text)
    return (found[-1][0] or found[-1][1]).strip() if found else None


def read_numeric(text: str) -> str | None:
    r"""Return the answer as a plain decimal number.

    The text ends where the next question begins. The answer is the last number marked by
    `####`, `\boxed{` or "answer is", or else the last number; currency signs, thousands
    separators and a Unicode minus are understood.
    """
    next_question = _NEXT_QUESTION.search(text)
    own = text[: next_question.start()] if next_question else text
    found = _MARKED.findall(own) or _ANY_NUMBER.findall(own)
    if not found:
        return None
    sign = "-" if re.search(r"[-\u2212]", found[-1]) else ""
    return sign + re.sub(r"[^0-9.]", "", found[-1])


def _numeric_matches(
    extracted: Sequence[str | None], references: Sequence[Sequence[str]]
) -> list[bool]:
    matches: list[bool] = []
    for index, (found, several) in enumerate(zip(extracted, references, strict=True)):
        golden = {_decimal(reference, index) for reference in several}
        matches.append(found is not None and Decimal(found) in golden)
    return matches


def _decimal(reference: str, index: int) -> Decimal:
    found = read_numeric(reference)
    if found is None:
        raise DataError(
            f"a reference of item {index} holds no number", hint="leave out gsm8k-numeric"
        )
    return Decimal(found)


def _ignore(text: str) -> str:
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()


READINGS: Mapping[str, Callable[[str], str | None]] = {
    "gsm8k-strict": read_strict,
    "gsm8k-flexible": read_flexible,
    "gsm8k-numeric": read_numeric,
}
_SIGNATURES: Mapping[str, str] = {
    "gsm8k-strict": "gsm8k-strict|lm-eval:gsm8k/strict-match|refs:any",
    "gsm8k-flexible": "gsm8k-flexible|lm-eval:gsm8k/flexible-extract|refs:any",
    "gsm8k-numeric": "gsm8k-numeric|compare:decimal|refs:any|reading:1",
}
