"""How many requests may be open, and when the next may start.

Concurrency follows additive increase and multiplicative decrease: one more for every window without a
refusal, half after one. A server's Retry-After stops all workers, for refused requests count
against a limit too. Requests and tokens a minute are spent from buckets that fill evenly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import final

START = 4
"""Requests open at once before anything is known of the server."""


@final
class Bucket:
    """So many units a minute, at most one second's worth at once or one request."""

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start full; `per_minute` 0 never waits."""
        self._rate = per_minute / 60
        self._most = max(self._rate, 1.0)
        self._level = self._most
        self._clock = clock
        self._at = clock()

    def wait_s(self, amount: float) -> float:
        """Take `amount` and return the seconds until it was there to take."""
        if self._rate == 0:
            return 0.0
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._level / self._rate)


@final
class Pace:
    """Lets requests through.

    Invariant: never more than `most` are inside `slot`, and none enters while a pause lasts.
    """

    def __init__(
        self,
        *,
        most: int,
        requests_per_minute: float = 0.0,
        tokens_per_minute: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with few requests at once, at most `most`."""
        self.most = most
        self.allowed = min(START, most)
        self.open = 0
        self.waits = 0
        """Times a server asked to wait."""
        self._requests = Bucket(requests_per_minute, clock=clock)
        self._tokens = Bucket(tokens_per_minute, clock=clock)
        self._clock = clock
        self._until = 0.0
        self._good = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[None]:
        """Wait for a place, for the buckets and for the end of a pause; hold the place."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open < self.allowed)
            self.open += 1
        try:
            wait_s = max(self._requests.wait_s(1), self._tokens.wait_s(tokens))
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            while (left_s := self._until - self._clock()) > 0:
                await asyncio.sleep(left_s)
            yield
        finally:
            async with self._changed:
                self.open -= 1
                self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Let nobody start for so long, and half as many from then on."""
        self.waits += 1
        self._until = max(self._until, self._clock() + seconds)
        self.allowed = max(1, self.allowed // 2)
        self._good = 0

    def went_well(self) -> None:
        """Count an answer; a whole window of them allows one more at once."""
        self._good += 1
        if self._good >= self.allowed and self.allowed < self.most:
            self.allowed += 1
            self._good = 0
