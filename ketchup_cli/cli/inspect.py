"""Commands that look after what is on disk: ls, show, path, lineage, verify."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.console import (
    Console,
    human_bytes,
    human_seconds,
    print_json,
    print_result,
    table_lines,
)
from ketchup_cli.cli.request import SCHEMA_VERSION
from ketchup_cli.errors import ArtifactError

if TYPE_CHECKING:
    from ketchup_cli.store.find import Artifact, Node
    from ketchup_cli.store.layout import Store
    from ketchup_cli.store.verify import Report

CHECK_FAILED = 3

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A name, NAME@N, an id, or its first digits.")
]
OptionalNameArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="A name, whose history is listed.")
]
NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or ids; none means all.")
]
TreeOption = Annotated[bool, typer.Option("--tree", help="Show what it was made from.")]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Compare names and sizes, not contents.")
]


def _open(config: Path | None, store: Path | None) -> "Store":
    from ketchup_cli.cli.project import load_project
    from ketchup_cli.store.layout import Store

    return Store.open(load_project(config, store=store).store, create=False)


def ls(
    name: OptionalNameArgument = None,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> None:
    """List artifacts, or the history of one name.

    By kind, the oldest first. Of every name the newest is listed; the older ones are counted in
    the note.
    """
    place = _open(config, store)
    console = Console(plain=json)
    rows = _history_rows(place, name) if name else list(_newest_rows(place, console))
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "artifacts": [_row_json(*r) for r in rows]})
        return
    if not rows:
        console.note("empty", f"the store `{place.root}` holds no artifact yet")
        return
    header = ("kind", "name", "id", "made", "size", "note")
    for line in table_lines(header, [_row_cells(*row) for row in rows]):
        print_result(line)


Row = tuple[str, "Artifact", int]
"""Name as NAME@N or empty, artifact, and how many older ones the name has."""


def _newest_rows(place: "Store", console: Console) -> Iterator[Row]:
    from ketchup_cli.store import find

    known = find.names(place)
    named = {(entry.kind, entry.id) for history in known.values() for entry in history}
    newest: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for name, history in known.items():
        shown = (f"{name}@{len(history)}", len(history) - 1)
        newest.setdefault((history[-1].kind, history[-1].id), []).append(shown)

    def say(error: ArtifactError) -> None:
        console.note("damaged", error.message)

    for artifact in _by_age(find.artifacts(place, on_error=say)):
        key = (artifact.kind, artifact.id)
        for name, older in newest.get(key, ()):
            yield name, artifact, older
        if key not in named:
            yield "", artifact, 0


def _by_age(found: Iterable["Artifact"]) -> list["Artifact"]:
    """Return artifacts in the order they are listed in: by kind, the oldest first."""
    return sorted(found, key=lambda item: (item.kind, item.manifest.created, item.id))


def _history_rows(place: "Store", name: str) -> list[Row]:
    from ketchup_cli.store import find

    base = name.partition("@")[0]
    history = find.names(place).get(base)
    if history is None:
        return [("", find.find(place, name), 0)]
    rows: list[Row] = []
    for number, entry in enumerate(history, start=1):
        artifact = find.lookup(place, entry.kind, entry.id)
        if artifact is None:
            shown = f"{base}@{number} was {entry.kind} {entry.id[:8]}, no longer in the store"
            Console(plain=True).note("gone", shown)
        else:
            rows.append((f"{base}@{number}", artifact, 0))
    return rows


def _row_cells(name: str, artifact: "Artifact", older: int) -> tuple[str, ...]:
    from ketchup_cli.cli.describe import made_by, note_of, short, size_bytes

    note = ", ".join(filter(None, [note_of(artifact.manifest), made_by(artifact.manifest)]))
    more = f"   ({older} older)" if older else ""
    made = artifact.manifest.created.replace("T", " ")[:16]
    size = human_bytes(size_bytes(artifact.manifest))
    return artifact.kind, name or "-", short(artifact.id), made, size, note + more


def _row_json(name: str, artifact: "Artifact", older: int) -> dict[str, Any]:
    from ketchup_cli.cli.describe import made_by, size_bytes

    return {
        "kind": artifact.kind,
        "name": name or None,
        "older": older,
        "id": artifact.id,
        "digest": artifact.digest,
        "made": artifact.manifest.created,
        "made_by": made_by(artifact.manifest),
        "bytes": size_bytes(artifact.manifest),
        "path": str(artifact.path),
        "summary": artifact.manifest.summary,
    }


def show(
    name: NameArgument,
    tree: TreeOption = False,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> None:
    """Show what an artifact is and what made it."""
    import msgspec

    from ketchup_cli.cli.tree import print_tree, tree_json
    from ketchup_cli.store import find

    place = _open(config, store)
    artifact = find.find(place, name)
    if json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "name": find.name_of(place, artifact.id),
            "path": str(artifact.path),
            "manifest": msgspec.to_builtins(artifact.manifest),
        }
        if tree:
            document["lineage"] = tree_json(place, _ancestors(place, artifact, name))
        print_json(document)
        return
    for heading, text in _facts(artifact, find.name_of(place, artifact.id)):
        print_result(f"{heading:<13}{text}".rstrip())
    if tree:
        print_tree(place, _ancestors(place, artifact, name))


def _ancestors(place: "Store", artifact: "Artifact", text: str) -> "Node":
    """Return the lineage of what `text` means, under the name it was asked by."""
    from ketchup_cli.store import find

    called = find.name_of(place, artifact.id, called=text)
    return find.lineage(place, artifact, called=called or "")


def _facts(artifact: "Artifact", name: str | None) -> Iterator[tuple[str, str]]:
    from ketchup_cli.cli.console import clean
    from ketchup_cli.cli.describe import made_by, short
    from ketchup_cli.cli.settings import flatten

    manifest = artifact.manifest
    yield "kind", f"{artifact.kind}, version {manifest.kind_version}"
    yield "name", name or "-"
    yield "id", artifact.id
    yield "digest", artifact.digest
    yield "path", str(artifact.path)
    yield "made", f"{manifest.created} in {human_seconds(manifest.seconds)}"
    yield "by", clean(made_by(manifest))
    yield "signature", clean(manifest.signature)
    for item in manifest.inputs:
        where = item.id[:8] if item.id else short(item.digest)
        yield "input", clean(f"{item.role}  {item.kind}  {item.label}  {where}")
    for heading in ("spec", "summary", "environment"):
        for key, value in flatten(getattr(manifest, heading)).items():
            yield heading, clean(f"{key} = {value}")
    for entry in (*manifest.files, *manifest.logs):
        yield "file", f"{entry.path}  {human_bytes(entry.bytes)}  {short(entry.digest)}"


def path(name: NameArgument, config: o.ConfigOption = None, store: o.StoreOption = None) -> None:
    """Print the folder of an artifact."""
    from ketchup_cli.store import find

    print_result(str(find.find(_open(config, store), name).path))


def lineage(
    name: NameArgument,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> None:
    """Show what an artifact was made from, as a tree."""
    from ketchup_cli.cli.tree import print_tree, tree_json
    from ketchup_cli.store import find

    place = _open(config, store)
    node = _ancestors(place, find.find(place, name), name)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "lineage": tree_json(place, node)})
    else:
        print_tree(place, node)


def verify(
    names: NamesArgument = None,
    quick: QuickOption = False,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> int:
    """Hold artifacts against their manifests.

    Lists files that are extra, missing or changed, and leaves with 3 where there are any.
    """
    from ketchup_cli.store import verify as checking

    place = _open(config, store)
    results = [
        (folder, checking.verify(folder, depth="quick" if quick else "full"))
        for folder in _folders(place, names or ())
    ]
    intact = all(report.intact for _, report in results)
    if json:
        checked = [_report_json(folder, report) for folder, report in results]
        print_json({"schema_version": SCHEMA_VERSION, "intact": intact, "artifacts": checked})
    else:
        for folder, report in results:
            _print_report(place, folder, report)
    return 0 if intact else CHECK_FAILED


def _folders(place: "Store", names: Sequence[str]) -> list[Path]:
    from ketchup_cli.store import find

    if names:
        return [find.find(place, name).path for name in names]
    # one that cannot be read has no date: after the others of its kind
    readable = [item.path for item in _by_age(find.artifacts(place, on_error=lambda _error: None))]
    rank = {path: number for number, path in enumerate(readable)}
    folders = sorted(path for path in place.objects.glob("*/*") if path.is_dir())
    return sorted(folders, key=lambda path: (path.parent.name, rank.get(path, len(rank))))


def _print_report(place: "Store", folder: Path, report: "Report") -> None:
    from ketchup_cli.store import find

    name = find.name_of(place, folder.name) or "-"
    state = "intact" if report.intact else "damaged"
    print_result(f"{state:<9}{folder.parent.name}  {name}  {folder.name[:8]}")
    for what in ("extra", "missing", "changed"):
        for file in getattr(report, what):
            print_result(f"  {what:<9}{file}")
    if report.reason:
        print_result(f"  {report.reason}")


def _report_json(folder: Path, report: "Report") -> dict[str, Any]:
    return {
        "kind": folder.parent.name,
        "id": folder.name,
        "path": str(folder),
        "intact": report.intact,
        "extra": list(report.extra),
        "missing": list(report.missing),
        "changed": list(report.changed),
        "reason": report.reason or None,
    }


COMMANDS: o.Commands = (
    ("ls", ls, "ketchup ls"),
    ("show", show, "ketchup show kl-student --tree"),
    ("path", path, "ketchup path kl-student"),
    ("lineage", lineage, "ketchup lineage ketchup-student"),
    ("verify", verify, "ketchup verify"),
)
