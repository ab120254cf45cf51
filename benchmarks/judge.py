"""How fast `judge` asks a server, and how fast it reads 100,000 answers it has kept.

    python benchmarks/judge.py

A server in a process of its own answers after 50 ms. 32 requests at once could be answered 640 times a
second; the bare side is a loop over the `openai` package that keeps nothing and checks nothing. Asked
is at least 0.90 of the ideal, or of the bare side where that is slower. The replay, in a process of
its own too, is all of a judgement without a server: questions, keys, answers, figures. Asked are
60 s and 300 MB, imports included.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from readings import described

from ketchup_cli.judging.answers import Answer, Usage
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.calls import Call, Form, Item, calls
from ketchup_cli.judging.client import Judge, Means, Said
from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.probe import Abilities, Settings
from ketchup_cli.judging.report import Terms, make_report
from ketchup_cli.judging.responses import Kept, Responses, request_key
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.rows import judgments
from ketchup_cli.judging.session import Asking, Server, request
from ketchup_cli.judging.tally import Judgment
from ketchup_cli.judging.wire import OpenAIWire

SHARE, REPLAY_S, MEMORY_MB = 0.90, 60.0, 300.0
ABILITIES = Abilities(protocol="json_schema")
FORM = Form(
    task="Write a short summary of the source text.",
    aspects={
        "quality": "Overall, which text would a careful reader rather be given for this task?",
        "coherence": "Reads as one connected text in good order, without breaks or repeats.",
    },
    characters=16_000,
)
SYSTEMS = ("one", "other")
SOURCE, TEXT = "a bridge was closed for a week and opens again ", "the bridge opens on Monday "
ANSWER = json.dumps({
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "fake",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": json.dumps({"reason": "reads better " * 8, "verdict": "1"}),
            },
        }
    ],
    "usage": {"prompt_tokens": 500, "completion_tokens": 40, "total_tokens": 540},
}).encode()


def main() -> None:
    """Print rates, their ratio, and seconds and memory of the replay; or, as a child, one replay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--verdicts", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--replay", type=Path, help="read the answers kept here, in this process")
    parser.add_argument("--serve", type=float, help="be the server, with this latency in seconds")
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return
    if given.replay:
        print(json.dumps(replay(given.replay, make_calls(given.verdicts))))
        return
    print(f"load before: {os.getloadavg()[0]:.1f}; median [smallest to largest] of {given.repeats}")
    _print_rates(given)
    _print_replay(given)


def _print_rates(given: argparse.Namespace) -> None:
    asked = make_calls(given.calls)
    ideal = given.concurrency / (given.latency_ms / 1000)
    with served(given.latency_ms / 1000) as address:
        found = [
            (timed(bare, address, asked, given), timed(judged, address, asked, given))
            for _ in range(given.repeats)
        ]
    rates = [tuple(len(asked) / wall_s for wall_s, _ in pair) for pair in found]
    shares = [ours / min(ideal, theirs) for theirs, ours in rates]
    print(f"{len(asked):,} calls, {given.concurrency} at once, {given.latency_ms:g} ms each")
    print(f"ideal, calls a second      {ideal:,.0f}")
    for side, name in enumerate(("bare openai", "ketchup judge")):
        cpu_ms = [1000 * pair[side][1] / len(asked) for pair in found]
        rate = described([pair[side] for pair in rates], digits=0)
        print(f"{name:<14} a second    {rate}   processor ms a call {described(cpu_ms)}")
    print(f"share                      {described(shares)}   asked: at least {SHARE:.2f}")


def _print_replay(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kept.sqlite"
        keep(path, make_calls(given.verdicts))
        command = [sys.executable, __file__, "--replay", str(path)]
        command += ["--verdicts", str(given.verdicts)]
        rows: list[dict[str, float]] = []
        for _ in range(given.repeats):
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(answer.stdout))
    print(f"\nreplay of {given.verdicts:,} verdicts")
    print(f"clock s      {described([row['wall_s'] for row in rows])}   asked: {REPLAY_S:.0f}")
    print(f"processor s  {described([row['cpu_s'] for row in rows])}")
    peaks = described([row["peak_mb"] for row in rows], digits=0)
    print(f"peak, MB     {peaks}   asked: {MEMORY_MB:.0f}")


