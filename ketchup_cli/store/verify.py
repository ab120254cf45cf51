"""Holding an artifact against its manifest."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, final

from ketchup_cli.errors import Damaged, NotFound
from ketchup_cli.store import manifest as manifests
from ketchup_cli.store.digest import MANIFEST, FileEntry, file_entry
from ketchup_cli.store.files import scan

Depth = Literal["quick", "full"]
"""quick compares names and sizes, full every byte."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What differs, as sorted relative paths; all three are empty for a sound artifact."""

    extra: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    reason: str = ""
    """What is wrong with the manifest itself, where something is."""

    @property
    def intact(self) -> bool:
        """Whether nothing differs."""
        return not (self.extra or self.missing or self.changed)


def verify(folder: Path, *, depth: Depth = "full") -> Report:
    """Return how the files in `folder` differ from what its manifest lists; changes nothing.

    Raises:
        NotFound: there is no such folder.
        TooNew: a later ketchup wrote it.
        ArtifactError: the disk cannot be read, which says nothing about the content.
    """
    if not folder.is_dir():
        raise NotFound(f"no folder `{folder}`", hint="ketchup ls")
    try:
        manifest = manifests.read(folder)
    except NotFound as error:
        return Report(missing=(MANIFEST,), reason=error.message)
    except Damaged as error:
        return Report(changed=(MANIFEST,), reason=error.message)
    return _compare(folder, (*manifest.files, *manifest.logs), depth=depth)


def _compare(folder: Path, entries: tuple[FileEntry, ...], *, depth: Depth) -> Report:
    listing = scan(folder)
    listed = {entry.path for entry in entries} | {MANIFEST}
    parents = {parent.as_posix() for path in listed for parent in PurePosixPath(path).parents}
    present = {*listing.files, *listing.folders, *listing.others}
    regular = set(listing.files)
    changed = [
        entry.path
        for entry in entries
        if entry.path in present
        and (entry.path not in regular or not _agrees(folder, entry, depth=depth))
    ]
    return Report(
        extra=tuple(sorted(present - listed - parents)),
        missing=tuple(sorted(listed - present)),
        changed=tuple(sorted(changed)),
    )


def _agrees(folder: Path, entry: FileEntry, *, depth: Depth) -> bool:
    size_bytes = (folder / entry.path).lstat().st_size
    return size_bytes == entry.bytes and (
        depth == "quick" or file_entry(folder, entry.path) == entry
    )


def ensure_intact(folder: Path, *, depth: Depth = "full") -> None:
    """Refuse an artifact that differs from its manifest.

    Raises:
        Damaged: it differs; the message names the first files.
        NotFound, TooNew, ArtifactError: it cannot be read.
    """
    report = verify(folder, depth=depth)
    if report.intact:
        return
    parts = [
        f"{what} {_few(paths)}"
        for what, paths in (
            ("changed", report.changed),
            ("missing", report.missing),
            ("extra", report.extra),
        )
        if paths
    ]
    raise Damaged(
        f"`{folder}` differs from its manifest: {'; '.join(parts)}",
        hint="remove the folder and run the stage that made it again",
    )


def _few(paths: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{path}`" for path in paths[:3])
    return shown if len(paths) <= 3 else f"{shown} (and {len(paths) - 3} more)"
