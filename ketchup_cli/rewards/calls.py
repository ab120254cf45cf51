"""Questions asked of a process beside this one, each with a limit of time."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import final

from ketchup_cli.errors import RewardError
from ketchup_cli.rewards.reward import Answer, Attempt

START_LIMIT_S = 120.0
"""Seconds the import of a user's file may take."""
READ_BYTES = 65536


@final
class Asker:
    """A worker that answers one question after another; a new one where it hung or died.

    Invariant: no call takes much longer than the limit, and no answer is that of another attempt: a
    worker that was late is killed, whatever it would have said.

    Example: `with Asker(("pattern", "[0-9]+"), limit_s=5.0) as asker: asker.ask(attempt)`
    """

    def __init__(self, arguments: Sequence[str], *, limit_s: float) -> None:
        self._arguments = tuple(arguments)
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def __enter__(self) -> "Asker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, attempt: Attempt) -> Answer:
        """Return what the worker says, or why it says nothing.

        Raises:
            RewardError: the worker cannot be started: no such function, or a file that fails.
        """
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(asdict(attempt)).encode() + b"\n")
            process.stdin.flush()
            line = self._line(self._limit_s)
        except BrokenPipeError:
            line = b""
        if line is None:
            self.close()
            return Answer(value=None, failure="timed out", detail=f"{self._limit_s:g} s")
        if not line:
            code = process.wait()
            self.close()
            return Answer(value=None, failure="died", detail=f"exit status {code}")
        said = json.loads(line)
        return Answer(
            value=said.get("value"), failure=said.get("failure", ""), detail=said.get("detail", "")
        )

    def close(self) -> None:
        """End the worker, and what it started."""
        process, self._process, self._pending = self._process, None, b""
        if process is None:
            return
        # its own session: what a function started goes with it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            # the other end may be gone with something unread
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ketchup_cli.rewards.worker", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        line = self._line(START_LIMIT_S)
        said = json.loads(line) if line else {"failure": "died", "detail": "it ended at its start"}
        if said.get("failure"):
            self.close()
            shown = " ".join(self._arguments[1:])
            raise RewardError(
                f"the reward `{shown}` cannot be used: {said['detail']}",
                hint="python -c 'import …' on it, or see reward.correct and reward.shaped",
            )

    def _line(self, limit_s: float) -> bytes | None:
        """Return the next line; None where it does not come in time, nothing at the end."""
        assert self._process is not None
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        until = time.monotonic() + limit_s
        while b"\n" not in self._pending:
            ready, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            read = os.read(handle, READ_BYTES)
            if not read:
                return b""
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        return line
