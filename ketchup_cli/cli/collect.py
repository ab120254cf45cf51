"""`ketchup gc`: what no name refers to any more, and its removal."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.console import Console, human_bytes, print_json, print_result, table_lines
from ketchup_cli.cli.request import SCHEMA_VERSION
from ketchup_cli.errors import NotFound

if TYPE_CHECKING:
    from ketchup_cli.cli.project import Project
    from ketchup_cli.store.garbage import Garbage
    from ketchup_cli.store.layout import Store

HOURS = 24.0
"""Age below which nothing is removed: what was just made may yet be given a name."""

RemoveOption = Annotated[
    bool,
    typer.Option("--remove/--dry-run", help="Remove what is listed, or only list it (default)."),
]
OlderOption = Annotated[
    float, typer.Option("--older", metavar="HOURS", min=0.0, help="Leave alone what is younger.")
]


def gc(
    remove: RemoveOption = False,
    older: OlderOption = HOURS,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> None:
    """List or remove what no name refers to.

    Kept are all artifacts that a name means or ever meant, those `ketchup.toml` names, and what they
    were made from. Runs that were given up go too. Nothing is removed while somebody is at work.
    """
    from ketchup_cli.cli.project import load_project
    from ketchup_cli.store import garbage
    from ketchup_cli.store.layout import Store

    project = load_project(config, store=store)
    place = Store.open(project.store, create=False)
    if remove:
        garbage.require_quiet(place)
    found = garbage.find_garbage(
        place, kept=_named(project, place), older_s=3600 * older, now_s=time.time()
    )
    if remove:
        for item in found:
            garbage.remove_garbage(place, item)
    _print(found, removed=remove, json=json)


def _named(project: "Project", place: "Store") -> list[str]:
    """Return the ids of artifacts `ketchup.toml` names by id."""
    from ketchup_cli.store import find

    ids = []
    for text in project.names.values():
        try:
            ids.append(find.find(place, text).id)
        except NotFound:
            continue  # a folder, a model of a hub, or not made yet
    return ids


def _print(found: list["Garbage"], *, removed: bool, json: bool) -> None:
    size = sum(item.size_bytes for item in found)
    if json:
        rows = [_row_json(item) for item in found]
        print_json({
            "schema_version": SCHEMA_VERSION,
            "removed": removed,
            "bytes": size,
            "items": rows,
        })
        return
    console = Console()
    if not found:
        console.note("nothing", "there is nothing that no name refers to")
        return
    cells = [
        (
            item.what,
            item.kind or "-",
            item.id[:8],
            _date(item.changed_s),
            human_bytes(item.size_bytes),
        )
        for item in found
    ]
    for line in table_lines(("what", "kind", "id", "written", "size"), cells):
        print_result(line)
    if removed:
        console.note("removed", f"{len(found):,}, {human_bytes(size)}")
    else:
        console.note("dry run", f"{len(found):,}, {human_bytes(size)}; nothing was removed")
        console.note("next", "ketchup gc --remove, with the same options")


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _row_json(item: "Garbage") -> dict[str, str | int | None]:
    return {
        "what": item.what,
        "kind": item.kind or None,
        "id": item.id,
        "path": str(Path(item.path)),
        "bytes": item.size_bytes,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(item.changed_s)),
    }


COMMANDS: o.Commands = (("gc", gc, "ketchup gc"),)
