"""Asking a judge: one request, its retries, its cost; over the `openai` package.

    reserve the cost -> kept already? -> wait for a place -> attempt within a deadline -> classify
    -> keep a usable answer -> settle the cost -> retry what may pass

The package's own retries are off: it does not retry a broken body, gives up on a long Retry-After and
has no deadline for a whole answer. Redirects are off as well: a second host would be shown the prompt.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, final

from ketchup_cli.errors import JudgeUnreachable, SpecError
from ketchup_cli.judging.answers import DECLINED, FORMAT_FAILURES, Answer, Usage
from ketchup_cli.judging.budget import Budget
from ketchup_cli.judging.menus import VERDICTS, Menu, Protocol
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.replies import read_reply
from ketchup_cli.judging.responses import Kept, Responses, request_key
from ketchup_cli.judging.retrying import Limits, Patience, refuse
from ketchup_cli.judging.wire import Failure, Reply, Wire, most_tokens

UNREACHABLE = 20
"""Failures of the transport or the server in a row, over all requests, after which all stop."""
_LOST = frozenset({"http_5xx", "timeout", "transport"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request: everything that is sent, and how its answer is read."""

    body: Mapping[str, Any]
    protocol: Protocol
    menu: Menu = VERDICTS
    repeat: int = 0

    def room(self) -> int:
        """Return the tokens the answer may have."""
        return int(self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What became of a request."""

    answer: Answer
    key: str
    cached: bool
    attempts: int
    latency_ms: float
    cost: Decimal
    raw_sha256: str = ""
    """Of the body the answer was read from; empty where there was none."""


class OutOfBudget(Exception):
    """Raised where the next request might pass the budget; nothing was sent."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What requests share: how many at once, what they may cost, how long to try."""

    pace: Pace
    budget: Budget
    limits: Limits
    job: str = ""
    """Under which what calls cost is written down."""
    refresh: bool = False
    """Whether to ask again what is kept."""


@final
class Judge:
    """A server, and all that is shared between the requests to it.

    Invariant: a usable answer is kept before anything else is asked by the same worker.

    Example: `said = await Judge(wire, kept, means, address=url).ask(ask)`
    """

    def __init__(self, wire: Wire | None, kept: Responses, means: Means, *, address: str) -> None:
        """Prepare; `wire` None asks nobody and answers from what is kept."""
        self.wire = wire
        self.kept = kept
        self.means = means
        self.address = address
        self.retries = 0
        self.nowhere = False
        """Whether the last attempt reached no server."""
        self._lost = 0
        self._answered = 0
        self._underway: dict[str, asyncio.Future[Said]] = {}
        self._failed: dict[str, Said] = {}
        self._fresh: set[str] = set()

    async def ask(self, ask: Ask) -> Said:
        """Return the answer to a request, asked again where that may help.

        Raises:
            OutOfBudget: it might cost more than is left; nothing was sent.
            JudgeRefused: the key, the quota or the model: no request can succeed.
            JudgeUnreachable: nobody answers, or asks to wait longer than allowed.
        """
        key = request_key(self.address, ask.body, repeat=ask.repeat)
        found = self._recall(key) or self._failed.get(key)
        if found is not None:
            return replace(found, cached=True)
        if self.wire is None:
            return _unasked(key, self.kept.failure(key))
        underway = self._underway.get(key)
        if underway is not None:
            # shielded: who stops waiting for it must not stop it
            return replace(await asyncio.shield(underway), cached=True)
        return await self._ask_for_all(ask, key, self.wire)

    async def _ask_for_all(self, ask: Ask, key: str, wire: Wire) -> Said:
        """Ask, and give the answer to whoever asks the same in this run.

        Two answers to one request would make rows that no replay of what is kept gives again.
        """
        underway = self._underway[key] = asyncio.get_running_loop().create_future()
        try:
            said = await self._ask_twice(ask, key, wire)
            if said.answer.outcome != "ok":
                self.kept.put_failure(key, said.answer)
                self._failed[key] = said
            elif self.means.refresh:
                self._fresh.add(key)
            underway.set_result(said)
            return said
        finally:
            del self._underway[key]
            underway.cancel()

    def recall(self, ask: Ask) -> Said | None:
        """Return what is kept of a request; None where it has to be asked."""
        return self._recall(request_key(self.address, ask.body, repeat=ask.repeat))

    def _recall(self, key: str) -> Said | None:
        stale = self.means.refresh and key not in self._fresh
        found = None if stale else self.kept.get(key)
        if found is None:
            return None
        return Said(
            answer=found.answer,
            key=key,
            cached=True,
            attempts=found.attempts,
            latency_ms=found.latency_ms,
            cost=Decimal(found.cost),
            raw_sha256=found.raw_sha256,
        )

    async def _ask_twice(self, ask: Ask, key: str, wire: Wire) -> Said:
        """Ask, and once more after a failure of form: never sampled until it parses."""
        said = await self._try(ask, key, wire)
        if said.answer.outcome not in (*FORMAT_FAILURES, *DECLINED):
            return said
        again = _with_room(ask, 2 * ask.room()) if said.answer.outcome == "length" else ask
        second = await self._try(again, key, wire)
        return replace(
            second, attempts=said.attempts + second.attempts, cost=said.cost + second.cost
        )

    async def _try(self, ask: Ask, key: str, wire: Wire) -> Said:
        """Attempt the request until it succeeds, cannot succeed, or has taken too long."""
        patience = Patience(self.means.limits)
        cost = Decimal(0)
        while True:
            tried = await self._attempt(ask, wire)
            cost += tried.cost
            said = Said(
                answer=tried.answer,
                key=key,
                cached=False,
                attempts=patience.attempts + 1,
                latency_ms=tried.latency_ms,
                cost=cost,
                raw_sha256=tried.raw_sha256,
            )
            if tried.answer.outcome == "ok":
                self._keep(said)
            self._note(tried, first=patience.attempts == 0)
            others = self._answered > 0
            if not patience.again(tried.reply, tried.answer, others_answered=others):
                return said
            self.retries += 1
            wait_s, pause_s = patience.waits_s(tried.reply)
            if pause_s is not None:
                self.means.pace.pause(pause_s)
            await asyncio.sleep(wait_s)

    async def _attempt(self, ask: Ask, wire: Wire) -> _Tried:
        """Send once, inside the pace and the budget."""
        budget = self.means.budget
        texts = [str(message["content"]) for message in ask.body["messages"]]
        most = Usage(prompt=most_tokens(texts), completion=ask.room(), estimated=True)
        reserved = budget.reserve(most)
        if reserved is None:
            raise OutOfBudget
        number = self.kept.call_begins(self.means.job, reserved) if budget.prices.known else None
        begun: float | None = None
        try:
            async with self.means.pace.slot(most.prompt + most.completion):
                begun = time.monotonic()
                reply = await wire.send(ask.body, timeout_s=self.means.limits.attempt_s)
                took_ms = round(1000 * (time.monotonic() - begun), 1)
        except BaseException:
            # cut off on its way it may be billed: then all that was set aside stays spent
            self._settle(number, reserved, billed=begun is not None, usage=None)
            raise
        answer = read_reply(
            reply,
            protocol=ask.protocol,
            menu=ask.menu,
            formed="response_format" in ask.body,
        )
        billed = reply.may_be_billed if isinstance(reply, Failure) else reply.status == 200
        cost = self._settle(number, reserved, billed=billed, usage=answer.usage)
        return _Tried(
            reply=reply,
            answer=answer,
            cost=cost,
            latency_ms=took_ms,
            raw_sha256=self._keep_body(reply),
        )

    def _keep_body(self, reply: Reply | Failure) -> str:
        if isinstance(reply, Reply) and reply.status == 200:
            return self.kept.put_body(reply.body)
        return ""

    def _settle(
        self, number: int | None, reserved: Decimal, *, billed: bool, usage: Usage | None
    ) -> Decimal:
        budget = self.means.budget
        if billed:
            cost = budget.settle(reserved, usage)
        else:
            cost = Decimal(0)
            budget.release(reserved)
        if number is not None:
            self.kept.call_ends(number, cost)
        return cost

    def _note(self, tried: _Tried, *, first: bool) -> None:
        """Count what a reply says of the server.

        Once somebody was answered, what a server did wrong counts at the first attempt only: there
        may be requests it always fails on.

        Raises:
            JudgeRefused: no request can succeed.
            JudgeUnreachable: too many in a row did not get there, or were failed by the server.
        """
        self.nowhere = isinstance(tried.reply, Failure) and not tried.reply.answered
        if tried.answer.outcome in _LOST:
            self._lost += self.nowhere or first or not self._answered
            if self._lost >= UNREACHABLE:
                why = "did not reach" if self.nowhere else "got no answer from"
                raise JudgeUnreachable(
                    f"{UNREACHABLE} requests in a row {why} the judge at {self.address}:"
                    f" {tried.answer.detail}",
                    hint="see that the server runs, then give the same command again",
                )
            return
        self._lost = 0
        if isinstance(tried.reply, Reply) and tried.reply.status != 200:
            refuse(tried.reply)
        else:
            self._answered += 1
            self.means.pace.went_well()

    def _keep(self, said: Said) -> None:
        self.kept.put(
            said.key,
            Kept(
                answer=said.answer,
                attempts=said.attempts,
                latency_ms=said.latency_ms,
                cost=str(said.cost),
                raw_sha256=said.raw_sha256,
                made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            ),
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    reply: Reply | Failure
    answer: Answer
    cost: Decimal
    latency_ms: float
    raw_sha256: str


def _with_room(ask: Ask, tokens: int) -> Ask:
    name = "max_completion_tokens" if "max_completion_tokens" in ask.body else "max_tokens"
    return replace(ask, body={**ask.body, name: tokens})


def _unasked(key: str, failure: Answer | None) -> Said:
    return Said(
        answer=failure or Answer(outcome="transport", detail="not kept, and nobody is asked"),
        key=key,
        cached=False,
        attempts=0,
        latency_ms=0.0,
        cost=Decimal(0),
    )


def read_key(file: str) -> str:
    """Return the key of the server; empty where there is none, as for a server on this machine.

    Args:
        file: that holds it; else KETCHUP_API_KEY, then OPENAI_API_KEY.

    Raises:
        SpecError: no such file, one that others may read, or one without a key.
    """
    if not file:
        return os.environ.get("KETCHUP_API_KEY") or os.environ.get("OPENAI_API_KEY") or ""
    path = Path(file).expanduser()
    if not path.is_file():
        raise SpecError(f"no file `{path}` with a key", hint="unset api_key_file, or write it")
    if path.stat().st_mode & 0o077:
        raise SpecError(f"others may read the key in `{path}`", hint=f"chmod 600 {path}")
    key = path.read_text(encoding="utf-8").strip()
    if not key:
        raise SpecError(f"`{path}` is empty", hint="write the key into it")
    return key
