"""The command that writes a page about artifacts."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.console import Console, human_bytes, print_json, print_result
from ketchup_cli.cli.request import SCHEMA_VERSION
from ketchup_cli.errors import Damaged, NotFound, SpecError

if TYPE_CHECKING:
    from ketchup_cli.pages.sources import Sources

FILE_NAME = "report.html"
ITEMS = 12

NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Names, NAME@N, or ids, of any kind.")
]
OutputOption = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="The page; an older page is replaced."),
]
ItemsOption = Annotated[
    int, typer.Option("--items", metavar="N", min=0, help="Items shown side by side.")
]


def report(
    names: NamesArgument,
    output: OutputOption = Path(FILE_NAME),
    items: ItemsOption = ITEMS,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    dry_run: o.DryRunOption = False,
    json: o.InspectJsonOption = False,
) -> None:
    """Write one HTML page about artifacts.

    Shows each named artifact and what it was made from; of a model also its texts in the store and
    their scores. The page holds no script and loads nothing. A file that no report wrote is kept.
    """
    from ketchup_cli.cli.project import load_project
    from ketchup_cli.pages.sources import gather
    from ketchup_cli.store.layout import Store

    _check_output(output)
    place = Store.open(load_project(config, store=store).store, create=False)
    console = Console(plain=json)
    sources = gather(place, names)
    _show_plan(sources, console)
    size = 0
    if dry_run:
        console.note("dry run", "nothing was written")
    else:
        size = _write(sources, output, items=items)
        console.note("done", f"{output}   {human_bytes(size)}")
    if json:
        print_json({
            "schema_version": SCHEMA_VERSION,
            "path": str(output),
            "bytes": size,
            "dry_run": dry_run,
            "artifacts": [_row(source) for source in sources],
        })
    else:
        print_result(str(output))


def _row(source: object) -> dict[str, object]:
    return {name: getattr(source, name) for name in ("name", "kind", "key", "state", "asked")}


def _show_plan(sources: "Sources", console: Console) -> None:
    for number, source in enumerate(source for source in sources if source.artifact):
        words = f"{source.kind:<15} {source.name}   {source.key[:8]}"
        console.note("" if number else "report", words + ("   as named" if source.asked else ""))


def _write(sources: "Sources", output: Path, *, items: int) -> int:
    """Write the page in one step, and return its size."""
    from ketchup_cli import __version__
    from ketchup_cli.pages.page import make_page
    from ketchup_cli.pages.render import html
    from ketchup_cli.store.files import replace_file

    page = make_page(sources, commands=_commands(sources), items=items, version=__version__)
    content = html(page)
    # a part of this process's own: two reports at once must not write into one another's
    replace_file(output, content, part=output.with_name(f".{output.name}.{os.getpid()}.part"))
    return len(content)


def _commands(sources: "Sources") -> dict[str, str]:
    """Return the command line of every artifact by its key; names without the number they have here."""
    from ketchup_cli.cli.repeat import called, command

    made = {source.key: source for source in sources if source.artifact}
    often = Counter(source.name.partition("@")[0] for source in made.values())
    names: dict[str, str] = {}
    for key, source in made.items():
        base, sign, number = source.name.partition("@")
        alone = base if often[base] == 1 else f"{base}-{number}"
        names[key] = alone if sign else f"{source.kind}-{key[:8]}"
    return {
        key: command(
            source.artifact.manifest, name=names[key], call=lambda entry: called(entry, names)
        )
        for key, source in made.items()
        if source.artifact
    }


def _check_output(output: Path) -> None:
    """Refuse a place that holds anything but an older page.

    Raises:
        SpecError: another file is there, or the folder is not.
    """
    from ketchup_cli.pages.render import is_page
    from ketchup_cli.store.files import read_capped

    if not output.parent.is_dir():
        raise SpecError(f"no folder `{output.parent}`", hint=f"mkdir -p {output.parent}")
    try:
        old = read_capped(output, limit_bytes=2**30)
    except NotFound:
        return
    except Damaged:
        raise SpecError(
            f"`{output}` is no regular file", hint=f"ketchup report NAME -o {FILE_NAME}"
        ) from None
    if old and not is_page(old):
        raise SpecError(
            f"`{output}` is there and no report wrote it; it is left as it is",
            hint="name another file with -o, or move that one away",
        )


COMMANDS: o.Commands = (
    ("report", report, "ketchup report kl-student ketchup-student -o report.html"),
)
