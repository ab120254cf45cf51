"""From what was said to a call to rows of files: of `judgments.jsonl`, and of the log of calls."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ketchup_cli.judging.answers import UNKNOWN_USAGE
from ketchup_cli.judging.calls import Call
from ketchup_cli.judging.client import Said
from ketchup_cli.judging.flags import flags_of
from ketchup_cli.judging.tally import Judgment

_UNSWAPPED: Mapping[tuple[str, str], Literal["x", "y"]] = {
    ("xy", "1"): "x", ("xy", "2"): "y", ("yx", "1"): "y", ("yx", "2"): "x",
}  # fmt: skip


class Logged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one call went: a row of `logs/calls.jsonl`, which is no part of the digest."""

    key: str
    judge: str
    cached: bool
    """Whether it was answered before; then the rest is of that time."""
    attempts: int
    latency_ms: float
    cost: str
    """In the unit of the prices, a decimal number."""
    raw_sha256: str
    """Of the body of the answer, which the file of kept answers holds whole."""


def logged(said: Said, *, judge: str) -> Logged:
    """Return the row of the log for what was said."""
    return Logged(
        key=said.key,
        judge=judge,
        cached=said.cached,
        attempts=said.attempts,
        latency_ms=said.latency_ms,
        cost=str(said.cost),
        raw_sha256=said.raw_sha256,
    )


def judgments(call: Call, said: Said, *, judge: str) -> tuple[Judgment, ...]:
    """Return the rows of a call about two texts, one an aspect; a control has that of the first."""
    aspects = tuple(call.question.aspects)[: None if call.control is None else 1]
    return tuple(_judgment(call, said, aspect=aspect, judge=judge) for aspect in aspects)


def _judgment(call: Call, said: Said, *, aspect: str, judge: str) -> Judgment:
    answer = said.answer
    slot: Any = answer.verdict if answer.verdicts is None else answer.verdicts[aspect]
    verdict: Literal["x", "y", "tie"] | None = None
    if slot is not None:
        slot = sys.intern(slot)
        verdict = _UNSWAPPED.get((call.order, slot), "tie")
    first, second = call.question.first, call.question.second or ""
    texts = (first, second) if call.order == "xy" else (second, first)
    usage = answer.usage or UNKNOWN_USAGE
    return Judgment(
        key=said.key,
        item=call.item,
        aspect=aspect,
        x=call.x,
        y=call.y,
        order=call.order,
        repeat=call.repeat,
        outcome=answer.outcome,
        slot=slot,
        verdict=verdict,
        reason=answer.reason,
        detail=answer.detail,
        control=call.control,
        expected=call.expected,
        # the same in nearly every answer: one text for all of them
        model=sys.intern(answer.model),
        fingerprint=sys.intern(answer.fingerprint),
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        usage_estimated=usage.estimated,
        characters=(len(texts[0]), len(texts[1])),
        flags=flags_of(call.question),
        judge=judge,
        p=answer.p,
        coverage=answer.coverage,
    )
