"""Finished artifacts, and what a stage reads: artifacts, plain folders, plain files."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from ketchup_cli.errors import Damaged, NotFound
from ketchup_cli.store import manifest as manifests
from ketchup_cli.store.digest import MANIFEST, file_digest, folder_digest
from ketchup_cli.store.layout import Store
from ketchup_cli.store.manifest import Manifest

SHOWN_DIGITS = 8
"""Digits of an id that people get to see."""


@final
@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished artifact: complete and immutable.

    Invariant: `manifest` was read from `path` and agrees with the other fields.
    """

    kind: str
    id: str
    digest: str
    path: Path
    manifest: Manifest
    other_digest: str | None = None
    """Digest of what this run made, where an earlier run had published other bytes under the id."""


@final
@dataclass(frozen=True, slots=True)
class Input:
    """Something a stage reads: an artifact, or a plain file or folder, whose `id` is None."""

    role: str
    kind: str
    id: str | None
    digest: str
    path: Path
    label: str


def lookup(store: Store, kind: str, id: str) -> Artifact | None:
    """Return the artifact of that id, or None where there is none.

    Raises:
        Damaged: its manifest is missing or not sound, or speaks of another artifact.
        TooNew: a later ketchup wrote it.
    """
    path = store.object_path(kind, id)
    if not path.is_dir():
        return None
    try:
        manifest = manifests.read(path)
    except NotFound:
        raise Damaged(
            f"{kind} `{id[:SHOWN_DIGITS]}` has lost its {MANIFEST}",
            hint=f"remove `{path}` and run its stage again",
        ) from None
    if (manifest.kind, manifest.id) != (kind, id):
        raise Damaged(
            f"`{path}` holds {manifest.kind} `{manifest.id[:SHOWN_DIGITS]}`",
            hint=f"move it to `{store.object_path(manifest.kind, manifest.id)}`",
        )
    return Artifact(kind=kind, id=id, digest=manifest.digest, path=path, manifest=manifest)


def as_input(artifact: Artifact, role: str, *, label: str = "") -> Input:
    """Return the artifact as the input of a stage; its label is the id unless given."""
    return Input(
        role=role,
        kind=artifact.kind,
        id=artifact.id,
        digest=artifact.digest,
        path=artifact.path,
        label=label or artifact.id[:SHOWN_DIGITS],
    )


def folder_input(path: Path, role: str, *, kind: str = "model") -> Input:
    """Return a plain local folder as the input of a stage, known by its content.

    Raises:
        NotFound: there is no such folder.
        Damaged: a link to a folder or a special file is in it.
    """
    if not path.is_dir():
        raise NotFound(f"no folder `{path}`", hint="check the path")
    digest = folder_digest(path, foreign=True)
    return Input(role=role, kind=kind, id=None, digest=digest, path=path, label=_label(path))


def file_input(path: Path, role: str) -> Input:
    """Return a plain file as the input of a stage, known by its content.

    Raises:
        NotFound: there is no such file.
        Damaged: it is no regular file.
    """
    digest = file_digest(path, follow=True)
    return Input(role=role, kind="file", id=None, digest=digest, path=path, label=_label(path))


def _label(path: Path) -> str:
    # the bytes of a file name need not be text; a label is printed and put into JSON
    return path.name.encode("utf-8", "replace").decode("utf-8")
