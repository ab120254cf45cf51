"""From the bytes of a response to a verdict, or to the name of what went wrong.

Nothing a server sends is trusted: the body is decoded strictly, every field that is read is checked,
and a text that is not exactly a verdict is not one. An answer that cannot be used is never a tie.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from ketchup_cli.judging.menus import VERDICTS, Menu, Protocol
from ketchup_cli.judging.odds import COVERED, odds, read_odds

Outcome = Literal[
    "ok", "refusal", "content_filter", "length", "invalid_json", "off_menu", "empty",
    "http_4xx", "http_5xx", "timeout", "transport",
]  # fmt: skip
OUTCOMES: tuple[str, ...] = get_args(Outcome)

FORMAT_FAILURES = ("length", "invalid_json", "off_menu", "empty")
"""Asked once more; a length failure with twice the room."""
DECLINED = ("refusal", "content_filter")
"""Asked once more, then left unjudged."""

CUT = "the answer was cut: max_tokens is too small"
REASON_CHARACTERS = 600
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.S)
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.S)

Tokens = Annotated[int, Meta(ge=0)]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a call was billed for; `estimated` where the server did not say."""

    prompt: Tokens
    completion: Tokens
    cached: Tokens = 0
    reasoning: Tokens = 0
    """Of those of the completion, what was thought and not shown."""
    estimated: bool = False


