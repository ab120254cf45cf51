"""What a judgement would take before anything is sent: calls, tokens, cost, time, and what it could show."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import final

from ketchup_cli.judging.answers import Usage
from ketchup_cli.judging.budget import Prices
from ketchup_cli.judging.client import Judge, Means
from ketchup_cli.judging.prompts import messages
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.session import Asked, kept_answers, known_abilities
from ketchup_cli.judging.wire import most_tokens
from ketchup_cli.specs import JudgeSpec
from ketchup_cli.stages.judge_means import budget_of, endpoints_of, limits_of, pace_of
from ketchup_cli.statistics.power import ALPHA, minimum_detectable, win_rate_variance

MANY_TIES = 0.4
"""Share of ties for which the plan tells the smallest win rate beside that without any."""
SHORTEST = 5
"""Tokens of the shortest answer that names a choice."""
_FEWER = 2
"""By how much a bound of tokens from bytes may be too large, where text is plain English."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Expense:
    """What is still to be asked, and what that takes at least and at most."""

    kept: int
    """Calls that were answered before."""
    calls: int
    """Calls that would be made."""
    prompt: int
    """Most tokens of all prompts."""
    completion: int
    """Most tokens of all answers."""
    cost: tuple[Decimal, Decimal] | None
    """In the unit of the prices; None where no price is known."""
    limit: Decimal | None
    """What may be spent."""
    seconds: float | None
    """By how long kept answers took, or by the pace that was set; None where neither is known."""


def expense(spec: JudgeSpec, calls: Sequence[Asked]) -> Expense:
    """Return what asking every judge these calls takes; opens no socket.

    Raises:
        SpecError: no judge is named, or a budget stands without prices.
    """
    known = _kept(spec, calls)
    each = [_bounds(one, room=spec.max_tokens) for one in known]
    calls_count = sum(len(one.todo) for one in known)
    prompt, room = (
        sum(most.prompt for _, most in each),
        sum(most.completion for _, most in each),
    )
    priced = [(one.prices, bounds) for one, bounds in zip(known, each, strict=True)]
    return Expense(
        kept=sum(len(one.took_ms) for one in known),
        calls=calls_count,
        prompt=prompt,
        completion=room,
        cost=(
            sum((prices.cost(least) for prices, (least, _) in priced), Decimal(0)),
            sum((prices.cost(most) for prices, (_, most) in priced), Decimal(0)),
        )
        if any(prices.known for prices, _ in priced)
        else None,
        limit=budget_of(spec).limit,
        seconds=_seconds(
            spec, calls_count, prompt + room, [ms for one in known for ms in one.took_ms]
        ),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of one judge."""

    protocol: str
    """Form of its answers, as far as known."""
    todo: Sequence[Asked]
    took_ms: Sequence[float]
    """Of every call that is kept."""
    prices: Prices


def _kept(spec: JudgeSpec, calls: Sequence[Asked]) -> list[_Known]:
    """Return what is known of every judge, and left to ask it."""
    endpoints, path = endpoints_of(spec), Path(spec.responses)
    nothing = [
        _Known(protocol=spec.protocol, todo=calls, took_ms=(), prices=endpoint.prices)
        for endpoint in endpoints
    ]
    if spec.refresh or not path.is_file():
        return nothing
    found: list[_Known] = []
    with Responses(path, read_only=True) as kept:
        means = Means(pace=pace_of(spec), budget=budget_of(spec), limits=limits_of(spec))
        for endpoint, unknown in zip(endpoints, nothing, strict=True):
            judge = Judge(None, kept, means, address=endpoint.server.address)
            abilities = known_abilities(judge, endpoint.server)
            if abilities is None:
                found.append(unknown)
                continue
            todo: list[Asked] = []
            took_ms: list[float] = []
            answers = kept_answers(judge, endpoint.server, calls, abilities)
            for call, answer in zip(calls, answers, strict=True):
                if answer is None:
                    todo.append(call)
                else:
                    took_ms.append(answer.latency_ms)
            found.append(replace(unknown, protocol=abilities.protocol, todo=todo, took_ms=took_ms))
    return found


def _bounds(known: _Known, *, room: int) -> tuple[Usage, Usage]:
    """Return the least and the most tokens of what is left to ask one judge."""
    prompt = sum(_most_tokens(call) for call in known.todo)
    most = len(known.todo) * (1 if known.protocol == "logprob" else room)
    least = Usage(prompt=prompt // _FEWER, completion=min(most, SHORTEST * len(known.todo)))
    return least, Usage(prompt=prompt, completion=most)


def _seconds(spec: JudgeSpec, calls: int, tokens: int, took_ms: Sequence[float]) -> float | None:
    """Return how long the calls take: the slowest of the server, and of the pace that was set."""
    found: list[float] = []
    if took_ms:
        each_s = sum(took_ms) / len(took_ms) / 1000
        found.append(calls * each_s / spec.concurrency)
    if spec.requests_per_minute:
        found.append(60 * calls / spec.requests_per_minute)
    if spec.tokens_per_minute:
        found.append(60 * tokens / spec.tokens_per_minute)
    return max(found) if found else None


def cost_line(found: Expense) -> str:
    """Return calls, tokens and cost in one line."""
    parts = [
        f"{found.kept:,} kept, {found.calls:,} to ask",
        f"at most {found.prompt:,} tokens in and {found.completion:,} out",
    ]
    if found.cost is None:
        parts.append("no price given")
    else:
        limit = f", of a budget of {found.limit}" if found.limit is not None else ""
        parts.append(f"{found.cost[0]:.4f} to {found.cost[1]:.4f}{limit}")
    return ", ".join(parts)


def time_line(found: Expense) -> str:
    """Return how long it takes, or why nobody knows."""
    if not found.calls:
        return "nothing is to be asked"
    if found.seconds is None:
        return "not known: no answer is kept that tells how long one takes"
    return f"about {max(1.0, found.seconds / 60):.0f} min"


def power_line(spec: JudgeSpec, *, items: int, pairs: int) -> str:
    """Return the smallest win rate, or difference of ratings, that these items would find.

    Two-sided, 80 % power, at the level the first of all tests has after Holm's correction. Items that
    belong together count as one, as if they all fell alike: that is the worst case.
    """
    tests = max(1, pairs * len(spec.aspects))
    told = "80 % power" + (f", corrected for {tests} tests" if tests > 1 else "")
    if spec.mode == "rating":
        apart = minimum_detectable(max(1, items) ** -0.5, alpha=ALPHA / tests)
        return f"finds a difference of {apart:.2f} standard deviations or more ({told})"
    rates = [_least_rate(items, ties=ties, tests=tests) for ties in (0.0, MANY_TIES)]
    return (
        f"finds a win rate of {rates[0]:.1%} or more without ties, of {rates[1]:.1%} where"
        f" {MANY_TIES:.0%} tie ({told})"
    )


def _least_rate(items: int, *, ties: float, tests: int) -> float:
    error = (win_rate_variance(0.5, ties=ties) / max(1, items)) ** 0.5
    return min(1.0, 0.5 + minimum_detectable(error, alpha=ALPHA / tests))


def _most_tokens(call: Asked) -> int:
    return most_tokens(message["content"] for message in messages(call.question, protocol="text"))
