"""Which run a name means, and what has become of it."""

import calendar
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from ketchup_cli.errors import NotFound, SpecError
from ketchup_cli.store import find
from ketchup_cli.store.artifact import SHOWN_DIGITS, Artifact
from ketchup_cli.store.digest import LOGS
from ketchup_cli.store.layout import Store
from ketchup_cli.store.lock import Holder, holder
from ketchup_cli.store.names import HEXADECIMAL
from ketchup_cli.watching.curves import Curves
from ketchup_cli.watching.follow import Follower, Line

LOG = "metrics.jsonl"
STAGES = ("train", "distill")
"""The stages that keep such a log."""

State = Literal["waiting", "running", "finished", "dead"]
"""waiting has logged nothing yet; dead is not finished, and nobody works on it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name means: an artifact, or one under construction."""

    id: str
    label: str
    held: bool = False
    logged: bool = False
    """Whether it has a log already."""
    changed: float = 0.0
    """When it was last written to (seconds since the epoch)."""


def find_run(store: Store, text: str | None) -> Found:
    """Return the run that `text` means; without one, the run that is at work.

    One at work is preferred to others of its name, and of these the newest.

    Raises:
        NotFound: there is none, or it is of a stage that keeps no log of this kind.
        SpecError: several runs are at work and could be meant.
    """
    builds = [build for build in _builds(store) if text is None or _means(text, build)]
    working = [build for build in builds if build.held]
    if text is None:
        # other stages hold locks too
        working = [build for build in working if build.logged] or working
    if len(working) > 1:
        raise _several(working)
    if working:
        return working[0]
    if text is None:
        raise NotFound("no run is at work in this store", hint="ketchup watch NAME")
    return _newest(store, text, [build for build in builds if build.logged])


def _several(working: list[Found]) -> SpecError:
    listed = ", ".join(f"`{build.label}` ({build.id[:SHOWN_DIGITS]})" for build in working)
    return SpecError(
        f"{len(working)} runs are at work: {listed}",
        hint=f"ketchup watch {working[0].id[:SHOWN_DIGITS]}",
    )


def _newest(store: Store, text: str, stopped: list[Found]) -> Found:
    """Return the newest of the stopped runs and the artifact of that name."""
    try:
        artifact = find.find(store, text)
    except NotFound:
        if not stopped:
            raise
        return max(stopped, key=lambda build: build.changed)
    _require_log(artifact, text)
    created = time.strptime(artifact.manifest.created, "%Y-%m-%dT%H:%M:%SZ")
    label = find.name_of(store, artifact.id, called=text) or artifact.id[:SHOWN_DIGITS]
    made = Found(id=artifact.id, label=label, changed=calendar.timegm(created))
    return max([made, *stopped], key=lambda build: build.changed)


def _require_log(artifact: Artifact, text: str) -> None:
    if any(entry.path == f"{LOGS}/{LOG}" for entry in artifact.manifest.logs):
        return
    maker = artifact.manifest.signature.partition("/")[0]
    raise NotFound(
        f"`{text}` is a {artifact.kind} that `{maker}` made, which logs no training",
        hint=f"watch what {' or '.join(STAGES)} made: ketchup ls",
    )


def _builds(store: Store) -> Iterator[Found]:
    """Yield what is under construction."""
    for folder in sorted(store.staging.glob("?" * 64)):
        taken = holder(store.lock_path(folder.name)) if folder.is_dir() else None
        if taken is None:
            continue
        log = folder / LOGS / LOG
        try:
            changed = log.stat().st_mtime
        except FileNotFoundError:
            changed = 0.0
        yield Found(
            id=folder.name,
            label=taken.label or folder.name[:SHOWN_DIGITS],
            held=taken.held,
            logged=changed > 0,
            changed=changed,
        )


def _means(text: str, build: Found) -> bool:
    if HEXADECIMAL.fullmatch(text) is not None:
        return build.id.startswith(text)
    return build.label == unicodedata.normalize("NFC", text)


@final
class Watched:
    """A run that is looked at again and again.

    Example: `watched.look()` is "running" until it is "finished" or "dead".
    """

    def __init__(self, store: Store, found: Found) -> None:
        self.id = found.id
        self.label = found.label
        self.curves = Curves()
        self.new_lines: list[Line] = []
        """What the last look found."""
        self.holder: Holder | None = None
        self.artifact: Artifact | None = None
        self._store = store
        self._follower = Follower()

    @property
    def unreadable(self) -> int:
        """Lines of the log that were no JSON."""
        return self._follower.unreadable

    @property
    def log(self) -> Path:
        """Where the log lies now."""
        folder = self._store.staging_path(self.id) if self.artifact is None else self.artifact.path
        return folder / LOGS / LOG

    def look(self) -> State:
        """Read what is new, and return how the run stands.

        Raises:
            NotFound: it has become an artifact without a log of a training.
            Damaged, TooNew, ArtifactError: log or artifact cannot be read.
        """
        # in this order: a run publishes before it lets its lock go
        self.holder = holder(self._store.lock_path(self.id))
        self.artifact = self._published()
        if self.artifact is not None:
            _require_log(self.artifact, self.label)
        self._read()
        if self.artifact is not None:
            self._trust(self.artifact)
            return "finished"
        if self.holder is None or not self.holder.held:
            return "dead"
        return "running" if self._follower.opened else "waiting"

    def close(self) -> None:
        """Let go of the log."""
        self._follower.close()

    def _published(self) -> Artifact | None:
        folders = sorted(self._store.objects.glob(f"*/{self.id}"))
        return find.lookup(self._store, folders[0].parent.name, self.id) if folders else None

    def _read(self) -> None:
        self.new_lines = self._follower.look(self.log)
        if self._follower.restarted:
            self.curves = Curves()
        for line in self.new_lines:
            self.curves.add(line)

    def _trust(self, artifact: Artifact) -> None:
        """Take from the manifest what logs of older versions do not say."""
        spec, summary = artifact.manifest.spec, artifact.manifest.summary
        self.curves.total = spec.get("updates", self.curves.total)
        self.curves.metric = summary.get("metric", self.curves.metric)
        self.curves.best_update = summary.get("best_update", self.curves.best_update)
