"""Making an artifact: file by file, resumable, visible only when it is complete.

lock -> write files -> fsync each -> manifest last -> one rename into `objects/` -> fsync the folder.
A run that is killed anywhere leaves finished files for the next one, and no object.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from ketchup_cli.errors import (
    ArtifactError,
    Damaged,
    KetchupError,
    NotFound,
)
from ketchup_cli.store import manifest as manifests
from ketchup_cli.store.artifact import Artifact, Input, lookup
from ketchup_cli.store.digest import LOGS, recipe_id, table_digest
from ketchup_cli.store.encoding import json_document, json_lines
from ketchup_cli.store.files import (
    check_space,
    disk_errors,
    disk_is_full,
    make_folder,
    no_space,
    read_capped,
    remove,
    scan,
)
from ketchup_cli.store.layout import Store
from ketchup_cli.store.lock import locked
from ketchup_cli.store.manifest import InputEntry, Manifest
from ketchup_cli.store.staging import RESERVED, STATE, Staging


@contextmanager
def begin(
    store: Store,
    *,
    kind: str,
    version: int,
    spec: Mapping[str, Any],
    inputs: Sequence[Input],
    label: str,
) -> Iterator["Build"]:
    """Open the artifact of this recipe for building, or go on where a killed run stopped.

    The lock is held until the block ends. If the block raises, what is finished stays for the next
    run. If another run published the artifact meanwhile, `Build.published` is set: leave then.

    Args:
        store: where it will lie.
        kind: kind of artifact.
        version: version of what its stage means.
        spec: the resolved spec, every default written out.
        inputs: what the stage reads.
        label: what to call this work to others who want the lock.

    Raises:
        Busy: another process builds it.
        NoSpace: the disk is full.
        ArtifactError: the system refuses.
    """
    recipe = [(item.role, item.digest) for item in inputs]
    id = recipe_id(kind, version, spec=spec, inputs=recipe)
    make_folder(store.staging)
    with locked(store.lock_path(id), label=label):
        build = Build(
            store,
            _Recipe(kind=kind, version=version, id=id, spec=dict(spec), inputs=tuple(inputs)),
        )
        try:
            yield build
        except KetchupError:
            raise
        except Exception as error:
            if disk_is_full(error):
                raise no_space(_where(error) or store.root) from error
            raise
        finally:
            build.close()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """What the id was made from."""

    kind: str
    version: int
    id: str
    spec: Mapping[str, Any]
    inputs: tuple[Input, ...]


@final
class Build:
    """An artifact under construction; made by `begin`, used while its block lasts.

    Invariant: a file that `has` knows is whole and durable, and a later run keeps it.

    Example: `with begin(...) as build: build.write_json("meta.json", {}); build.commit(...)`
    """

    def __init__(self, store: Store, recipe: _Recipe) -> None:
        """Look at what earlier runs left, clean it, and finish a publication they began."""
        self.kind = recipe.kind
        self.id = recipe.id
        self._store = store
        self._recipe = recipe
        self._open = True
        self._target = store.object_path(recipe.kind, recipe.id)
        self._staging = Staging(store.staging_path(recipe.id))
        self.published = lookup(store, recipe.kind, recipe.id)
        """The artifact, where it exists already."""
        if self.published is None and self._staging.complete:
            self._staging.publish(self._target)
            self.published = lookup(store, recipe.kind, recipe.id)

    @property
    def path(self) -> Path:
        """The folder under construction; read from it, never write into it."""
        return self._staging.path

    @property
    def state_path(self) -> Path:
        """A folder for checkpoints of this run; it outlives a kill and is gone after the commit."""
        self._require_open()
        folder = self.path / STATE
        make_folder(folder)
        return folder

    @property
    def files(self) -> tuple[str, ...]:
        """The finished files, sorted."""
        return tuple(sorted(self._staging.finished))

    def has(self, name: str) -> bool:
        """Return whether the file is finished, in this run or an earlier one."""
        return name in self._staging.finished

    def read_bytes(self, name: str) -> bytes:
        """Return the content of a finished file.

        Raises:
            NotFound: it is not finished.
        """
        if not self.has(name):
            raise NotFound(f"`{name}` is not finished in `{self.path}`", hint="write it first")
        size_bytes = self._staging.finished[name].bytes
        return read_capped(self.path / name, limit_bytes=size_bytes)

    def write_bytes(self, name: str, data: bytes | memoryview) -> None:
        """Write a whole file; one of that name is replaced.

        Raises:
            ArtifactError: no file of an artifact may have that name, or the system refuses.
            NoSpace: the disk is full.
        """
        self._write(name, (data,))

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON document for programs and people: sorted keys, two spaces of indent.

        Raises:
            NonFiniteError: a NaN or an infinity is in it.
            ArtifactError, NoSpace: as in `write_bytes`.
        """
        self._write(name, (json_document(value, name=name),))

    def write_rows(self, name: str, rows: Iterable[object]) -> None:
        """Write JSON Lines, one canonical document for each row; the file appears whole.

        Raises:
            NonFiniteError: a NaN or an infinity is in a row.
            ArtifactError, NoSpace: as in `write_bytes`.
        """
        self._write(name, json_lines(rows, name=name))

    def scratch(self) -> Path:
        """Return a new empty folder for a library to write into; `adopt` takes what is there."""
        self._require_open()
        with disk_errors(self.path):
            return Path(tempfile.mkdtemp(prefix=".scratch-", dir=self.path))

    def adopt(self, folder: Path, prefix: str = "") -> tuple[str, ...]:
        """Take every file of a scratch folder over, in sorted order, and remove the folder.

        A kill in the middle leaves some of them finished: to learn whether all are, ask `has` for
        the last name, or for a file written afterwards.

        Args:
            folder: what `scratch` returned.
            prefix: folder inside the artifact; "" for its top.

        Returns:
            The names of the files inside the artifact.

        Raises:
            Damaged: a link or a special file is among them.
            ArtifactError, NoSpace: as in `write_bytes`.
        """
        listing = scan(folder)
        if listing.others:
            raise Damaged(
                f"`{folder / listing.others[0]}` is neither a regular file nor a folder",
                hint="write copies into an artifact, not links",
            )
        names = tuple(f"{prefix}/{path}" if prefix else path for path in listing.files)
        for name in names:
            self._check_name(name)
        for path, name in zip(listing.files, names, strict=True):
            self._staging.take(folder / path, name)
        remove(folder)
        return names

    def log_path(self, name: str) -> Path:
        """Return the path of a log to append to: kept and hashed, but no part of the digest.

        What an earlier run wrote is still there, its last line possibly torn.

        Raises:
            ArtifactError: no file of an artifact may have that name.
        """
        self._require_open()
        if not manifests.is_safe_path(name):
            raise _bad_name(name)
        path = self.path / LOGS / name
        make_folder(path.parent)
        return path

    def require_space(self, needed_bytes: int) -> None:
        """Refuse to start what will not fit, with 5 % and a little more to spare.

        Raises:
            NoSpace: with both numbers.
        """
        check_space(self.path, needed_bytes=needed_bytes)

    def commit(
        self,
        *,
        summary: Mapping[str, Any],
        signature: str,
        environment: Mapping[str, Any],
        seconds: float,
    ) -> Artifact:
        """Publish the finished files as an immutable object, in one rename.

        Where the id is published already, that stays; if its bytes differ from these, the
        artifact returned says so in `other_digest`.

        Raises:
            ArtifactError: a file was written past the build, or the summary is no JSON.
            Damaged: a finished file is gone.
            NoSpace: the disk is full.
        """
        self._require_open()
        manifest = self._manifest(
            summary=summary, signature=signature, environment=environment, seconds=seconds
        )
        published = lookup(self._store, self.kind, self.id)
        if published is None:
            manifests.write(self.path, manifest)
            self._staging.publish(self._target)
            published = lookup(self._store, self.kind, self.id)
            assert published is not None
        self._open = False
        differs = published.digest != manifest.digest
        return replace(published, other_digest=manifest.digest if differs else None)

    def close(self) -> None:
        """Remove the folder if a later run could use nothing in it; `begin` calls this."""
        self._open = False
        if self._target.is_dir() or not self._staging.holds_work:
            remove(self.path)

    def _manifest(
        self,
        *,
        summary: Mapping[str, Any],
        signature: str,
        environment: Mapping[str, Any],
        seconds: float,
    ) -> Manifest:
        files = self._staging.content()
        return Manifest(
            kind=self.kind,
            kind_version=self._recipe.version,
            id=self.id,
            digest=table_digest(files),
            spec=dict(self._recipe.spec),
            inputs=tuple(_input_entry(item) for item in self._recipe.inputs),
            files=files,
            logs=self._staging.logs(),
            summary=dict(summary),
            signature=signature,
            environment=dict(environment),
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            seconds=seconds,
        )

    def _write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        self._check_name(name)
        self._staging.write(name, chunks)

    def _check_name(self, name: str) -> None:
        self._require_open()
        top = name.split("/", 1)[0]
        if not manifests.is_safe_path(name) or top in RESERVED:
            raise _bad_name(name)

    def _require_open(self) -> None:
        if not self._open:
            raise ArtifactError(
                f"{self.kind} `{self.id[:8]}` is no longer under construction",
                hint="write inside the block of `begin`, before the commit",
            )


def _where(error: BaseException) -> Path | None:
    name = getattr(error, "filename", None)
    return Path(name) if isinstance(name, str) else None


def _bad_name(name: str) -> ArtifactError:
    return ArtifactError(
        f"{name!r:.80} cannot be a file of an artifact",
        hint="use letters, digits, `.`, `_`, `-` and `/`, 200 at most",
    )


def _input_entry(item: Input) -> InputEntry:
    return InputEntry(
        role=item.role, kind=item.kind, id=item.id, digest=item.digest, label=item.label
    )
