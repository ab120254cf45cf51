"""SHA-256 of files, of folders, and of the recipe an artifact is made by."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import msgspec

from ketchup_cli.errors import Damaged
from ketchup_cli.spec import canonical
from ketchup_cli.store.files import disk_errors, open_regular, scan

MANIFEST = "manifest.json"
LOGS = "logs"


@final
class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of an artifact: its relative POSIX path, its size and its content."""

    path: str
    bytes: int
    digest: str


def bytes_digest(content: bytes) -> str:
    """Return `sha256:` and the hexadecimal digest of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def file_entry(folder: Path, path: str, *, follow: bool = False) -> FileEntry:
    """Return size and digest of the regular file `path` in `folder`.

    Raises:
        NotFound: nothing is there.
        Damaged: a link, a folder or a special file is there.
        ArtifactError: the system refuses.
    """
    whole = folder / path
    with (
        os.fdopen(open_regular(whole, follow=follow), "rb") as file,
        disk_errors(whole, doing="read"),
    ):
        hexadecimal = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(path=path, bytes=file.tell(), digest=f"sha256:{hexadecimal}")


def file_digest(path: Path, *, follow: bool = False) -> str:
    """Return the digest of a regular file; a link is followed only when asked.

    Raises:
        NotFound: nothing is there.
        Damaged: a link, a folder or a special file is there.
        ArtifactError: the system refuses.
    """
    return file_entry(path.parent, path.name, follow=follow).digest


def table_digest(entries: Iterable[FileEntry]) -> str:
    """Return the digest of the table of paths, sizes and digests, whatever its order."""
    rows = sorted([entry.path, entry.bytes, entry.digest] for entry in entries)
    return bytes_digest(canonical(rows))


def folder_digest(folder: Path, *, foreign: bool = False) -> str:
    """Return the digest of all files below `folder` but `manifest.json` and `logs/`.

    It equals the digest in the manifest of an artifact with these files, so that a copy of an
    artifact is known for what it is.

    Args:
        folder: an artifact, or a folder somebody else made.
        foreign: somebody else made it: links to files are followed, as download caches consist of
            them, and hidden entries, which no model is loaded from, are left out.

    Raises:
        Damaged: a link (to a folder, if foreign) or a special file is in it.
        ArtifactError: the system refuses.
    """
    listing = scan(folder, follow=foreign)
    odd = [path for path in listing.others if not (foreign and _is_hidden(path))]
    if odd:
        raise Damaged(
            f"`{folder / odd[0]}` is neither a regular file nor a folder",
            hint="replace it by a copy of what it points to, or remove it",
        )
    counted = [
        path for path in listing.files if _is_content(path) and not (foreign and _is_hidden(path))
    ]
    return table_digest(file_entry(folder, path, follow=foreign) for path in counted)


def _is_content(path: str) -> bool:
    return path != MANIFEST and not path.startswith(f"{LOGS}/")


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def recipe_id(
    kind: str, version: int, *, spec: Mapping[str, Any], inputs: Iterable[tuple[str, str]]
) -> str:
    """Return the id of the artifact that this recipe makes: 64 hexadecimal digits.

        id = sha256(canonical([kind, version, spec, sorted inputs]))

    Args:
        kind: kind of the artifact.
        version: version of what its stage means.
        spec: the resolved spec, every default written out.
        inputs: role and content digest of every input.
    """
    recipe = [kind, version, dict(spec), sorted([role, digest] for role, digest in inputs)]
    return hashlib.sha256(canonical(recipe)).hexdigest()
