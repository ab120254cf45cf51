"""Requests to a fault server, over a judge with little patience."""

import asyncio
from pathlib import Path
from typing import Any

import fault_server as fs

from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.client import Ask, Judge, Means, Said
from ketchup_cli.judging.menus import Protocol
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.wire import OpenAIWire

QUICK = Limits(
    attempt_s=1.0, request_s=20.0, max_wait_s=2.0, first_wait_s=0.01, longest_wait_s=0.02
)
KEY = "sk-0123456789abcdef-do-not-write"


def body(text: str = "which?") -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 64}


def ask(text: str = "which?", *, protocol: Protocol = "json_schema") -> Ask:
    return Ask(body=body(text), protocol=protocol)


async def judge_at(
    address: str,
    folder: Path,
    asks: list[Ask],
    *,
    limits: Limits = QUICK,
    budget: Budget | None = None,
    most: int = 4,
    refresh: bool = False,
    resumed: bool = False,
) -> list[Said]:
    """Ask all at once; `resumed` counts what an earlier run has spent."""
    with Responses(folder / "kept.sqlite") as kept:
        async with OpenAIWire(address, key=KEY) as wire:
            budget = budget or Budget(Prices())
            if resumed:
                budget.resume(kept.spent("j"))
            means = Means(
                pace=Pace(most=most), budget=budget, limits=limits, job="j", refresh=refresh
            )
            judge = Judge(wire, kept, means, address=address)
            found: dict[int, Said] = {}
            waiting = iter(enumerate(asks))

            async def work() -> None:
                for number, asked in waiting:
                    found[number] = await judge.ask(asked)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(most):
                        group.create_task(work())
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None
            return [found[number] for number in range(len(asks))]


async def say(
    script: list[fs.Behaviour], folder: Path, asks: list[Ask], **how: Any
) -> tuple[list[Said], fs.FaultServer]:
    async with fs.FaultServer(script) as server:
        return await judge_at(server.address, folder, asks, **how), server


def one(script: list[fs.Behaviour], folder: Path, **how: Any) -> tuple[Said, fs.FaultServer]:
    said, server = asyncio.run(say(script, folder, [ask()], **how))
    return said[0], server
