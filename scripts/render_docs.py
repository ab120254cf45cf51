"""Write what the documents say about the code: docs/cli.md, specs.md, objectives.md, parts of README.

python scripts/render_docs.py            writes
python scripts/render_docs.py --check    names what is out of date, and leaves with 3
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import typer
from msgspec.inspect import type_info

from ketchup_cli import objectives
from ketchup_cli.cli.app import build_app
from ketchup_cli.cli.configure import toml_value
from ketchup_cli.cli.settings import flatten
from ketchup_cli.spec import Spec, field_docs
from ketchup_cli.stages import STAGES

ROOT = Path(__file__).resolve().parent.parent
STALE = 3
WIDTH = 80
"""Columns the help is set in, whatever terminal this runs on."""
NOTE = "<!-- written by scripts/render_docs.py: change the code, then run it -->"

TREE_TOPS = ("examples", "ketchup_cli", "tests", "docs", "scripts", "benchmarks")
CLAUSES: Mapping[str, str] = {
    "examples": "whole pipelines on real text",
    "en-nl": "English to Dutch: corpus, settings, the pipeline, and how its teacher was made",
    "arithmetic": "word problems as sums: corpus script, decoder-only teacher, K-step returns and rewards",
    "summaries": "Debian package descriptions to one line: corpus script, decoder-only teacher, objectives",
    "tests": "one folder a layer, the name of a test is a fact; contracts/ is for all objectives",
    "docs": "what cannot be read off the code",
    "scripts": "the gate, and the generated parts of these documents",
    "benchmarks": "ratios, each printed by one command",
}
"""What there is to say about folders that are no packages."""
LISTED_SUFFIXES = (".py", ".sh", ".toml", ".md")


def rendered(root: Path) -> dict[str, str]:
    """Return the whole text of every document that is generated in part or as a whole."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    readme = between(readme, "tree", f"```text\n{tree(root)}```\n")
    readme = between(readme, "objectives", objectives_table(link="docs/objectives.md"))
    return {
        "README.md": readme,
        "docs/cli.md": cli_document(),
        "docs/objectives.md": objectives_document(),
        "docs/specs.md": specs_document(),
    }


def between(text: str, name: str, block: str) -> str:
    """Return `text` with what stands between `<!-- name -->` and `<!-- /name -->` replaced."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = text.partition(opening)
    _, ended, after = rest.partition(closing)
    if not (found and ended):
        raise SystemExit(f"README.md has no block between {opening.strip()} and {closing}")
    return f"{before}{opening}{block}{closing}{after}"


def stale(root: Path, documents: Mapping[str, str]) -> list[str]:
    """Return the documents below `root` that differ from what they should be."""
    return [
        name
        for name, text in documents.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in lines
    )


def cli_document() -> str:
    """Return the reference of all commands, as their `--help` prints it."""
    parts = [
        f"# Commands\n\n{NOTE}\n\n"
        "The result of a command, an id or one JSON document, goes to stdout; everything else to"
        " stderr. The settings of each stage are in [specs.md](specs.md).\n"
    ]
    for path, text in commands():
        parts.append(f"\n## `{path}`\n\n```text\n{text}\n```\n")
    return "".join(parts)


def commands() -> Iterator[tuple[str, str]]:
    """Yield every command line with its help, groups before what is in them."""
    group: Any = typer.main.get_command(build_app())
    yield from _helps(group, "ketchup", parent=None)


def _helps(command: Any, name: str, *, parent: Any) -> Iterator[tuple[str, str]]:
    context = typer.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, **command.context_settings
    )
    lines = command.get_help(context).splitlines()
    yield context.command_path, "\n".join(line.rstrip() for line in lines).strip()
    for below, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, below, parent=context)


def specs_document() -> str:
    """Return the settings of every stage with default, values and meaning."""
    parts = [
        f"# Settings of the stages\n\n{NOTE}\n\n"
        "A setting stands in the stage's table of `ketchup.toml`, or behind `--set`. `ketchup"
        " config show STAGE` tells the resolved values and where each came from. For `distill`, the"
        " preset of the objective lies between these defaults and your own settings: see"
        " [objectives.md](objectives.md).\n"
    ]
    for stage in STAGES.values():
        headline = (stage.spec.__doc__ or "").partition("\n")[0]
        rows = list(_setting_rows(stage.spec, default=stage.spec(), prefix=""))
        shown = table(("setting", "default", "values", "meaning"), rows)
        parts.append(f"\n## {stage.name}\n\n{headline}\n\n{shown}")
    return "".join(parts)


def _setting_rows(kind: type[Spec], *, default: Spec, prefix: str) -> Iterator[tuple[str, ...]]:
    docs = field_docs(kind)
    for field in msgspec.structs.fields(kind):
        value, name = getattr(default, field.name), f"{prefix}{field.name}"
        if isinstance(value, Spec):
            yield from _setting_rows(type(value), default=value, prefix=f"{name}.")
        else:
            shown = toml_value(msgspec.to_builtins(value))
            yield f"`{name}`", f"`{shown}`", _values(field.type), _line(docs.get(field.name, ""))


def _values(annotation: Any) -> str:
    """Return the choices or the range a setting allows, or nothing."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    info: Any = type_info(annotation)
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    limits = [(sign, getattr(info, name, None)) for name, sign in signs]
    return ", ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None)