UNKNOWN_USAGE = Usage(prompt=0, completion=0, estimated=True)


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one call came to.

    Invariant: `verdict`, or `verdicts` where several aspects were asked about, is set exactly where
    `outcome` is ok, and `p` where the probabilities of one token were asked for as well.
    """

    outcome: Outcome
    verdict: str | None = None
    """A choice of the menu; of two candidates, in terms of the slots that were shown."""
    verdicts: dict[str, str] | None = None
    """A choice for each of several aspects."""
    p: dict[str, float] | None = None
    """Probability of every choice, where it was read from one token."""
    coverage: float | None = None
    """Probability of that token being a choice at all."""
    reason: str = ""
    usage: Usage | None = None
    model: str = ""
    """As the server names itself."""
    fingerprint: str = ""
    detail: str = ""
    """What was wrong, for the person who reads the counts."""


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: Tokens
    completion_tokens: Tokens
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct, frozen=True):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: msgspec.Raw = msgspec.Raw(b"null")
    model: str | None = None
    system_fingerprint: str | None = None


def read_answer(
    body: bytes, *, content_type: str, protocol: Protocol, menu: Menu = VERDICTS
) -> Answer:
    """Return what the body of a response of status 200 says.

    Args:
        body: the response, whole.
        content_type: as its header says; anything but JSON is no answer of a model.
        protocol: the form the answer was asked in.
        menu: what may be answered.
    """
    if "json" not in content_type.lower():
        return Answer(
            outcome="transport",
            detail=f"the server answers `{_short(content_type)}`; is the address right? It"
            " usually ends in /v1",
        )
    try:
        decoded = msgspec.json.decode(_without_lone_surrogates(body), type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer(outcome="transport", detail=f"not a chat completion: {_short(str(error))}")
    choice = decoded.choices[0]
    found = Answer(
        outcome="empty",
        usage=_usage(decoded.usage),
        model=scrub(decoded.model or ""),
        fingerprint=scrub(decoded.system_fingerprint or ""),
    )
    if choice.finish_reason == "content_filter":
        return _with(found, outcome="content_filter")
    if choice.message.refusal:
        return _with(found, outcome="refusal", detail=_short(choice.message.refusal))
    if protocol == "logprob":
        return _as_odds(choice, found, menu)
    if choice.finish_reason == "length":
        return _with(found, outcome="length", detail=CUT)
    text = scrub(choice.message.content or "").strip()
    if not text:
        return found
    return _as_text(text, found, menu) if protocol == "text" else _as_json(text, found, menu)


def _without_lone_surrogates(body: bytes) -> bytes:
    """Return the body as it is, or, where half a character is escaped in it, without that half."""
    if b"\\ud" not in body.lower():
        return body
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return body
    return text.encode("utf-8", "replace")


def _as_odds(choice: _Choice, found: Answer, menu: Menu) -> Answer:
    """Return the likeliest choice of the first token, with the probability of each."""
    logp = read_odds(choice.logprobs)
    if isinstance(logp, str):
        return _with(found, outcome="off_menu", detail=logp)
    p, coverage = odds(logp, menu)
    if coverage < COVERED:
        told = f"{coverage:.0%} of the probability is on {', '.join(menu.tokens)}"
        return _with(found, outcome="off_menu", coverage=coverage, detail=told)
    return _with(found, outcome="ok", verdict=max(p, key=p.__getitem__), p=p, coverage=coverage)


def _as_json(text: str, found: Answer, menu: Menu) -> Answer:
    """Return the choice of exactly one object, bare or in one fence."""
    bare = _THOUGHT.sub("", text, count=1).strip()
    fenced = _FENCE.findall(bare)
    if len(fenced) > 1:
        return _with(found, outcome="invalid_json", detail="several fenced blocks")
    try:
        whole = _without_lone_surrogates((fenced[0] if fenced else bare).encode())
        spoken = msgspec.json.decode(whole, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return _with(found, outcome="invalid_json", detail=_short(str(error)))
    reason = spoken.get("reason")
    key = menu.several if menu.aspects else menu.key
    if set(spoken) != {"reason", key} or not isinstance(reason, str):
        return _with(found, outcome="invalid_json", detail=f"not a reason and {_a(key)}")
    said = spoken[key] if menu.aspects else {menu.key: spoken[key]}
    if not isinstance(said, dict) or set(said) != set(menu.aspects or (menu.key,)):
        told = f"the {key} are not of {', '.join(menu.aspects)}"
        return _with(found, outcome="invalid_json", detail=told)
    for name, choice in said.items():
        # a bool is an int to Python, and no rating
        if type(choice) is not (int if menu.as_number else str) or str(choice) not in menu.choices:
            told = f"the {name} is `{_short(str(choice))}`"
            return _with(found, outcome="off_menu", detail=told)
    return _chosen(found, {name: str(choice) for name, choice in said.items()}, reason, menu)


def _a(key: str) -> str:
    return key if key.endswith("s") else f"a {key}"


def _chosen(found: Answer, said: dict[str, str], reason: str, menu: Menu) -> Answer:
    """Return the answer with its choice, or with that of every aspect in the order of the menu."""
    reason = reason[:REASON_CHARACTERS]
    if not menu.aspects:
        return _with(found, outcome="ok", verdict=said[menu.key], reason=reason)
    verdicts = {name: said[name] for name in menu.aspects}
    return _with(found, outcome="ok", verdicts=verdicts, reason=reason)


def _as_text(text: str, found: Answer, menu: Menu) -> Answer:
    """Return the choice of the last line, or of the last ones, which must be one and nothing else."""
    lines = [line.strip() for line in _THOUGHT.sub("", text, count=1).splitlines() if line.strip()]
    names = menu.aspects or (menu.key,)
    form = rf"({'|'.join(map(re.escape, names))}):\s*({'|'.join(menu.choices)})"
    last = lines[-len(names) :]
    matches = [re.fullmatch(form, line, re.I) for line in last]
    said = {match[1].casefold(): match[2].lower() for match in matches if match}
    if len(said) != len(names) or len(last) != len(names):
        wrong = next((line for line, match in zip(last, matches, strict=True) if not match), "")
        return _with(found, outcome="off_menu", detail=f"last line `{_short(wrong)}`")
    choices = {name: said[name.casefold()] for name in names}
    return _chosen(found, choices, " ".join(lines[: -len(names)]), menu)


def _usage(raw: msgspec.Raw) -> Usage | None:
    """Return the tokens a server reports, or None where what it says cannot be so."""
    try:
        usage = msgspec.json.decode(raw, type=_Usage)
    except msgspec.DecodeError:
        return None
    seen, thought = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
        cached=min(usage.prompt_tokens, (seen and seen.cached_tokens) or 0),
        reasoning=min(usage.completion_tokens, (thought and thought.reasoning_tokens) or 0),
    )


def scrub(text: str) -> str:
    """Return the text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _short(text: str) -> str:
    return " ".join(scrub(text).split())[:200]


def _with(answer: Answer, **changes: Any) -> Answer:
    return msgspec.structs.replace(answer, **changes)
