"""Asking all questions of a judgement: workers, order, and what an interruption leaves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import msgspec

from ketchup_cli.errors import JudgeError, JudgeUnreachable, OverBudget
from ketchup_cli.judging import menus
from ketchup_cli.judging.answers import Answer
from ketchup_cli.judging.calls import Call
from ketchup_cli.judging.client import Ask, Judge, OutOfBudget, Said
from ketchup_cli.judging.menus import VERDICTS, Menu
from ketchup_cli.judging.probe import SPOKEN, TRIED, Abilities, Settings, body_of, probe
from ketchup_cli.judging.prompts import Question, looks_like_a_verdict
from ketchup_cli.judging.responses import Kept, request_key
from ketchup_cli.judging.tally import Judgment

_UNSWAPPED: Mapping[tuple[str, str], Literal["x", "y"]] = {
    ("xy", "1"): "x", ("xy", "2"): "y", ("yx", "1"): "y", ("yx", "2"): "x",
}  # fmt: skip
_LARGEST_SEED = 2**31 - 1
"""Servers hold a seed in as few as 32 bits, some of them with a sign."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Whom to ask and with which settings."""

    address: str
    settings: Settings
    protocol: Literal["auto"] | menus.Protocol
    menu: Menu = VERDICTS
    """Of the questions it is asked."""
    name: str = ""
    """Under which its answers stand in the result."""


class Asked(Protocol):
    """A question of any kind, on its way to a judge."""

    @property
    def question(self) -> Question:
        """What is asked."""

    @property
    def repeat(self) -> int:
        """Number of the same question asked again on purpose."""

    @property
    def marks(self) -> tuple[str | int, ...]:
        """What tells it from every other call of a judgement."""


async def abilities_of(judge: Judge, server: Server) -> Abilities:
    """Return what the server can do: found once, and kept beside the answers.

    Raises:
        OverBudget: finding out might cost more than is left.
        JudgeError: it gives no answer in any form, or no log-probabilities where those are asked for.
        JudgeUnreachable: nobody answers.
    """
    if server.protocol in SPOKEN:
        return Abilities(protocol=server.protocol)
    fact = _fact(server)
    known = judge.kept.fact(fact)
    if known is not None:
        return msgspec.json.decode(known, type=Abilities)

    if judge.wire is None:
        raise JudgeError(
            f"what `{server.settings.model}` can do is not kept, and nobody is asked",
            hint="leave out --cache-only once, or name the --protocol",
        )

    async def send(body: Mapping[str, Any], protocol: menus.Protocol) -> Answer:
        answer = (await judge.ask(Ask(body=body, protocol=protocol, menu=server.menu))).answer
        if answer.outcome in {"timeout", "transport"}:
            # another form would fare no better: nothing that speaks this language answers
            raise _nobody(judge, answer)
        return answer

    protocols = TRIED[server.menu] if server.protocol == "auto" else (server.protocol,)
    try:
        found = await probe(send, server.settings, protocols=protocols, menu=server.menu)
    except OutOfBudget:
        raise _over_budget(judge, done=0) from None
    judge.kept.keep_fact(fact, msgspec.json.encode(found))
    return found


async def run(
    judge: Judge,
    server: Server,
    calls: Sequence[Call],
    *,
    abilities: Abilities,
    told: Callable[[Said], None],
) -> tuple[Judgment, ...]:
    """Return what every call about two texts came to, in the order of the calls."""
    found = await ask_all(judge, server, calls, abilities=abilities, told=told)
    return tuple(
        judgment(call, said, judge=server.name) for call, said in zip(calls, found, strict=True)
    )


async def ask_all(
    judge: Judge,
    server: Server,
    calls: Sequence[Asked],
    *,
    abilities: Abilities,
    told: Callable[[Said], None],
) -> tuple[Said, ...]:
    """Return what was said to every call, in the order of the calls.

    At most `judge.means.pace.most` workers take one call after another. The first error stops them all; what
    was answered is kept.

    Raises:
        OverBudget: the next request might cost more than is left.
        JudgeError: no request can succeed, or nobody answers.
    """
    found: list[Said | None] = [None] * len(calls)
    waiting = iter(range(len(calls)))

    async def work() -> None:
        for number in waiting:
            call = calls[number]
            said = await judge.ask(request(call, server, abilities))
            found[number] = said
            told(said)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(judge.means.pace.most, len(calls))):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise _one_of(several, judge, done=sum(said is not None for said in found)) from None
    return tuple(said for said in found if said is not None)


