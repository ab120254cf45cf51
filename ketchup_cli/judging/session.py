"""Asking all questions of a judgement: workers, order, and what an interruption leaves."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, final

import msgspec

from ketchup_cli.errors import JudgeError, JudgeUnreachable, OverBudget
from ketchup_cli.judging import menus
from ketchup_cli.judging.answers import Answer
from ketchup_cli.judging.client import Ask, Judge, OutOfBudget, Said
from ketchup_cli.judging.menus import VERDICTS, Menu
from ketchup_cli.judging.probe import SPOKEN, Abilities, Settings, body_of, probe, tried
from ketchup_cli.judging.prompts import Question
from ketchup_cli.judging.responses import Kept, request_key

_ROUND = 512
"""Answers that are read between two looks at what else goes on."""
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


AnyCall = TypeVar("AnyCall", bound=Asked)
Row = TypeVar("Row")


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

    protocols = tried(server.menu) if server.protocol == "auto" else (server.protocol,)
    try:
        found = await probe(send, server.settings, protocols=protocols, menu=server.menu)
    except OutOfBudget:
        raise _over_budget(judge, done=0) from None
    judge.kept.keep_fact(fact, msgspec.json.encode(found))
    return found


@final
class Asking(Generic[AnyCall, Row]):
    """All calls to one judge, on their way to rows; the rows of a call are made as it is answered.

    Example: `asking = Asking(judge, server, calls, abilities=found, made=rows)`, then
    `await asking.replay()`, `await asking.ask(told)`, and `asking.rows`.
    """

    def __init__(
        self,
        judge: Judge,
        server: Server,
        calls: Sequence[AnyCall],
        *,
        abilities: Abilities,
        made: Callable[[AnyCall, Said], tuple[Row, ...]],
    ) -> None:
        """Begin with nothing answered."""
        self._judge = judge
        self._server = server
        self._calls = calls
        self.abilities = abilities
        self._made = made
        self._found: list[tuple[Row, ...]] = [()] * len(calls)
        self._left = list(range(len(calls)))

    @property
    def done(self) -> int:
        """How many calls are answered."""
        return len(self._calls) - len(self._left)

    @property
    def rows(self) -> tuple[Row, ...]:
        """What was made of all answers, in the order of the calls."""
        return tuple(itertools.chain.from_iterable(self._found))

    async def replay(self) -> None:
        """Take every answer that is kept; nobody is asked."""
        left: list[int] = []
        for number in self._left:
            said = self._judge.recall(self._request(number))
            if said is None:
                left.append(number)
            else:
                self._found[number] = self._made(self._calls[number], said)
            if number % _ROUND == 0:
                # where an interruption is heard
                await asyncio.sleep(0)
        self._left = left

    async def ask(self, told: Callable[[Said], None]) -> None:
        """Ask what is left, at most `judge.means.pace.most` calls at a time.

        The first error stops all workers; what was answered is kept.

        Raises:
            OverBudget: the next request might cost more than is left.
            JudgeError: no request can succeed, or nobody answers.
        """
        waiting, left = iter(self._left), set(self._left)

        async def work() -> None:
            for number in waiting:
                said = await self._judge.ask(self._request(number))
                self._found[number] = self._made(self._calls[number], said)
                left.discard(number)
                told(said)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._judge.means.pace.most, len(left))):
                    group.create_task(work())
        except BaseExceptionGroup as several:
            raise _one_of(several, self._judge, done=len(self._calls) - len(left)) from None
        finally:
            self._left = sorted(left)

    def _request(self, number: int) -> Ask:
        return request(self._calls[number], self._server, self.abilities)


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
    judge: Judge, server: Server, calls: Iterable[Asked], abilities: Abilities
) -> Iterator[Kept | None]:
    """Yield what is kept of every call; None where it has to be asked."""
    for call in calls:
        ask = request(call, server, abilities)
        yield judge.kept.get(request_key(server.address, ask.body, repeat=ask.repeat))


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
    if server.menu.aspects:
        asked |= {"aspects": server.menu.aspects}
    return request_key(server.address, asked, repeat=0)
