"""Where things lie in a store.

ketchup-store.json               {"store_format": 1}
objects/<kind>/<id>/             manifest.json and files: complete and immutable, or absent
names/<name>.json                name -> history of ids, the only thing that changes
tmp/<id>/ and tmp/<id>.lock      under construction; resumable; no stage reads it
trackers/<tracker>/              what trackers wrote for themselves; nothing of ours reads it
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

from ketchup_cli.errors import Damaged, NotFound, TooNew
from ketchup_cli.store.files import make_folder, read_capped, replace_file
from ketchup_cli.store.lock import locked

STORE_FORMAT = 1
MARKER = "ketchup-store.json"
_MARKER_BYTES = 4096
_WAIT_S = 10.0


@final
@dataclass(frozen=True, slots=True)
class Store:
    """The paths inside one store; holds no state.

    Example: `Store.open(Path("runs")).object_path("corpus", id)`
    """

    root: Path

    @classmethod
    def open(cls, root: Path, *, create: bool = True) -> Self:
        """Return the store at `root`, making the folder and its marker where they are missing.

        With `create=False` nothing is written, and a folder that is not there is an empty store.

        Raises:
            TooNew: a later ketchup made it.
            Damaged: the marker makes no sense.
            NoSpace, ArtifactError: the disk is full, or the system refuses.
        """
        store = cls(root)
        if not store._is_marked() and create:
            make_folder(store.staging)
            with locked(store.staging / "store.lock", label="making the store", wait_s=_WAIT_S):
                store._mark()
        return store

    @property
    def objects(self) -> Path:
        """The folder of finished artifacts, by kind."""
        return self.root / "objects"

    @property
    def names(self) -> Path:
        """The folder of names."""
        return self.root / "names"

    @property
    def staging(self) -> Path:
        """The folder of artifacts under construction."""
        return self.root / "tmp"

    @property
    def trackers(self) -> Path:
        """The folder of trackers that write files."""
        return self.root / "trackers"

    def object_path(self, kind: str, id: str) -> Path:
        """Return where the finished artifact lies."""
        return self.objects / kind / id

    def staging_path(self, id: str) -> Path:
        """Return where the artifact is built."""
        return self.staging / id

    def lock_path(self, id: str) -> Path:
        """Return the lock file of whoever builds the artifact."""
        return self.staging / f"{id}.lock"

    def name_path(self, name: str) -> Path:
        """Return the file that holds the history of a name."""
        return self.names / f"{name}.json"

    def _is_marked(self) -> bool:
        path = self.root / MARKER
        try:
            content = read_capped(path, limit_bytes=_MARKER_BYTES)
        except NotFound:
            return False
        found = _store_format(content)
        if found is None or found < 1:
            raise Damaged(
                f"`{path}` does not say which format the store has",
                hint="name another store with --store",
            )
        if found > STORE_FORMAT:
            raise TooNew(
                f"`{self.root}` was made by a newer ketchup (store format {found}, "
                f"this one knows {STORE_FORMAT})",
                hint="pip install -U ketchup-kd",
            )
        return True

    def _mark(self) -> None:
        if not self._is_marked():
            content = json.dumps({"store_format": STORE_FORMAT}).encode("ascii") + b"\n"
            replace_file(self.root / MARKER, content, part=self.staging / f"{MARKER}.part")


def _store_format(content: bytes) -> int | None:
    try:
        found = json.loads(content)["store_format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if type(found) is int else None
