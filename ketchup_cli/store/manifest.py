"""What an artifact says about itself: its recipe, its files, where it came from.

A manifest is one line of canonical JSON, so that every changed byte shows. It is read as if a
stranger had written it.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn, final

import msgspec

from ketchup_cli.errors import ArtifactError, Damaged, NotFound, TooNew
from ketchup_cli.spec import canonical
from ketchup_cli.store.digest import (
    LOGS,
    MANIFEST,
    FileEntry,
    bytes_digest,
    recipe_id,
    table_digest,
)
from ketchup_cli.store.files import read_capped, replace_file

MANIFEST_VERSION = 1
LIMIT_BYTES = 4 * 2**20
"""Largest manifest: some 25,000 files."""

_PATH_BYTES = 200
# a part begins with no dot (hidden files, `..`) and no dash (options of other programs)
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,63}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@final
class InputEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input of an artifact; `id` is None for a plain file or folder."""

    role: str
    kind: str
    id: str | None
    digest: str
    label: str
    """What the person called it; decides nothing."""


@final
class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `manifest.json`.

    Invariant, checked on reading: `id` is the digest of the recipe, `digest` that of the table of
    `files`, and `checksum` that of everything else here.
    """

    ketchup_manifest: int = MANIFEST_VERSION
    kind: str
    kind_version: int
    id: str
    digest: str
    spec: dict[str, Any]
    inputs: tuple[InputEntry, ...]
    files: tuple[FileEntry, ...]
    logs: tuple[FileEntry, ...] = ()
    """Files below `logs/`: hashed, but no part of the digest, for they hold timings."""
    summary: dict[str, Any]
    signature: str
    environment: dict[str, Any]
    created: str
    """Time of the commit, UTC, as 2026-01-02T03:04:05Z."""
    seconds: float
    checksum: str = ""
    """Written by `encode`; what was set before is ignored."""


def is_safe_path(path: str) -> bool:
    """Return whether `path` may name a file of an artifact."""
    return len(path) <= _PATH_BYTES and _PATH.fullmatch(path) is not None


def is_kind(text: str) -> bool:
    """Return whether `text` may name a kind of artifact."""
    return _KIND.fullmatch(text) is not None


def encode(manifest: Manifest) -> bytes:
    """Return the bytes of `manifest.json`, checksum filled in.

    Raises:
        ArtifactError: it holds what a reader would refuse, NaN for instance.
    """
    try:
        content = _encode(manifest)
        _require("it is too large", that=len(content) <= LIMIT_BYTES)
        parse(content, Path(MANIFEST))
    except (ValueError, TypeError, RecursionError, Damaged) as error:
        raise ArtifactError(
            f"cannot write a manifest for {manifest.kind} `{manifest.id[:8]}`: {error}",
            hint="report this as a bug of the stage that wrote it",
        ) from error
    return content


def _encode(manifest: Manifest) -> bytes:
    table: dict[str, Any] = msgspec.to_builtins(manifest)
    del table["checksum"]
    table["checksum"] = bytes_digest(canonical(table))
    return canonical(table) + b"\n"


def write(folder: Path, manifest: Manifest) -> None:
    """Put `manifest.json` into `folder`, durably and in one step.

    Raises:
        NoSpace: the disk is full.
        ArtifactError: the manifest cannot be written as JSON, or the system refuses.
    """
    replace_file(folder / MANIFEST, encode(manifest), part=folder / ".manifest.part")


def read(folder: Path) -> Manifest:
    """Return the manifest of the artifact in `folder`.

    Raises:
        NotFound: there is none.
        TooNew: a later ketchup wrote it.
        Damaged: it is not what ketchup wrote.
    """
    path = folder / MANIFEST
    try:
        content = read_capped(path, limit_bytes=LIMIT_BYTES)
    except NotFound:
        raise NotFound(
            f"`{folder}` is no artifact: it has no {MANIFEST}", hint="ketchup ls"
        ) from None
    return parse(content, path)


def parse(content: bytes, path: Path) -> Manifest:
    """Return the manifest that `content`, found at `path`, stands for.

    Raises:
        TooNew: a later ketchup wrote it.
        Damaged: it is not what ketchup wrote.
    """
    try:
        table = _load(content)
        # a lone half of a surrogate pair is valid JSON, but no text that can be printed
        json.dumps(table, ensure_ascii=False).encode("utf-8")
        _check_version(table, path)
        manifest = msgspec.convert(table, type=Manifest, strict=True)
        _check(manifest)
        _require("it is not as it was written", that=_encode(manifest) == content)
    except (ValueError, TypeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Damaged(
            f"`{path}` is not a sound manifest: {reason}",
            hint="remove the folder it lies in and run the stage again",
        ) from None
    return manifest


def check_kind_version(manifest: Manifest, known: int) -> None:
    """Refuse an artifact whose stage has learnt something since.

    Raises:
        TooNew: its kind version is greater than `known`.
    """
    if manifest.kind_version > known:
        raise TooNew(
            f"{manifest.kind} `{manifest.id[:8]}` was written by a newer ketchup (kind version "
            f"{manifest.kind_version}, this one knows {known})",
            hint="pip install -U ketchup-kd",
        )


def _load(content: bytes) -> Any:
    return json.loads(
        content.decode("utf-8"),
        object_pairs_hook=_unique,
        parse_constant=_no_constant,
        parse_float=_finite,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    _require("a key stands there twice", that=len(table) == len(pairs))
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} stands there")


def _finite(text: str) -> float:
    value = float(text)
    _require("a number is too large", that=math.isfinite(value))
    return value


def _check_version(table: Any, path: Path) -> None:
    version = table.get("ketchup_manifest") if isinstance(table, dict) else None
    if type(version) is int and version > MANIFEST_VERSION:
        raise TooNew(
            f"`{path}` was written by a newer ketchup (manifest version {version}, "
            f"this one knows {MANIFEST_VERSION})",
            hint="pip install -U ketchup-kd",
        )
    _require("it has no manifest version", that=version == MANIFEST_VERSION)


def _check(manifest: Manifest) -> None:
    _require("the kind is malformed", that=is_kind(manifest.kind))
    _require("the id is malformed", that=_ID.fullmatch(manifest.id) is not None)
    _require("the time is malformed", that=_TIME.fullmatch(manifest.created) is not None)
    for entry in manifest.inputs:
        _require("an input kind is malformed", that=is_kind(entry.kind))
        _require(
            "an input id is malformed", that=entry.id is None or _ID.fullmatch(entry.id) is not None
        )
        _require("an input digest is malformed", that=_DIGEST.fullmatch(entry.digest) is not None)
    _check_entries(manifest)
    inputs = [(entry.role, entry.digest) for entry in manifest.inputs]
    id = recipe_id(manifest.kind, manifest.kind_version, spec=manifest.spec, inputs=inputs)
    _require("the id is not that of the recipe", that=id == manifest.id)
    _require(
        "the digest is not that of the files", that=table_digest(manifest.files) == manifest.digest
    )


def _check_entries(manifest: Manifest) -> None:
    for entry in (*manifest.files, *manifest.logs):
        _require(f"{entry.path!r:.80} may not name a file", that=is_safe_path(entry.path))
        _require("a size is negative", that=entry.bytes >= 0)
        _require("a digest is malformed", that=_DIGEST.fullmatch(entry.digest) is not None)
    files = [entry.path for entry in manifest.files]
    logs = [entry.path for entry in manifest.logs]
    _require("a log lies outside `logs/`", that=all(path.startswith(f"{LOGS}/") for path in logs))
    _require(
        "a file has a reserved name",
        that=not any(path == MANIFEST or path.startswith(f"{LOGS}/") for path in files),
    )
    paths = files + logs
    _require("a file is listed twice", that=len(set(paths)) == len(paths))


def _require(otherwise: str, *, that: bool) -> None:
    if not that:
        raise ValueError(otherwise)
