"""Whether a failed request is tried again, and when."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import JudgeRefused, JudgeUnreachable
from ketchup_cli.judging.answers import Answer
from ketchup_cli.judging.wire import Failure, Reply

SAME_FAILURE = 3
"""Times one request may fail in the same words while others succeed: so it will stay."""
RETRIED = frozenset({408, 409, 425, 429})
WAITED_FOR = frozenset({429, 503})
_PASSING = frozenset({"http_4xx", "http_5xx", "timeout", "transport"})
_FATAL: Mapping[int, str] = {
    401: "the key is not accepted",
    403: "the key may not use this",
    404: "there is no such model or address",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times and counts that decide how long to try; none of them changes an answer."""

    attempt_s: float = 120.0
    """For one whole answer."""
    request_s: float = 600.0
    """For all attempts of one request; none begins later."""
    attempts: int = 6
    max_wait_s: float = 900.0
    """Longest time a server may ask to wait."""
    first_wait_s: float = 1.0
    """Most of the first wait; each further one may be twice as long."""
    longest_wait_s: float = 60.0


@final
class Patience:
    """How one request has fared so far."""

    def __init__(self, limits: Limits) -> None:
        """Begin with no attempt made."""
        self.attempts = 0
        self._limits = limits
        self._started = time.monotonic()
        self._failures: Counter[str] = Counter()
        # waiting times only: no result depends on them, so they need no seed
        self._random = random.Random()

    def again(self, reply: Reply | Failure, answer: Answer, *, others_answered: bool) -> bool:
        """Count an attempt, and return whether one more may help."""
        self.attempts += 1
        if answer.outcome not in _PASSING:
            return False
        if isinstance(reply, Reply) and 400 <= reply.status < 500 and reply.status not in RETRIED:
            return False
        self._failures[answer.detail] += 1
        if self._failures[answer.detail] >= SAME_FAILURE and _stays(reply, others_answered):
            return False
        return self._time_is_left()

    def waits_s(self, reply: Reply | Failure) -> tuple[float, float | None]:
        """Return the seconds this request waits, and those all requests wait, if they do.

        The wait is drawn evenly below a bound that doubles (full jitter); what a server asks for is
        the least.

        Raises:
            JudgeUnreachable: it asks for longer than allowed.
        """
        bound_s = self._limits.first_wait_s * 2.0 ** (self.attempts - 1)
        backoff_s = self._random.uniform(0, min(self._limits.longest_wait_s, bound_s))
        if not isinstance(reply, Reply) or reply.status not in WAITED_FOR:
            return backoff_s, None
        asked_s = reply.retry_after_s
        if asked_s is not None and asked_s > self._limits.max_wait_s:
            raise JudgeUnreachable(
                f"the judge asks to wait {asked_s:.0f} s, longer than"
                f" {self._limits.max_wait_s:.0f} s",
                hint="give the same command again later, or raise max_wait_s",
            )
        wait_s = max(asked_s or 0.0, backoff_s)
        return wait_s, wait_s if asked_s is not None or reply.status == 429 else None

    def _time_is_left(self) -> bool:
        spent_s = time.monotonic() - self._started
        return self.attempts < self._limits.attempts and spent_s < self._limits.request_s


def _stays(reply: Reply | Failure, others_answered: bool) -> bool:
    """Return whether a failure that came several times will come again."""
    if isinstance(reply, Failure):
        return reply.answered
    return reply.status == 200 or (others_answered and reply.status not in WAITED_FOR)


def refuse(reply: Reply) -> None:
    """Raise where no request can succeed.

    Raises:
        JudgeRefused: quota, key, model or address; or a redirect, which is never followed.
    """
    if reply.quota:
        raise JudgeRefused(
            f"the judge's quota is used up: {reply.message}",
            hint="add credit and give the same command: nothing paid for is asked twice",
        )
    if reply.status in _FATAL:
        raise JudgeRefused(
            f"{_FATAL[reply.status]} ({reply.status}): {reply.message}",
            hint="see base_url, model, and the key in KETCHUP_API_KEY or api_key_file",
        )
    if 300 <= reply.status < 400:
        raise JudgeRefused(
            f"the judge redirects ({reply.status}) to `{reply.location}`, which would show the texts"
            " to another address",
            hint="set base_url to that address if it is meant",
        )
