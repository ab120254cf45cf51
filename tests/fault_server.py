"""A server of chat completions on raw sockets, which does wrong what a test asks for."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Behaviour = Callable[["Conversation"], Awaitable[None]]


def completion(content: str | None, **changes: Any) -> dict[str, Any]:
    """Return the body of a good answer."""
    message = {"role": "assistant", "content": content, **changes.pop("message", {})}
    return {
        "id": "1",
        "object": "chat.completion",
        "model": "fake-1",
        "system_fingerprint": "fp",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "stop", **changes.pop("choice", {})}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        **changes,
    }


def verdict(word: str) -> str:
    return json.dumps({"reason": "because", "verdict": word})


@dataclass
class Conversation:
    """One request and the way back."""

    body: dict[str, Any]
    headers: dict[str, str]
    writer: asyncio.StreamWriter
    number: int
    """How many requests came before."""

    async def send(
        self,
        body: bytes | str | dict[str, Any] | list[Any],
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        data = (
            body
            if isinstance(body, bytes)
            else body.encode()
            if isinstance(body, str)
            else json.dumps(body).encode()
        )
        lines = [
            f"HTTP/1.1 {status} X",
            f"content-type: {content_type}",
            f"content-length: {len(data) if length is None else length}",
            "connection: close",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await self.writer.drain()

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class FaultServer:
    """Answers each request by the next behaviour of a script, and then by the last one.

    Example: `async with FaultServer([says("1")]) as server: ... server.address`
    """

    script: list[Behaviour]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> FaultServer:
        self.tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:] if line)
        }
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
        number = len(self.bodies)
        self.bodies.append(body)
        self.headers.append(headers)
        self.times.append(time.monotonic())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            behaviour = self.script[min(number, len(self.script) - 1)]
            await behaviour(Conversation(body, headers, writer, number))
        finally:
            self.open -= 1


def says(word: str, *, after_s: float = 0.0, **changes: Any) -> Behaviour:
    """Answer with a verdict."""

    async def behave(with_: Conversation) -> None:
        await asyncio.sleep(after_s)
        await with_.send(completion(verdict(word), **changes))

    return behave


def sends(body: Any, **how: Any) -> Behaviour:
    """Answer with exactly this."""

    async def behave(with_: Conversation) -> None:
        await with_.send(body, **how)

    return behave


def fails(status: int, message: str = "no", *, code: str = "x", **headers: str) -> Behaviour:
    """Answer with an error of this status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sends({"error": {"message": message, "code": code}}, status=status, headers=named)


async def hangs(_: Conversation) -> None:
    """Never answer."""
    await asyncio.sleep(3600)


async def resets(with_: Conversation) -> None:
    """Cut the connection before a header."""
    with_.reset()


async def resets_after_headers(with_: Conversation) -> None:
    """Cut the connection where the body should begin."""
    await with_.raw(
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n"
    )
    with_.reset()


async def drips_headers(with_: Conversation) -> None:
    """Send a byte of a header now and then for ever."""
    await with_.raw(b"HTTP/1.1 200 X\r\nx-slow: ")
    while True:
        await with_.raw(b"a")
        await asyncio.sleep(0.05)


async def drips(with_: Conversation) -> None:
    """Send headers, and then a byte now and then for ever."""
    await with_.raw(
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"
    )
    while True:
        await with_.raw(b" ")
        await asyncio.sleep(0.05)


async def ends_early(with_: Conversation) -> None:
    """Promise more bytes than are sent."""
    await with_.send(completion(verdict("1")), length=5000)


async def breaks_a_chunk(with_: Conversation) -> None:
    """Stop in the middle of a chunk."""
    await with_.raw(
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"
    )
    with_.writer.close()


def bomb(megabytes: int) -> Behaviour:
    """Send a small body that unpacks to many megabytes."""
    import gzip

    packed = gzip.compress(b" " * (megabytes << 20))
    return sends(packed, headers={"content-encoding": "gzip"})


@contextmanager
def serving(script: Sequence[Behaviour]) -> Iterator[FaultServer]:
    """Run a fault server in a thread of its own, for stages that bring their own loop."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    server = FaultServer(list(script))

    async def begin_serving() -> None:
        await server.__aenter__()
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(begin_serving())
        loop.run_forever()
        loop.run_until_complete(server.__aexit__())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
