"""What a check says: pass, warn or fail, what it saw, and what helps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import msgspec

Status = Literal["pass", "warn", "fail", "not checked"]

Figure = float | int | str | bool | None


@final
class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding.

    Invariant: what is not passed has a remedy; figures are finite, or text.
    """

    name: str
    status: Status
    evidence: tuple[str, ...]
    """What was seen, with the values: one sentence a line, the most telling first."""
    remedy: str = ""
    """One command or edit."""
    brief: str = ""
    """A few words for the one line before a stage; empty where the check has no place there."""
    figures: dict[str, Figure] = {}
    """The numbers of the evidence, by name."""


Lines = str | Sequence[str]


def passed(
    name: str, evidence: Lines, *, brief: str = "", figures: Mapping[str, Any] | None = None
) -> Check:
    """Return a check that found nothing wrong."""
    return Check(
        name=name,
        status="pass",
        evidence=_lines(evidence),
        brief=brief,
        figures=_finite(figures or {}),
    )


def warned(
    name: str,
    evidence: Lines,
    remedy: str,
    *,
    brief: str = "",
    figures: Mapping[str, Any] | None = None,
) -> Check:
    """Return a check that found what may be meant, or what it cannot judge."""
    return Check(
        name=name,
        status="warn",
        evidence=_lines(evidence),
        remedy=remedy,
        brief=brief,
        figures=_finite(figures or {}),
    )


def failed(
    name: str, evidence: Lines, remedy: str, *, figures: Mapping[str, Any] | None = None
) -> Check:
    """Return a check that found a fault."""
    return Check(
        name=name,
        status="fail",
        evidence=_lines(evidence),
        remedy=remedy,
        figures=_finite(figures or {}),
    )


def not_checked(name: str, reason: str) -> Check:
    """Return a check that could not be made, and why."""
    return Check(name=name, status="not checked", evidence=(reason,))


def counts(checks: Sequence[Check]) -> dict[Status, int]:
    """Return how many checks ended how."""
    statuses: tuple[Status, ...] = ("pass", "warn", "fail", "not checked")
    return {status: sum(check.status == status for check in checks) for status in statuses}


def _lines(evidence: Lines) -> tuple[str, ...]:
    return (evidence,) if isinstance(evidence, str) else tuple(evidence)


def _finite(figures: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures with what JSON cannot hold as text: infinity is evidence, no number."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