def make_calls(count: int) -> tuple[Call, ...]:
    """Return questions about made-up texts of common lengths, without controls."""
    each = 2 * len(FORM.aspects)
    items = [
        Item(
            id=f"{number:08d}",
            source=f"{number} {SOURCE * 20}",
            reference="",
            texts={name: f"{name} {number} {TEXT * 4}" for name in SYSTEMS},
        )
        for number in range(-(-count // each))
    ]
    return calls(items, SYSTEMS, FORM)[:count]


def whom(address: str) -> Server:
    """Return the server as a judgement knows it."""
    settings = Settings(model="fake", max_tokens=512, temperature=0.0, seed=0)
    return Server(address=address, settings=settings, protocol="json_schema", name="fake")


def means(concurrency: int) -> Means:
    """Return what requests share, without a budget."""
    return Means(pace=Pace(most=concurrency), budget=Budget(Prices()), limits=Limits())


Side = Callable[[str, tuple[Call, ...], argparse.Namespace], Awaitable[None]]


def timed(side: Side, address: str, asked: tuple[Call, ...], given: argparse.Namespace) -> Any:
    """Return the seconds of the clock and of the processor that one side takes."""
    started, worked = time.perf_counter(), time.process_time()
    asyncio.run(side(address, asked, given))  # type: ignore[arg-type]
    return time.perf_counter() - started, time.process_time() - worked


async def bare(address: str, asked: tuple[Call, ...], given: argparse.Namespace) -> None:
    """Ask over the package alone."""
    from openai import AsyncOpenAI

    to, waiting = whom(address), iter(asked)
    async with AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:

        async def work() -> None:
            for call in waiting:
                body: dict[str, Any] = dict(request(call, to, ABILITIES).body)
                await client.chat.completions.create(**body)

        await asyncio.gather(*(work() for _ in range(given.concurrency)))


async def judged(address: str, asked: tuple[Call, ...], given: argparse.Namespace) -> None:
    """Ask as `judge` does: paced, checked, every answer kept on the disk."""
    with tempfile.TemporaryDirectory() as folder, Responses(Path(folder) / "kept") as kept:
        async with OpenAIWire(address, key="") as wire:
            judge = Judge(wire, kept, means(given.concurrency), address=address)
            asking = asked_of(judge, asked)
            await asking.ask(lambda _: None)
    assert all(row.outcome == "ok" for row in asking.rows)


def asked_of(judge: Judge, asked: tuple[Call, ...]) -> Asking[Call, Judgment]:
    """Return the calls on their way to rows."""

    def made(call: Call, said: Said) -> tuple[Judgment, ...]:
        return judgments(call, said, judge="fake")

    return Asking(judge, whom(judge.address), asked, abilities=ABILITIES, made=made)


def keep(path: Path, asked: tuple[Call, ...]) -> None:
    """Write an answer for every question."""
    to, usage = whom("http://judge/v1"), Usage(prompt=500, completion=40)
    answer = Answer(
        outcome="ok", verdict="1", reason="reads better " * 8, usage=usage, model="fake"
    )
    made = Kept(answer=answer, attempts=1, latency_ms=50.0, cost="0", made="2026-01-01T00:00:00Z")
    with Responses(path) as kept:
        for call in asked:
            sent = request(call, to, ABILITIES)
            kept.put(request_key(to.address, sent.body, repeat=sent.repeat), made)


def replay(path: Path, asked: tuple[Call, ...]) -> dict[str, float]:
    """Return the seconds and the peak of memory of a judgement from what is kept."""
    to = whom("http://judge/v1")
    started, worked = time.perf_counter(), time.process_time()
    with Responses(path, read_only=True) as kept:
        judge = Judge(None, kept, means(32), address=to.address)
        asking = asked_of(judge, asked)
        asyncio.run(asking.replay())
    assert asking.done == len(asked)
    terms = Terms(
        judges={"fake": ABILITIES},
        task=FORM.task,
        aspects=FORM.aspects,
        systems=SYSTEMS,
        how=Resampling(resamples=10_000, seed=0),
    )
    make_report(asking.rows, terms)
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - worked,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


@contextmanager
def served(latency_s: float) -> Iterator[str]:
    """Serve verdicts from a process of its own; yields the address."""
    command = [sys.executable, __file__, "--serve", str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
        finally:
            child.terminate()


async def serve(latency_s: float) -> None:
    """Answer every request with the same verdict after so long, until the process is stopped."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    whole = head % len(ANSWER) + ANSWER

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                (length,) = [line for line in lines if line.startswith(b"content-length:")]
                await reader.readexactly(int(length.partition(b":")[2]))
                await asyncio.sleep(latency_s)
                writer.write(whole)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    main()
