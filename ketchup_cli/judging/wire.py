"""One request over the wire: bytes and status come back, or the reason why not.

All of the `openai` package that is used is here. A body is read up to a limit, whatever its length
header says and however well it is packed; the deadline is for the whole answer, for a server that
sends a byte now and then never runs into a timeout of a read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol, final

BODY_BYTES = 8 << 20
"""More than any verdict needs; a longer body is a fault."""
BYTES_PER_TOKEN = 3
"""Fewer than in any text of tokenizers seen: so a count by it is rather too large."""
TOKENS_PER_MESSAGE = 16
SHORTEST_KEY = 8
"""Characters; what is shorter is no secret, and may be part of any text."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole response, of any status."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def message(self) -> str:
        """What an error response says, in one short line."""
        found: Any = _decoded(self.body)
        if isinstance(found, dict):
            # `detail` is what servers on FastAPI say
            error = found.get("error", found.get("message", found.get("detail", "")))
            found = error.get("message", error) if isinstance(error, dict) else error
        else:
            found = self.body[:400].decode("utf-8", "replace")
        return " ".join(str(found).split())[:200]

    @property
    def quota(self) -> bool:
        """Whether it is the quota, for which no waiting helps."""
        found: Any = _decoded(self.body)
        error = found.get("error") if isinstance(found, dict) else None
        codes = {error.get("code"), error.get("type")} if isinstance(error, dict) else set()
        return self.status in {402, 429} and (
            self.status == 402 or bool(codes & {"insufficient_quota", "billing_not_active"})
        )

    @property
    def location(self) -> str:
        """Where a redirect points."""
        return self.headers.get("location", "")[:200]

    @property
    def retry_after_s(self) -> float | None:
        """Seconds the server asks to wait; None where it asks nothing that makes sense."""
        for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
            text = self.headers.get(name)
            if text is None:
                continue
            try:
                seconds = float(text) * unit_s
            except ValueError:
                seconds = _until(text, now=self.headers.get("date"))
            if 0 <= seconds < float("inf"):
                return seconds
        return None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No whole response came."""

    outcome: Literal["timeout", "transport"]
    detail: str
    may_be_billed: bool = True
    """Whether the request may have reached a model."""
    answered: bool = False
    """Whether a server did answer, with more than is read."""


class Wire(Protocol):
    """Sends one request."""

    async def send(self, body: Mapping[str, Any], *, timeout_s: float) -> Reply | Failure:
        """Send it once."""


def most_tokens(texts: Iterable[str]) -> int:
    """Return an upper bound of the tokens of some messages, by their bytes."""
    sizes = [len(text.encode("utf-8", "replace")) for text in texts]
    return -(-sum(sizes) // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(sizes)


@final
class OpenAIWire:
    """A server that speaks the chat completions of OpenAI.

    Example: `async with OpenAIWire("http://127.0.0.1:8080/v1", key="none") as wire: ...`
    """

    def __init__(self, base_url: str, *, key: str) -> None:
        """Prepare a client; opens no socket."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        http = DefaultAsyncHttpxClient(
            follow_redirects=False, event_hooks={"response": [_take]}, timeout=None
        )
        self._key = key.encode() if len(key) >= SHORTEST_KEY else b""
        # a local server has no key, and the package takes no empty one
        self._client = AsyncOpenAI(
            base_url=base_url, api_key=key or "none", max_retries=0, http_client=http
        )
        # here, not at the first request: the package imports much of itself then, against its deadline
        self._completions = self._client.chat.completions.with_raw_response

    async def send(self, body: Mapping[str, Any], *, timeout_s: float) -> Reply | Failure:
        """Send a request once, within a deadline for all of it; an echo of the key is taken out."""
        reply = await self._send(body, timeout_s=timeout_s)
        if isinstance(reply, Reply) and self._key and self._key in reply.body:
            return replace(reply, body=reply.body.replace(self._key, b"[key]"))
        return reply

    async def _send(self, body: Mapping[str, Any], *, timeout_s: float) -> Reply | Failure:
        from openai import APIConnectionError, OpenAIError

        try:
            async with asyncio.timeout(timeout_s):
                await self._completions.create(**dict(body), timeout=timeout_s)
        except _Taken as taken:
            return taken.reply
        except _TooLong as error:
            return Failure(outcome="transport", detail=str(error), answered=True)
        except TimeoutError:
            return Failure(outcome="timeout", detail=f"no whole answer in {timeout_s:g} s")
        except APIConnectionError as error:
            reply = _reply_of(error)
            return reply or Failure(
                outcome="transport", detail=_reason(error), may_be_billed=_was_connected(error)
            )
        except OpenAIError as error:
            return Failure(outcome="transport", detail=_reason(error))
        return Failure(outcome="transport", detail="the response was not seen")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def __aenter__(self) -> OpenAIWire:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Taken(Exception):
    """Carries a response out, before the package looks at it."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


class _TooLong(Exception):
    """Raised where a body is longer than allowed."""


async def _take(response: Any) -> None:
    """Read a response up to the limit and carry it out."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes(65536):
        size += len(part)
        if size > BODY_BYTES:
            await response.aclose()
            raise _TooLong(f"the body is longer than {BODY_BYTES >> 20} MiB")
        parts.append(part)
    headers = {name.lower(): value for name, value in response.headers.items()}
    raise _Taken(
        Reply(
            status=response.status_code,
            content_type=headers.get("content-type", ""),
            body=b"".join(parts),
            headers=headers,
        )
    )


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in found:
        found.append(step)
        step = step.__cause__ or step.__context__
    return found


def _reply_of(error: BaseException) -> Reply | None:
    return next((step.reply for step in _chain(error) if isinstance(step, _Taken)), None)


def _reason(error: BaseException) -> str:
    """Return what went wrong at the bottom; never an object that holds headers."""
    last = _chain(error)[-1]
    return " ".join(f"{type(last).__name__}: {last}".split())[:200]


def _was_connected(error: BaseException) -> bool:
    return not any(
        type(step).__name__ in {"ConnectError", "ConnectTimeout"} for step in _chain(error)
    )


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _until(text: str, *, now: str | None) -> float:
    """Return the seconds until an HTTP date; a date in the past asks for no wait.

    Both dates are of the server's clock where it tells the time: ours may be another.
    """
    date = _date(text)
    if date is None:
        return -1.0
    begun = (_date(now) if now else None) or datetime.now(UTC)
    return max(0.0, (date - begun).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
