"""What was asked, where it came from, and what it cost."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ketchup_cli.pages import ancestry, words
from ketchup_cli.pages.parts import Commands, Figure, Figures, Section, Table, Words
from ketchup_cli.pages.sources import Source, Sources
from ketchup_cli.reporting import human_bytes, human_seconds
from ketchup_cli.spec import flatten

STATES: Mapping[str, str] = {
    "missing": "no longer in the store",
    "changed": "rebuilt since with other content",
    "outside": "a file or folder of its own",
}


def asked(sources: Sources) -> Section:
    """Return the artifacts that were named, with every setting and figure to unfold."""
    named = [source for source in sources if source.asked]
    tables = [_details(source) for source in named]
    return Section(
        anchor="asked",
        title="What was asked",
        blocks=(
            Table(
                header=("artifact", "kind", "made by", "id", "made"),
                rows=tuple(_named_row(source) for source in named),
                numeric=5,
            ),
            *tables,
        ),
    )


def _named_row(source: Source) -> tuple[str, ...]:
    assert source.artifact is not None
    manifest = source.artifact.manifest
    made_by = " ".join([words.stage(manifest), ", ".join(words.settings(manifest)[:4])]).rstrip()
    made = manifest.created.replace("T", " ")[:16]
    return source.name, source.kind, made_by, words.short(source.key), f"{made} UTC"


def _details(source: Source) -> Table:
    assert source.artifact is not None
    manifest = source.artifact.manifest
    sides = (("setting", manifest.spec), ("found", manifest.summary), ("on", manifest.environment))
    return Table(
        header=("", "name", "value"),
        rows=(
            ("signature", "", manifest.signature),
            ("digest", "", manifest.digest),
            *(
                (side, key, words.plain(value))
                for side, table in sides
                for key, value in flatten(table).items()
            ),
        ),
        numeric=3,
        folded=f"{source.name}: every setting and figure",
    )


def lineage(sources: Sources) -> Section:
    """Return the drawing of what was made from what, and the same as a table."""
    files = {source.key for source in sources if _is_file(source)}
    boxes = [_box(source, files) for source in sources if source.key not in files]
    table = Table(
        header=("artifact", "kind", "made by", "reads", "id"),
        rows=tuple(_lineage_row(source, sources) for source in sources),
        numeric=5,
        folded="the lineage as a table",
    )
    alt = "; ".join(f"{row[0]} reads {row[3]}" for row in table.rows if row[3])
    lost = [source for source in sources if source.state in {"missing", "changed"}]
    notes = [f"{source.name} ({source.kind}) is {STATES[source.state]}." for source in lost]
    return Section(
        anchor="lineage",
        title="Lineage",
        lead="Each box was made from those above it. An arrow that a longer way implies is left out;"
        " the table has them all.",
        blocks=(
            *((Words(paragraphs=tuple(notes)),) if notes else ()),
            Figures(
                figures=(Figure(title="", drawing=ancestry.drawing(boxes, alt=f"Lineage: {alt}")),),
                caption="",
                table=table,
                wide=True,
            ),
        ),
    )


def _is_file(source: Source) -> bool:
    return source.state == "outside" and source.kind == "file"


def _box(source: Source, files: set[str]) -> ancestry.Box:
    read = [key for _, key in source.reads if key in files]
    made_by = STATES.get(source.state, "")
    if source.artifact is not None and not made_by:
        manifest = source.artifact.manifest
        made_by = " ".join([words.stage(manifest), *words.settings(manifest)[:1]])
    many = f"{len(read)} files" if len(read) > 1 else "a file"
    return ancestry.Box(
        key=source.key,
        name=source.name,
        lines=(
            f"{source.kind} {words.short(source.key)}",
            f"{words.stage(source.artifact.manifest)} from {many}"
            if read and source.artifact
            else made_by,
        ),
        reads=tuple(key for _, key in source.reads if key not in files),
        strong=source.asked,
        broken=source.state in {"missing", "changed"},
    )


def _lineage_row(source: Source, sources: Sources) -> tuple[str, ...]:
    reads = ", ".join(
        f"{parent.name} as {role}" if (parent := sources.get(key)) else role
        for role, key in source.reads
    )
    made_by = STATES.get(source.state, "")
    if source.artifact is not None and not made_by:
        manifest = source.artifact.manifest
        made_by = " ".join([words.stage(manifest), ", ".join(words.settings(manifest))]).rstrip()
    return source.name, source.kind, made_by, reads, words.short(source.key)


def cost(sources: Sources) -> Section | None:
    """Return time and disk of every artifact, and their sums."""
    made = [source for source in sources if source.artifact]
    if not made:
        return None
    seconds = sum(_manifest(source).seconds for source in made)
    total = sum(_bytes(source) for source in made)
    rows = [
        (
            source.name,
            words.stage(_manifest(source)),
            human_seconds(_manifest(source).seconds),
            human_bytes(_bytes(source)),
        )
        for source in made
    ]
    return Section(
        anchor="cost",
        title="Cost",
        lead=f"{human_seconds(seconds)} of work and {human_bytes(total)} on disk, all in all, on"
        f" {words.listed(_machines(made))}. A stage that was interrupted counts from where it went"
        " on, and what else the machine did meanwhile is not known here.",
        blocks=(
            Table(
                header=("artifact", "stage", "time", "on disk"),
                rows=(*rows, ("all", "", human_seconds(seconds), human_bytes(total))),
                numeric=2,
            ),
        ),
    )


def _manifest(source: Source) -> Any:
    assert source.artifact is not None
    return source.artifact.manifest


def _bytes(source: Source) -> int:
    manifest = _manifest(source)
    return sum(entry.bytes for entry in (*manifest.files, *manifest.logs))


def _machines(made: Sequence[Source]) -> list[str]:
    found = {str(_manifest(source).environment.get("machine", "")) for source in made}
    return sorted(found - {""}) or ["a machine the manifests do not name"]


def again(lines: Sequence[str]) -> Section | None:
    """Return the commands that make everything again."""
    if not lines:
        return None
    return Section(
        anchor="again",
        title="How to make it again",
        lead="In a folder without a ketchup.toml, with the named files and model folders in it. Every"
        " command finds what is there already; with the same versions and the same kind of machine it"
        " makes the same ids.",
        blocks=(Commands(lines=tuple(lines)), *_versions_hint()),
    )


def _versions_hint() -> Iterator[Words]:
    yield Words(
        paragraphs=("The versions of all packages stand in the details of every artifact above.",)
    )