def _line(text: str) -> str:
    return " ".join(text.split())


def objectives_document() -> str:
    """Return every objective: its docstring, what it needs, its settings, its presets."""
    parts = [
        f"# Objectives\n\n{NOTE}\n\n"
        "An objective is a file in `ketchup_cli/objectives/`; its fields are set with `--set"
        " objective.FIELD=VALUE`. Several make a mix: `[[distill.objective]]` in `ketchup.toml`,"
        " each with `name`, `weight` (1.0) and `prefixes` (whose completions it learns from). When"
        " to choose which: [how-to-choose.md](how-to-choose.md).\n\n",
        objectives_table(link=""),
    ]
    parts.extend(_objective_section(name) for name in objectives.names())
    return "".join(parts)


def objectives_table(*, link: str) -> str:
    """Return one row an objective; names link to the sections of `link`."""
    header = ("objective", "what it does", "completions come from", "teacher")
    return table(header, [_objective_row(name, link) for name in objectives.names()])


def _objective_row(name: str, link: str) -> tuple[str, ...]:
    needs = objectives.build({"name": name})[0].needs
    live = set(needs.prefixes[:1]) <= {"student", "pairs"} or needs.student_expected
    detail = {"none": "none", "stats": "statistics", "top": "largest logits", "dense": "all logits"}
    asked = detail[needs.teacher]
    where = "" if needs.teacher == "none" else ", live" if live else ", live or cached"
    if needs.hidden:
        asked, where = "states of its layers", ", live"
    if needs.trainable_teacher:
        asked, where = "all logits", ", live, of which a part learns"
    return (
        f"[`{name}`]({link}#{name})",
        objectives.headline(name),
        " or ".join(f"`{item}`" for item in needs.prefixes),
        f"{asked}{where}",
    )


def _objective_section(name: str) -> str:
    kind: Any = objectives.load(name)
    source = (ROOT / "ketchup_cli" / "objectives" / f"{name}.py").read_text(encoding="utf-8")
    docs, hints = field_docs(kind), get_type_hints(kind)
    rows = [
        (
            f"`objective.{field.name}`",
            "" if field.default is MISSING else f"`{toml_value(field.default)}`",
            _values(hints[field.name]),
            _line(docs.get(field.name, "")),
        )
        for field in fields(kind)
    ]
    shown = table(("setting", "default", "values", "meaning"), rows)
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return (
        f"\n## {name}\n\n```text\n{docstring}\n```\n\n{shown}{_fits(kind.fits)}"
        f"{_presets(kind.presets)}"
    )


def _fits(fits: Mapping[str, str]) -> str:
    """Return what each kind of teacher signal is good for, the kinds as in docs/signals.md."""
    rows = [(f"`{kind}`", how) for kind, how in fits.items()]
    return "\n" + table(("from", "what is exact, what is lost"), rows) if rows else ""


def _presets(presets: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (f"`{preset}`", ", ".join(f"`{key} = {toml_value(value)}`" for key, value in items))
        for preset, items in (
            (name, flatten(settings).items()) for name, settings in presets.items()
        )
        if items
    ]
    return "\n" + table(("preset", "lays under your own settings"), rows) if rows else ""


def tree(root: Path) -> str:
    """Return the files of the repository, each with the first line of what it says of itself."""
    lines = [line for top in TREE_TOPS for line in _below(root / top, depth=0)]
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"{name:<{width}}{clause}".rstrip() + "\n" for name, clause in lines)


def _below(folder: Path, *, depth: int) -> Iterator[tuple[str, str]]:
    if not folder.is_dir():
        return
    yield f"{'  ' * depth}{folder.name}/", _clause(folder)
    if folder.name == "tests":
        return
    entries = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    for path in entries:
        if path.is_dir():
            if (path / "__init__.py").is_file() or folder.name == "examples":
                yield from _below(path, depth=depth + 1)
        elif _is_listed(path):
            yield f"{'  ' * (depth + 1)}{path.name}", _clause(path)


def _is_listed(path: Path) -> bool:
    if path.name == "__init__.py":
        return False
    return path.suffix in LISTED_SUFFIXES or path.read_bytes()[:2] == b"#!"


def _clause(path: Path) -> str:
    if path.is_dir() and not (path / "__init__.py").is_file():
        return CLAUSES.get(path.name, "")
    file = path / "__init__.py" if path.is_dir() else path
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].rstrip(".")
    lines = [line for line in text.splitlines() if line.startswith("# ")]
    return lines[0].removeprefix("# ").rstrip(".") if lines else ""


def main() -> None:
    """Write the documents, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, leave with 3 if stale")
    given = parser.parse_args()
    documents = rendered(ROOT)
    changed = stale(ROOT, documents)
    for name in changed:
        if given.check:
            print(f"{name} is out of date: python scripts/render_docs.py")
        else:
            (ROOT / name).write_text(documents[name], encoding="utf-8")
            print(f"wrote {name}")
    sys.exit(STALE if given.check and changed else 0)


if __name__ == "__main__":
    main()
