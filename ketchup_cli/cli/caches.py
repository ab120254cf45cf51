"""Commands about teacher caches: what one holds, and caches that others made."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.commands import run_stage, stage_command
from ketchup_cli.cli.console import (
    human_bytes,
    print_json,
    print_result,
    table_lines,
)
from ketchup_cli.cli.project import load_project
from ketchup_cli.cli.request import SCHEMA_VERSION, Common
from ketchup_cli.cli.settings import typed

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A teacher cache: name, NAME@N, or id.")
]
PathArgument = Annotated[
    Path, typer.Argument(metavar="PATH", help="A parquet file, or a folder of them.")
]
FromOption = Annotated[
    Literal["distillkit", "axolotl"],
    typer.Option("--from", metavar="FORMAT", help="Who wrote it: distillkit or axolotl."),
]


def inspect(
    name: NameArgument,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> None:
    """Show what a teacher cache holds, and whom it serves.

    For every objective, with its defaults: the kind of signal it works from, and what is lost.
    """
    from ketchup_cli.cli.describe import size_bytes
    from ketchup_cli.stages import cache_facts
    from ketchup_cli.store import find
    from ketchup_cli.store.layout import Store

    place = Store.open(load_project(config, store=store).store, create=False)
    artifact = find.find(place, name, kind="teacher-cache")
    label = find.name_of(place, artifact.id) or artifact.id[:8]
    held = cache_facts.facts(artifact.path) | {"bytes": size_bytes(artifact.manifest)}
    services = list(cache_facts.services(artifact.path, label))
    if json:
        print_json({
            "schema_version": SCHEMA_VERSION,
            "name": label,
            "id": artifact.id,
            **held,
            "objectives": {
                item.objective: {"served": item.served, "kind": item.kind or None, "how": item.how}
                for item in services
            },
        })
        return
    for heading, text in _lines(label, artifact.id, held):
        print_result(f"{heading:<13}{text}")
    print_result("")
    rows = [(item.objective, _served(item), item.how) for item in services]
    for line in table_lines(("objective", "from", "how"), rows):
        print_result(line)


def _served(item: Any) -> str:
    return item.kind or "-" if item.served else "no"


def _lines(label: str, identity: str, held: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "cache", f"{label}   {identity[:8]}"
    yield "completions", f"{held['completions']} of split {held['split']}"
    left_out = f"{held['truncated']:,} cut, {held['skipped']:,} left out"
    yield "rows", f"{held['rows']:,}   {left_out}"
    yield "tokens", f"{held['tokens']:,}"
    yield "keeps", f"{held['keeps']}, in {held['dtype']}"
    yield "statistics", held["statistics"]
    if held["entries_per_token"]:
        yield "entries", f"{held['entries_per_token']:g} a token on average"
    yield "temperatures", ", ".join(str(item) for item in held["temperatures"])
    per_token = f"{held['bytes_per_token']:g} a token"
    yield "bytes", f"{per_token}, {human_bytes(held['bytes'])} in {_files(held['shards'])}"
    for temperature, mass in held["tail_mass_mean"].items():
        yield "tail", f"{100 * mass:.3g} % of the mass on average, at temperature {temperature}"
    yield "tokenizer", f"{held['tokenizer'][7:15]}, {held['vocabulary']:,} entries"
    yield "format", str(held["format"])


def _files(count: int) -> str:
    return f"{count} shard" + ("" if count == 1 else "s")


@stage_command
def import_(
    shared: Common,
    path: PathArgument,
    origin: FromOption,
    corpus: o.CorpusOption = None,
    student: o.StudentOption = None,
) -> None:
    """Import teacher logits that another tool has cached.

    Reads the parquet files alone. Every row is held against the corpus, and its ids against the
    student's tokenizer; what cannot be mapped is refused with the reason.
    """
    roles = {"corpus": corpus, "student": student}
    flags = typed("--from", {"format": origin})
    run_stage("import-cache", shared, roles, files=(("rows", path),), flags=flags)


CACHE_COMMANDS: o.Commands = (
    ("inspect", inspect, "ketchup cache inspect en-nl-cache"),
    ("import", import_, "ketchup cache import --from axolotl data/logprobs.parquet"),
)
