"""What nothing refers to any more, and how it is removed.

An artifact is kept if a name means it, or ever meant it, or if one that is kept was made from it.
"""

import calendar
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from ketchup_cli.errors import Busy
from ketchup_cli.store import find
from ketchup_cli.store.artifact import Artifact
from ketchup_cli.store.files import disk_errors, fsync_folder, remove, scan
from ketchup_cli.store.layout import Store
from ketchup_cli.store.lock import holder, locked

REMOVED = ".removed-"
"""What the folder of something that is being removed begins with."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One thing nobody refers to: an artifact, a run that was given up, or a rest of either."""

    what: Literal["artifact", "unfinished", "rest"]
    kind: str
    id: str
    path: Path
    size_bytes: int
    changed_s: float
    """When it was made, or last written to (seconds since the epoch)."""


def find_garbage(
    store: Store, *, kept: Iterable[str] = (), older_s: float, now_s: float
) -> list[Garbage]:
    """Return what nothing refers to and is older than `older_s`; changes nothing.

    Args:
        store: where to look.
        kept: ids that somebody else refers to.
        older_s: what was written to since then is left alone (seconds).
        now_s: the time now (seconds since the epoch).

    Raises:
        Damaged, TooNew: an artifact cannot be read, so nobody knows what it was made from.
    """
    artifacts = list(find.artifacts(store))
    wanted = _wanted(store, artifacts, kept)
    loose = [_of_artifact(item) for item in artifacts if (item.kind, item.id) not in wanted]
    found = [*loose, *_unfinished(store)]
    rests = [_item("rest", path) for path in sorted(store.staging.glob(f"{REMOVED}*"))]
    return [item for item in found if item.changed_s < now_s - older_s] + rests


def _wanted(
    store: Store, artifacts: Iterable[Artifact], kept: Iterable[str]
) -> set[tuple[str, str]]:
    """Return kind and id of what is referred to, and of all it was made from."""
    known = {(item.kind, item.id): item for item in artifacts}
    held = set(kept)
    waiting = [
        (entry.kind, entry.id) for history in find.names(store).values() for entry in history
    ]
    waiting += [key for key in known if key[1] in held]
    wanted: set[tuple[str, str]] = set()
    while waiting:
        key = waiting.pop()
        if key in wanted or key not in known:
            continue
        wanted.add(key)
        waiting += [(item.kind, item.id) for item in known[key].manifest.inputs if item.id]
    return wanted


def _of_artifact(artifact: Artifact) -> Garbage:
    manifest = artifact.manifest
    made = time.strptime(manifest.created, "%Y-%m-%dT%H:%M:%SZ")
    return Garbage(
        what="artifact",
        kind=artifact.kind,
        id=artifact.id,
        path=artifact.path,
        size_bytes=sum(entry.bytes for entry in (*manifest.files, *manifest.logs)),
        changed_s=calendar.timegm(made),
    )


def _unfinished(store: Store) -> Iterator[Garbage]:
    """Yield builds nobody works on."""
    for folder in sorted(store.staging.glob("?" * 64)):
        taken = holder(store.lock_path(folder.name)) if folder.is_dir() else None
        if taken is not None and not taken.held:
            yield _item("unfinished", folder)


def _item(what: Literal["unfinished", "rest"], path: Path) -> Garbage:
    listing = scan(path)
    sizes = [(path / file).lstat() for file in listing.files]
    times = [path.lstat().st_mtime, *(item.st_mtime for item in sizes)]
    return Garbage(
        what=what,
        kind="",
        id=path.name.removeprefix(REMOVED),
        path=path,
        size_bytes=sum(item.st_size for item in sizes),
        changed_s=max(times),
    )


def require_quiet(store: Store) -> None:
    """Refuse to remove anything while somebody is at work: nobody knows what they read.

    Raises:
        Busy: a run is at work in the store.
    """
    for path in sorted(store.staging.glob("*.lock")):
        taken = holder(path)
        if taken is not None and taken.held:
            raise Busy(
                f"`{taken.label}` is at work ({taken.process}), and what it reads must stay",
                hint="wait until it is done, then run the same command again",
            )


def remove_garbage(store: Store, item: Garbage) -> None:
    """Remove one thing: out of sight in one rename, then file by file.

    A kill in between leaves a rest that is found the next time.

    Raises:
        Busy: somebody began to make it again.
        ArtifactError: the system refuses.
    """
    with locked(store.lock_path(item.id), label="removing"):
        hidden = item.path
        if item.what != "rest":
            hidden = store.staging / f"{REMOVED}{item.id}"
            remove(hidden)
            with disk_errors(item.path, doing="remove"):
                os.rename(item.path, hidden)
                fsync_folder(item.path.parent)
        remove(hidden)
