"""Finding artifacts by name or id, and following where they came from."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, final

from ketchup_cli.errors import ArtifactError, Damaged, NotFound, TooNew
from ketchup_cli.spec import nearest
from ketchup_cli.store.artifact import (
    SHOWN_DIGITS,
    Artifact,
    Input,
    as_input,
    file_input,
    folder_input,
    lookup,
)
from ketchup_cli.store.layout import Store
from ketchup_cli.store.manifest import InputEntry, is_kind
from ketchup_cli.store.names import (
    HEXADECIMAL,
    NameEntry,
    check_name,
    give_name,
    name_of,
    names,
)

__all__ = [
    "Artifact",
    "Input",
    "NameEntry",
    "Node",
    "artifacts",
    "as_input",
    "check_name",
    "file_input",
    "find",
    "folder_input",
    "give_name",
    "lineage",
    "lookup",
    "name_of",
    "names",
]

_NUMBERED = re.compile(r"(.+)@([1-9][0-9]{0,8})")
_ID = re.compile(r"[0-9a-f]{64}")


@final
@dataclass(frozen=True, slots=True)
class Node:
    """An artifact in a lineage, with what it was made from.

    `state` is "present", "missing" (no longer in the store), "changed" (in the store with other
    content than was read), or "outside" (a plain file or folder).
    """

    role: str
    kind: str
    id: str | None
    digest: str
    label: str
    state: Literal["present", "missing", "changed", "outside"]
    artifact: Artifact | None
    parents: tuple["Node", ...]


def find(store: Store, text: str, *, kind: str | None = None) -> Artifact:
    """Return the artifact that `text` means: NAME, NAME@N, an id, or its first 4 digits or more.

    Raises:
        NotFound: it means none, or several, or one of another kind than `kind`.
        Damaged, TooNew: the artifact cannot be read.
    """
    known = names(store)
    entry = _by_name(known, text)
    if entry is not None:
        artifact = lookup(store, entry.kind, entry.id)
        if artifact is None:
            raise NotFound(
                f"`{text}` was {entry.kind} `{entry.id[:SHOWN_DIGITS]}`, "
                "which is no longer in the store",
                hint="run the stage that made it again",
            )
    else:
        artifact = _by_prefix(store, text, kind=kind)
    if artifact is None:
        raise _unknown(store, text, known)
    if kind is not None and artifact.kind != kind:
        raise NotFound(f"`{text}` is a {artifact.kind}, not a {kind}", hint="ketchup ls")
    return artifact


def _by_name(known: Mapping[str, tuple[NameEntry, ...]], text: str) -> NameEntry | None:
    text = unicodedata.normalize("NFC", text)
    if text in known:
        return known[text][-1]
    numbered = _NUMBERED.fullmatch(text)
    if numbered is None or numbered[1] not in known:
        return None
    history = known[numbered[1]]
    if int(numbered[2]) > len(history):
        raise NotFound(
            f"`{numbered[1]}` was given {len(history)} times, there is no `{text}`",
            hint=f"ketchup ls {numbered[1]}",
        )
    return history[int(numbered[2]) - 1]


def _by_prefix(store: Store, text: str, *, kind: str | None) -> Artifact | None:
    if HEXADECIMAL.fullmatch(text) is None:
        return None
    matches = [(found, id) for found, id in _ids(store) if id.startswith(text)]
    right = [match for match in matches if match[0] == kind] or matches
    if len(right) > 1:
        listed = ", ".join(f"{found} `{id[:16]}`" for found, id in right[:3])
        raise NotFound(
            f"`{text}` is the beginning of {len(right)} ids: {listed}", hint="give more digits"
        )
    return lookup(store, *right[0]) if right else None


def _ids(store: Store) -> Iterator[tuple[str, str]]:
    for folder in sorted(store.objects.glob("*/*")):
        if is_kind(folder.parent.name) and _ID.fullmatch(folder.name):
            yield folder.parent.name, folder.name


def _unknown(store: Store, text: str, known: Mapping[str, object]) -> NotFound:
    close = nearest(text, known) or sorted(known)[:3]
    listed = "; nearest: " + ", ".join(f"`{name}`" for name in close) if close else ""
    return NotFound(f"no artifact `{text}` in the store `{store.root}`{listed}", hint="ketchup ls")


def artifacts(
    store: Store, *, on_error: Callable[[ArtifactError], None] | None = None
) -> Iterator[Artifact]:
    """Yield every artifact, by kind and id.

    Args:
        store: where to look.
        on_error: is told of artifacts that cannot be read; without it the first one raises.

    Raises:
        Damaged, TooNew: an artifact cannot be read, and nobody listens.
    """
    for kind, id in _ids(store):
        try:
            artifact = lookup(store, kind, id)
        except (Damaged, TooNew) as error:
            if on_error is None:
                raise
            on_error(error)
        else:
            if artifact is not None:
                yield artifact


def lineage(store: Store, artifact: Artifact, *, called: str = "") -> Node:
    """Return the tree of what `artifact` was made from; what is missing is stated.

    Args:
        store: where its ancestors are looked up.
        artifact: the root.
        called: label of the root, its id unless given.

    Raises:
        Damaged, TooNew: an ancestor cannot be read, or is its own ancestor.
    """
    root = InputEntry(
        role="",
        kind=artifact.kind,
        id=artifact.id,
        digest=artifact.digest,
        label=called or artifact.id[:SHOWN_DIGITS],
    )
    return _node(store, root, above=())


def _node(store: Store, entry: InputEntry, *, above: tuple[str, ...]) -> Node:
    node = Node(
        role=entry.role,
        kind=entry.kind,
        id=entry.id,
        digest=entry.digest,
        label=entry.label,
        state="outside" if entry.id is None else "missing",
        artifact=None,
        parents=(),
    )
    artifact = None if entry.id is None else lookup(store, entry.kind, entry.id)
    if artifact is None:
        return node
    if artifact.id in above:
        raise Damaged(f"{entry.kind} `{artifact.id}` is its own ancestor", hint="ketchup verify")
    parents = tuple(
        _node(store, parent, above=(*above, artifact.id)) for parent in artifact.manifest.inputs
    )
    state: Literal["present", "changed"] = (
        "present" if artifact.digest == entry.digest else "changed"
    )
    return replace(node, state=state, artifact=artifact, parents=parents)
