"""Which artifacts a page is about: those that were named, their texts and scores, and what made them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, final

import msgspec

from ketchup_cli.errors import Damaged
from ketchup_cli.store import find
from ketchup_cli.store.digest import FileEntry, bytes_digest, file_entry
from ketchup_cli.store.files import read_capped
from ketchup_cli.store.find import Artifact, Node
from ketchup_cli.store.layout import Store

Form = TypeVar("Form", bound=msgspec.Struct)
LIMIT_BYTES = 2**30
"""Largest file that is read into memory."""
FOLLOWED: Mapping[str, str] = {"model": "generations", "generations": "scores"}
"""What a page shows of an artifact that was named: texts of a model, and scores of texts."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One artifact, file or folder of a page.

    `state` is that of `find.Node`: present, missing, changed or outside.
    """

    key: str
    """Id, or digest where it has none."""
    name: str
    kind: str
    state: str
    artifact: Artifact | None
    reads: tuple[tuple[str, str], ...]
    """Role and key of every input."""
    asked: bool

    @property
    def summary(self) -> Mapping[str, Any]:
        """What its stage found, or nothing."""
        return self.artifact.manifest.summary if self.artifact else {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its settings, or nothing."""
        return self.artifact.manifest.spec if self.artifact else {}

    def input(self, role: str) -> str | None:
        """Return the key of the input in that role."""
        return next((key for name, key in self.reads if name == role), None)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All artifacts of a page, what was read before what reads it."""

    by_key: Mapping[str, Source]

    def __iter__(self) -> Iterator[Source]:
        """Return them in order."""
        return iter(self.by_key.values())

    def of(self, kind: str) -> list[Source]:
        """Return those of one kind that are in the store."""
        return [source for source in self if source.kind == kind and source.artifact]

    def get(self, key: str | None) -> Source | None:
        """Return the source of that key, if there is one."""
        return None if key is None else self.by_key.get(key)


def gather(store: Store, names: Sequence[str]) -> Sources:
    """Return the named artifacts, texts and scores of named models, and all they were made from.

    Raises:
        NotFound: a name means no artifact.
        Damaged, TooNew: a manifest cannot be read.
    """
    roots = [(find.find(store, name), name) for name in names]
    asked = {artifact.id for artifact, _ in roots}
    gathered = _Gathering(store=store, asked=asked)
    for artifact, name in roots:
        gathered.add(find.lineage(store, artifact, called=_called(store, artifact, name)))
    for artifact in _followers(store, [artifact for artifact, _ in roots]):
        gathered.add(find.lineage(store, artifact, called=_called(store, artifact, "")))
    return Sources(by_key=gathered.found)


def _called(store: Store, artifact: Artifact, name: str) -> str:
    return find.name_of(store, artifact.id, called=name) or ""


def _followers(store: Store, roots: Sequence[Artifact]) -> list[Artifact]:
    """Return the texts of these models and the scores of these texts, oldest first.

    What had a name that means something newer by now is left out.
    """
    histories = find.names(store).values()
    current = {history[-1].id for history in histories}
    replaced = {entry.id for history in histories for entry in history} - current
    everything = [
        artifact
        for artifact in find.artifacts(store, on_error=lambda _error: None)
        if artifact.id not in replaced
    ]
    found: list[Artifact] = []
    waiting = list(roots)
    while waiting:
        above = waiting.pop()
        kind = FOLLOWED.get(above.kind)
        below = [
            item
            for item in everything
            if item.kind == kind
            and any(entry.id == above.id for entry in item.manifest.inputs)
            and item not in found
        ]
        found += below
        waiting += below
    return sorted(found, key=lambda item: (item.manifest.created, item.id))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathering:
    """Sources so far; a node is added after what it was made from."""

    store: Store
    asked: set[str]
    found: dict[str, Source] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add a lineage."""
        key = node.id or node.digest
        if key in self.found:
            return
        for parent in node.parents:
            self.add(parent)
        named = find.name_of(self.store, node.id, called=node.label) if node.id else None
        self.found[key] = Source(
            key=key,
            name=named or node.label,
            kind=node.kind,
            state=node.state,
            artifact=node.artifact,
            reads=tuple((parent.role, parent.id or parent.digest) for parent in node.parents),
            asked=key in self.asked,
        )


def has_file(artifact: Artifact, name: str) -> bool:
    """Return whether the manifest lists a file of that path."""
    return any(entry.path == name for entry in _entries(artifact))


def checked(artifact: Artifact, name: str) -> Path:
    """Return the path of a file whose content is what the manifest says.

    Raises:
        Damaged: it is not, or is missing.
    """
    entry = next((entry for entry in _entries(artifact) if entry.path == name), None)
    if entry is None:
        raise Damaged(f"{artifact.kind} `{artifact.id[:8]}` has no `{name}`", hint="ketchup verify")
    if file_entry(artifact.path, name) != entry:
        raise _changed(artifact, name)
    return artifact.path / name


def read(artifact: Artifact, name: str) -> bytes:
    """Return the content of a file, held against the manifest.

    Raises:
        Damaged: it is not what the manifest says, or is missing.
    """
    path = checked(artifact, name)
    content = read_capped(path, limit_bytes=LIMIT_BYTES)
    entry = next(entry for entry in _entries(artifact) if entry.path == name)
    if bytes_digest(content) != entry.digest:
        raise _changed(artifact, name)
    return content


def read_json(artifact: Artifact, name: str) -> Any:
    """Return a JSON document of an artifact.

    Raises:
        Damaged: it is not what the manifest says, or no JSON.
    """
    try:
        return json.loads(read(artifact, name))
    except ValueError:
        raise _changed(artifact, name) from None


def read_document(source: Source, name: str, form: type[Form], *, what: str) -> Form:
    """Return a JSON document of a source that is in the store, as the page reads it.

    Args:
        source: whose file it is.
        name: of the file.
        form: its fields.
        what: it is, for the message.

    Raises:
        Damaged: it is not what the manifest says, or has other fields.
    """
    assert source.artifact is not None
    try:
        return msgspec.json.decode(read(source.artifact, name), type=form)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(
            f"`{source.artifact.path / name}` is no {what}: {error}", hint="ketchup verify"
        ) from None


def _entries(artifact: Artifact) -> tuple[FileEntry, ...]:
    return (*artifact.manifest.files, *artifact.manifest.logs)


def _changed(artifact: Artifact, name: str) -> Damaged:
    return Damaged(
        f"`{artifact.path / name}` differs from its manifest",
        hint="remove the folder and run the stage that made it again",
    )
