"""Names: what people call artifacts. A name keeps the history of what it meant."""

import re
import time
import unicodedata
from typing import final

import msgspec

from ketchup_cli.errors import Damaged, NotFound, SpecError, TooNew
from ketchup_cli.spec import canonical
from ketchup_cli.store.artifact import Artifact
from ketchup_cli.store.files import make_folder, read_capped, replace_file
from ketchup_cli.store.layout import Store
from ketchup_cli.store.lock import locked

NAMES_VERSION = 1
_NAMES_BYTES = 2**20
_WAIT_S = 10.0
_NAME = re.compile(r"\w[\w.-]{0,63}")
HEXADECIMAL = re.compile(r"[0-9a-f]{4,64}")
"""An id, or the beginning of one."""


@final
class NameEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact a name was given to; the first is NAME@1."""

    kind: str
    id: str
    digest: str
    given: str
    """Time it was given, UTC, as 2026-01-02T03:04:05Z."""


@final
class _Version(msgspec.Struct, frozen=True):
    ketchup_names: int


@final
class _NameFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ketchup_names: int = NAMES_VERSION
    name: str
    history: tuple[NameEntry, ...]


def check_name(name: str) -> str:
    """Return `name` in its composed Unicode form; worth calling before hours of work.

    Raises:
        SpecError: it cannot be a name.
    """
    name = unicodedata.normalize("NFC", name)
    if _NAME.fullmatch(name) is None:
        raise SpecError(
            f"{name!r:.80} cannot be a name; letters, digits, `.`, `_` and `-` can, 64 at most",
            hint="--name en-nl-cache",
        )
    if HEXADECIMAL.fullmatch(name):
        raise SpecError(f"`{name}` could be taken for an id", hint=f"--name my-{name}")
    return name


def give_name(store: Store, name: str, artifact: Artifact) -> str:
    """Let `name` mean `artifact` from now on, and return it as NAME@N.

    What it meant before stays reachable. Giving it to the artifact it means already changes
    nothing.

    Raises:
        SpecError: it cannot be a name.
        Busy: another process has been naming for ten seconds.
        NoSpace, ArtifactError: the disk is full, or the system refuses.
    """
    name = check_name(name)
    make_folder(store.staging)
    make_folder(store.names)
    with locked(store.staging / "names.lock", label=f"naming {name}", wait_s=_WAIT_S):
        history = _history(store, name)
        if not history or (history[-1].id, history[-1].digest) != (artifact.id, artifact.digest):
            history = (*history, _entry(artifact))
            content = canonical(_NameFile(name=name, history=history)) + b"\n"
            part = store.staging / "names.part"
            replace_file(store.name_path(name), content, part=part)
    return f"{name}@{len(history)}"


def _entry(artifact: Artifact) -> NameEntry:
    given = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return NameEntry(kind=artifact.kind, id=artifact.id, digest=artifact.digest, given=given)


def _history(store: Store, name: str) -> tuple[NameEntry, ...]:
    path = store.name_path(name)
    try:
        content = read_capped(path, limit_bytes=_NAMES_BYTES)
        version = msgspec.json.decode(content, type=_Version, strict=True).ketchup_names
        if version > NAMES_VERSION:
            raise TooNew(
                f"`{path}` was written by a newer ketchup (names version {version}, "
                f"this one knows {NAMES_VERSION})",
                hint="pip install -U ketchup-kd",
            )
        return msgspec.json.decode(content, type=_NameFile, strict=True).history
    except NotFound:
        return ()
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(f"`{path}` is not sound: {error}", hint=f"remove `{path}`") from None


def names(store: Store) -> dict[str, tuple[NameEntry, ...]]:
    """Return every name with its history, oldest first.

    Raises:
        Damaged, TooNew: the file of a name cannot be read.
    """
    found = {path.stem: _history(store, path.stem) for path in sorted(store.names.glob("*.json"))}
    return {name: history for name, history in found.items() if history}


def name_of(store: Store, id: str, *, called: str = "") -> str | None:
    """Return a name of the artifact as NAME@N, or None.

    Args:
        store: whose names are read.
        id: of the artifact.
        called: NAME or NAME@N that is preferred where it means this artifact; otherwise it is the
            name given last.
    """
    given = [
        (f"{name}@{number}" == called, name == called, entry.given, name, number)
        for name, history in names(store).items()
        for number, entry in enumerate(history, start=1)
        if entry.id == id
    ]
    if not given:
        return None
    *_, name, number = max(given)
    return f"{name}@{number}"
