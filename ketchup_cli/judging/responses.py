"""Answers that were paid for, kept by the whole request: SQLite, safe under SIGKILL."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ketchup_cli.errors import ArtifactError
from ketchup_cli.judging.answers import Answer

SCHEMA_VERSION = 1

_MAKE = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB, sha256 TEXT) STRICT",
    "CREATE TABLE IF NOT EXISTS failures (key TEXT PRIMARY KEY, value BLOB) STRICT",
    "CREATE TABLE IF NOT EXISTS bodies (sha256 TEXT PRIMARY KEY, value BLOB) STRICT",
    "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value BLOB) STRICT",
    "CREATE TABLE IF NOT EXISTS calls (number INTEGER PRIMARY KEY, job TEXT, cost TEXT) STRICT",
)
_GET = "SELECT value, sha256 FROM answers WHERE key = ?"
_PUT = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer and how it came."""

    answer: Answer
    attempts: int
    latency_ms: float
    cost: str
    """In the unit of the prices, a decimal number."""
    made: str
    """UTC, to the second."""
    raw_sha256: str = ""
    """Of the body it was read from."""


def public_address(base_url: str) -> str:
    """Return an address without user, password, query and fragment."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    return urlunsplit((parts.scheme.lower(), netloc, parts.path.rstrip("/"), "", ""))


def request_key(base_url: str, body: Mapping[str, Any], *, repeat: int) -> str:
    """Return the SHA-256 of all that decides an answer, as canonical JSON.

    Args:
        base_url: of the server; user, password and query do not count.
        body: everything that is sent: model, messages, each parameter.
        repeat: number of the same question asked again on purpose.
    """
    whole = {
        "schema": SCHEMA_VERSION,
        "base_url": public_address(base_url),
        "body": body,
        "repeat": repeat,
    }
    text = json.dumps(whole, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@final
class Responses:
    """The file of answers of a store; only answers that are usable are kept.

    Invariant: what `put` returned from is on the disk. A row whose hash is wrong counts as missing.
    Example: `with Responses(path) as kept: kept.get(key)`
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file, or make it; read only, it must be there.

        Raises:
            ArtifactError: it cannot be opened, or is no such file.
        """
        self.path = path
        self._damaged = 0
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            mode = "ro" if read_only else "rwc"
            self._file = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None
            )
            if not read_only:
                self._file.execute("PRAGMA journal_mode=WAL")
                self._file.execute("PRAGMA synchronous=NORMAL")
                for statement in _MAKE:
                    self._file.execute(statement)
            self._file.execute("SELECT COUNT(*) FROM answers WHERE key = ''")
        except (sqlite3.Error, OSError) as error:
            raise ArtifactError(
                f"the kept answers `{path}` cannot be used: {error}",
                hint="move the file away: what was paid for is in it; or leave out --cache-only",
            ) from error

    @property
    def damaged(self) -> int:
        """Rows read so far whose hash was wrong."""
        return self._damaged

    def get(self, key: str) -> Kept | None:
        """Return what is kept for a request, or None."""
        row = self._run(_GET, (key,)).fetchone()
        if row is None:
            return None
        value, sha256 = row
        try:
            if hashlib.sha256(value).hexdigest() == sha256:
                return msgspec.json.decode(value, type=Kept)
        except (msgspec.DecodeError, TypeError):
            pass
        self._damaged += 1
        return None

    def put(self, key: str, kept: Kept) -> None:
        """Keep a usable answer; durable when this returns.

        Raises:
            ValueError: the answer is a failure: those are asked again.
            ArtifactError: the disk refuses.
        """
        if kept.answer.outcome != "ok":
            raise ValueError(kept.answer.outcome)
        value = msgspec.json.encode(kept)
        self._run(_PUT, (key, value, hashlib.sha256(value).hexdigest()))

    def put_body(self, body: bytes) -> str:
        """Keep the whole body of an answer, usable or not; return its SHA-256."""
        sha256 = hashlib.sha256(body).hexdigest()
        self._run("INSERT OR IGNORE INTO bodies VALUES (?, ?)", (sha256, body))
        return sha256

    def body(self, sha256: str) -> bytes | None:
        """Return the body of an answer, or None."""
        row = self._run("SELECT value FROM bodies WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_failure(self, key: str, answer: Answer) -> None:
        """Note what a request came to that is asked again when a server is asked at all."""
        self._run(
            "INSERT OR REPLACE INTO failures VALUES (?, ?)", (key, msgspec.json.encode(answer))
        )

    def failure(self, key: str) -> Answer | None:
        """Return what a request came to last, for a replay without a server."""
        row = self._run("SELECT value FROM failures WHERE key = ?", (key,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Answer)

    def call_begins(self, job: str, cost: Decimal) -> int:
        """Write down, before a request is sent, what it may cost at most; return its number."""
        cursor = self._run("INSERT INTO calls (job, cost) VALUES (?, ?)", (job, str(cost)))
        return int(cursor.lastrowid or 0)

    def call_ends(self, number: int, cost: Decimal) -> None:
        """Write down what that request did cost."""
        self._run("UPDATE calls SET cost = ? WHERE number = ?", (str(cost), number))

    def spent(self, job: str) -> Decimal:
        """Return what the requests of a job have cost; one that was cut off counts as its most."""
        rows = self._run("SELECT cost FROM calls WHERE job = ?", (job,)).fetchall()
        return sum((Decimal(cost) for (cost,) in rows), Decimal(0))

    def fact(self, key: str) -> bytes | None:
        """Return what is known of a server, or None."""
        row = self._run("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_fact(self, key: str, value: bytes) -> None:
        """Keep what was found out about a server."""
        self._run("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))

    def _run(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._file.execute(statement, values)
        except sqlite3.Error as error:
            raise ArtifactError(
                f"`{self.path}` cannot be written: {error}",
                hint="free space there and run the same command: nothing paid for is asked twice",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