def _one_of(several: BaseExceptionGroup, judge: Judge, *, done: int) -> BaseException:
    """Return what stopped the workers: a fault of ours first, then a refusal, then the budget."""
    faults = [error for error in several.exceptions if not isinstance(error, OutOfBudget)]
    if faults:
        return min(faults, key=lambda error: isinstance(error, JudgeError))
    return _over_budget(judge, done=done)


def _nobody(judge: Judge, answer: Answer) -> JudgeError:
    if judge.nowhere:
        return JudgeUnreachable(
            f"no answer from the judge at {judge.address}: {answer.detail}",
            hint="see that the server runs, then give the same command again",
        )
    return JudgeError(
        f"no judge answers at {judge.address}: {answer.detail}",
        hint="see base_url; the address of chat completions usually ends in /v1",
    )


def _over_budget(judge: Judge, *, done: int) -> OverBudget:
    budget = judge.means.budget
    return OverBudget(
        f"the budget of {budget.limit} is reached: {done:,} calls are answered, {budget.spent:.4f}"
        " is spent",
        hint="give the same command with a larger budget: what is paid for is not asked again",
    )


def request(call: Asked, server: Server, abilities: Abilities) -> Ask:
    """Return what is sent for a call.

    Above temperature 0 every call has a seed of its own: from one seed a server draws the same
    numbers for every question, and what chance decides would be decided alike in all of them.
    """
    settings = server.settings
    if settings.temperature > 0:
        parts = (settings.seed, *call.marks)
        drawn = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
        seed = int.from_bytes(drawn[:4], "big") & _LARGEST_SEED
        settings = msgspec.structs.replace(settings, seed=seed)
    body = body_of(call.question, settings, abilities)
    return Ask(body=body, protocol=abilities.protocol, menu=call.question.menu, repeat=call.repeat)


def kept_answers(
    judge: Judge, server: Server, calls: Sequence[Asked], abilities: Abilities
) -> tuple[Kept | None, ...]:
    """Return what is kept of every call; None where it has to be asked."""
    asks = (request(call, server, abilities) for call in calls)
    keys = (request_key(server.address, ask.body, repeat=ask.repeat) for ask in asks)
    return tuple(judge.kept.get(key) for key in keys)


def known_abilities(judge: Judge, server: Server) -> Abilities | None:
    """Return what the server can do where that is settled without asking it."""
    if server.protocol in SPOKEN:
        return Abilities(protocol=server.protocol)
    known = judge.kept.fact(_fact(server))
    return None if known is None else msgspec.json.decode(known, type=Abilities)


def _fact(server: Server) -> str:
    asked = msgspec.to_builtins(server.settings)
    if (server.protocol, server.menu) != ("auto", VERDICTS):
        asked |= {"protocol": server.protocol, "menu": server.menu.key}
    return request_key(server.address, asked, repeat=0)


def judgment(call: Call, said: Said, *, judge: str) -> Judgment:
    """Return the row of a call about two texts."""
    answer = said.answer
    slot: Any = answer.verdict
    verdict: Literal["x", "y", "tie"] | None = None
    if slot is not None:
        verdict = _UNSWAPPED.get((call.order, slot), "tie")
    first, second = call.question.first, call.question.second or ""
    texts = (first, second) if call.order == "xy" else (second, first)
    usage = answer.usage
    return Judgment(
        key=said.key,
        item=call.item,
        aspect=call.aspect,
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
        model=answer.model,
        fingerprint=answer.fingerprint,
        prompt_tokens=0 if usage is None else usage.prompt,
        completion_tokens=0 if usage is None else usage.completion,
        usage_estimated=usage is None or usage.estimated,
        characters=(len(texts[0]), len(texts[1])),
        suspicious=any(looks_like_a_verdict(text) for text in texts),
        judge=judge,
        p=answer.p,
        coverage=answer.coverage,
    )
