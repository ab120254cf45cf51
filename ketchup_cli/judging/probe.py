"""What a server can do, found by asking it: two questions with a plain answer, form by form.

A server may take a setting without an error and ignore it, so a form counts only if both answers come
back in it. A setting it refuses by name is dropped, or renamed, once, and that is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ketchup_cli.errors import JudgeError, JudgeUnreachable
from ketchup_cli.judging.answers import Answer
from ketchup_cli.judging.menus import RATINGS, VERDICTS, Menu, Protocol
from ketchup_cli.judging.odds import TOP
from ketchup_cli.judging.prompts import Question, messages

SPOKEN: tuple[Protocol, ...] = ("json_schema", "json_object", "text")
"""Forms in which a judge says a reason and a choice, the strictest first."""

_CONNECTED = "Reads as one connected text."
_PLAIN = (
    Question(
        task="Write a short summary of the source text.",
        aspects={"coherence": _CONNECTED},
        source="The bridge was closed for a week. It opens again on Monday.",
        first="The bridge opens again on Monday after a week.",
        second="on on the the bridge bridge week opens",
    ),
    Question(
        task="Write a short summary of the source text.",
        aspects={"coherence": _CONNECTED},
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


def plain(menu: Menu) -> tuple[Question, ...]:
    """Return two questions that any judge can answer in some way."""
    aspects = dict.fromkeys(menu.aspects, _CONNECTED) or {"coherence": _CONNECTED}
    found = tuple(replace(question, aspects=aspects) for question in _PLAIN)
    if menu.key == VERDICTS.key:
        return found
    return tuple(replace(question, second=None) for question in found)


def tried(menu: Menu) -> tuple[Protocol, ...]:
    """Return the forms that `auto` tries: a mean rating is finer than the likeliest one.

    One token answers one question, so several aspects are asked about in words.
    """
    if menu.key == RATINGS.key and not menu.aspects:
        return ("logprob", *SPOKEN)
    return SPOKEN


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
        menu = question.menu
        schema = {"name": menu.key, "strict": True, "schema": menu.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif abilities.protocol == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif abilities.protocol == "logprob":
        # no response_format: under a grammar they would be of tokens that were not chosen
        body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
    for name in abilities.dropped:
        body.pop(name, None)
    for name, instead in abilities.renamed.items():
        if name in body:
            body[instead] = body.pop(name)
    return body


async def probe(
    send: Send, settings: Settings, *, protocols: Sequence[Protocol], menu: Menu = VERDICTS
) -> Abilities:
    """Return the first form in which both plain questions are answered.

    Args:
        send: asks once.
        settings: of every question.
        protocols: forms to try, in this order.
        menu: what may be answered.

    Raises:
        JudgeError: there is none; the message says what each came to.
        JudgeUnreachable: the server fails at every form.
    """
    refused: dict[str, Answer] = {}
    for protocol in protocols:
        found = await try_form(send, settings, protocol=protocol, menu=menu)
        if isinstance(found, Abilities):
            why = {name: described(answer) for name, answer in refused.items()}
            return msgspec.structs.replace(found, refused=why)
        refused[protocol] = found
    raise _no_judge(refused, settings, menu)


def _no_judge(refused: Mapping[str, Answer], settings: Settings, menu: Menu) -> JudgeError:
    """Return what to say, and what may help, where no form worked."""
    told = "; ".join(f"{name}: {described(answer)}" for name, answer in refused.items())
    outcomes = {answer.outcome for answer in refused.values()}
    if outcomes == {"http_5xx"}:
        return JudgeUnreachable(
            f"the server of `{settings.model}` fails at every request ({told})",
            hint="see what the server logs, then give the same command again",
        )
    if tuple(refused) == ("logprob",):
        return JudgeError(
            f"`{settings.model}` gives no log-probabilities of a {menu.key} ({told})",
            hint="--protocol auto asks for an answer in words",
        )
    hint = "try another model; or --protocol text, which counts what cannot be read"
    if "length" in outcomes:
        hint = f"--set max_tokens={8 * settings.max_tokens}"
    return JudgeError(f"`{settings.model}` gives no {menu.key} in any form ({told})", hint=hint)


def described(answer: Answer) -> str:
    """Return what an answer came to, and why, in one short line."""
    return f"{answer.outcome} {answer.detail}".strip()


async def try_form(
    send: Send, settings: Settings, *, protocol: Protocol, menu: Menu = VERDICTS
) -> Abilities | Answer:
    """Return what works where both plain questions are asked in one form, or what came instead."""
    return await _try(send, settings, Abilities(protocol=protocol), plain(menu))


async def _try(
    send: Send, settings: Settings, abilities: Abilities, asked: Sequence[Question]
) -> Abilities | Answer:
    """Return what works with this form, or what came instead of an answer."""
    number = 0
    while number < len(asked):
        body = body_of(asked[number], settings, abilities)
        answer = await send(body, abilities.protocol)
        if answer.outcome == "ok":
            number += 1
            continue
        changed = _adapted(answer, body, abilities)
        if changed is None:
            return answer
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
