"""What a server can do, found by asking it: two questions with a plain answer, form by form.

A server may take a setting without an error and ignore it, so a form counts only if both answers come
back in it. A setting it refuses by name is dropped, or renamed, once, and that is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_args

import msgspec

from ketchup_cli.errors import JudgeError
from ketchup_cli.judging.answers import Answer, Protocol
from ketchup_cli.judging.prompts import SCHEMA, Question, messages

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

_PLAIN = (
    Question(
        task="Write a short summary of the source text.",
        aspect="coherence",
        definition="Reads as one connected text.",
        source="The bridge was closed for a week. It opens again on Monday.",
        first="The bridge opens again on Monday after a week.",
        second="on on the the bridge bridge week opens",
    ),
    Question(
        task="Write a short summary of the source text.",
        aspect="coherence",
        definition="Reads as one connected text.",
        source="Bread rises because yeast makes gas in the dough.",
        first="gas gas yeast because bread in",
        second="Yeast makes gas, and so bread rises.",
    ),
)
_SETTINGS = ("response_format", "seed", "temperature", "max_tokens", "max_completion_tokens")


class Abilities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found, and what is therefore sent: part of the result."""

    protocol: Protocol
    dropped: tuple[str, ...] = ()
    """Settings the server refused."""
    renamed: dict[str, str] = {}
    refused: dict[str, str] = {}
    """Forms that did not work, and why."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of any server."""

    model: str
    max_tokens: int
    temperature: float
    seed: int


Send = Callable[[Mapping[str, Any], Protocol], Awaitable[Answer]]
"""Asks once and classifies; failures of the transport have been retried."""


def body_of(question: Question, settings: Settings, abilities: Abilities) -> dict[str, Any]:
    """Return everything that is sent for a question."""
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": messages(question, protocol=abilities.protocol),
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "seed": settings.seed,
    }
    if abilities.protocol == "json_schema":
        schema = {"name": "verdict", "strict": True, "schema": SCHEMA}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif abilities.protocol == "json_object":
        body["response_format"] = {"type": "json_object"}
    for name in abilities.dropped:
        body.pop(name, None)
    for name, instead in abilities.renamed.items():
        if name in body:
            body[instead] = body.pop(name)
    return body


async def probe(send: Send, settings: Settings) -> Abilities:
    """Return the first form in which both plain questions are answered.

    Raises:
        JudgeError: there is none; the message says what each came to.
    """
    refused: dict[str, str] = {}
    for protocol in PROTOCOLS:
        found = await _try(send, settings, Abilities(protocol=protocol))
        if isinstance(found, Abilities):
            return msgspec.structs.replace(found, refused=refused)
        refused[protocol] = found
    told = "; ".join(f"{name}: {why}" for name, why in refused.items())
    raise JudgeError(
        f"`{settings.model}` gives no verdict in any form ({told})",
        hint="try another model; or --set protocol=text, which counts what cannot be read",
    )


async def _try(send: Send, settings: Settings, abilities: Abilities) -> Abilities | str:
    """Return what works with this form, or why it does not."""
    number = 0
    while number < len(_PLAIN):
        body = body_of(_PLAIN[number], settings, abilities)
        answer = await send(body, abilities.protocol)
        if answer.outcome == "ok":
            number += 1
            continue
        changed = _adapted(answer, body, abilities)
        if changed is None:
            return f"{answer.outcome} {answer.detail}".strip()
        abilities = changed
    return abilities


def _adapted(answer: Answer, body: Mapping[str, Any], abilities: Abilities) -> Abilities | None:
    """Return the abilities without a setting that the answer refuses by name, or None."""
    if answer.outcome != "http_4xx":
        return None
    named = [
        name for name in _SETTINGS if name in body and re.search(rf"\b{name}\b", answer.detail)
    ]
    if "max_tokens" in named and "max_completion_tokens" not in body:
        renamed = {**abilities.renamed, "max_tokens": "max_completion_tokens"}
        return msgspec.structs.replace(abilities, renamed=renamed)
    droppable = [name for name in named if name in {"seed", "temperature"}]
    if not droppable:
        return None
    return msgspec.structs.replace(abilities, dropped=(*abilities.dropped, droppable[0]))
