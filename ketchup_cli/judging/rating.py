"""Ratings: one text at a time, from 1 to 5; its questions, its controls and its rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import msgspec

from ketchup_cli.judging.answers import UNKNOWN_USAGE
from ketchup_cli.judging.calls import (
    CONTROLS,
    Control,
    Form,
    Item,
    find_control,
    in_control_order,
)
from ketchup_cli.judging.client import Said
from ketchup_cli.judging.flags import SUSPICIOUS, Flag, flags_of
from ketchup_cli.judging.prompts import Question, cap

LEAST, MOST = 1, 5
SPOILT: tuple[Control, ...] = tuple(kind for kind in CONTROLS if kind != "identical")
"""Controls of a rating: each must be rated below the system's own text for the same item."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RatingCall:
    """One question about one text, on one aspect or several."""

    item: str
    system: str
    repeat: int
    question: Question
    control: Control | None = None

    @property
    def marks(self) -> tuple[str | int, ...]:
        """What tells it from every other call."""
        aspects = self.question.aspects
        return (self.item, self.system, self.control or "", *aspects, self.repeat)


class Rated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One call and what it came to: a line of `judgments.jsonl`."""

    key: str
    item: str
    aspect: str
    system: str
    repeat: int
    judge: str
    outcome: str
    rating: int | None
    """The one that was answered, or the likeliest."""
    value: float | None
    """What counts: the mean over the probabilities where they are known, else the rating."""
    p: dict[str, float] | None
    coverage: float | None
    reason: str
    detail: str
    control: str | None
    model: str
    fingerprint: str
    prompt_tokens: int
    """Of the whole call, which may have been about other aspects as well."""
    cached_tokens: int
    """Of those of the prompt, what the server had seen before."""
    completion_tokens: int
    reasoning_tokens: int
    """Of those of the completion, what was thought and not shown."""
    usage_estimated: bool
    characters: int
    flags: tuple[Flag, ...] = ()

    @property
    def suspicious(self) -> bool:
        """Whether the text talks to a judge."""
        return SUSPICIOUS in self.flags


def rating_calls(
    items: Sequence[Item], systems: Sequence[str], form: Form
) -> tuple[RatingCall, ...]:
    """Return all questions of a rating, without its controls."""
    return tuple(
        RatingCall(
            item=item.id,
            system=system,
            repeat=repeat,
            question=_question(item, item.texts[system], aspects=aspects, form=form),
        )
        for item in items
        for system in systems
        for aspects in form.asked
        for repeat in range(form.repeats)
    )


def rating_controls(
    items: Sequence[Item], systems: Sequence[str], form: Form, *, count: int, seed: int
) -> tuple[RatingCall, ...]:
    """Return spoilt texts, kinds in turn, each of an item whose own text is rated as well."""
    aspects = form.asked[0]
    ranked = in_control_order(items, seed=seed)
    found: list[RatingCall] = []
    for number in range(count):
        kind = SPOILT[number % len(SPOILT)]
        system = systems[(number // len(SPOILT)) % len(systems)]
        made = find_control(kind, ranked, number, system=system)
        if made is None:
            continue
        item, _, bad = made
        question = _question(item, bad, aspects=aspects, form=form)
        found.append(
            RatingCall(
                item=item.id,
                system=system,
                repeat=0,
                question=question,
                control=kind,
            )
        )
    return tuple(found)


def _question(item: Item, text: str, *, aspects: Mapping[str, str], form: Form) -> Question:
    (shown,) = cap((text,), characters=form.characters)
    return Question(
        task=form.task,
        aspects=aspects,
        source=item.source,
        first=shown,
        second=None,
        reference=item.reference if form.with_reference else None,
        cut=len(text) > form.characters,
    )


def rated(call: RatingCall, said: Said, *, judge: str) -> tuple[Rated, ...]:
    """Return the rows of a call about one text, one an aspect; a control has that of the first."""
    aspects = tuple(call.question.aspects)[: None if call.control is None else 1]
    return tuple(_row(call, said, aspect=aspect, judge=judge) for aspect in aspects)


def _row(call: RatingCall, said: Said, *, aspect: str, judge: str) -> Rated:
    answer = said.answer
    chosen = answer.verdict if answer.verdicts is None else answer.verdicts[aspect]
    rating = None if chosen is None else int(chosen)
    value = None if rating is None else float(rating)
    if value is not None and answer.p is not None:
        value = sum(int(choice) * share for choice, share in answer.p.items())
    usage = answer.usage or UNKNOWN_USAGE
    return Rated(
        key=said.key,
        item=call.item,
        aspect=aspect,
        system=call.system,
        repeat=call.repeat,
        judge=judge,
        outcome=answer.outcome,
        rating=rating,
        value=value,
        p=answer.p,
        coverage=answer.coverage,
        reason=answer.reason,
        detail=answer.detail,
        control=call.control,
        model=sys.intern(answer.model),
        fingerprint=sys.intern(answer.fingerprint),
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        usage_estimated=usage.estimated,
        characters=len(call.question.first),
        flags=flags_of(call.question),
    )
