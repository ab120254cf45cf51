"""Commands about what can be set and what this machine has: objectives, config, env."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.console import Console, human_bytes, print_json, print_result, table_lines
from ketchup_cli.cli.request import SCHEMA_VERSION
from ketchup_cli.errors import SpecError

ObjectiveArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="One objective, with its fields.")
]
StageArgument = Annotated[
    str | None, typer.Argument(metavar="[STAGE]", help="One stage; none means all.")
]


def objectives(name: ObjectiveArgument = None, json: o.InspectJsonOption = False) -> None:
    """List the objectives, or the fields of one."""
    from ketchup_cli import objectives as registry

    if name is not None:
        _show_objective(name, json=json)
        return
    found = {item: registry.headline(item) for item in registry.names()}
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "objectives": found})
        return
    for line in table_lines(("objective", "what it does"), list(found.items())):
        print_result(line)


def _show_objective(name: str, *, json: bool) -> None:
    from ketchup_cli import objectives as registry
    from ketchup_cli.cli.settings import flatten
    from ketchup_cli.spec import field_docs

    kind: Any = registry.load(name)
    docs = field_docs(kind)
    rows = {field.name: (_default(field), docs.get(field.name, "")) for field in fields(kind)}
    if json:
        described = {key: {"default": value, "help": text} for key, (value, text) in rows.items()}
        print_json({
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "headline": registry.headline(name),
            "fields": described,
            "presets": {key: dict(table) for key, table in kind.presets.items()},
        })
        return
    print_result(f"{name}: {registry.headline(name)}")
    print_result("")
    cells = [(f"objective.{key}", _shown(value), text) for key, (value, text) in rows.items()]
    for line in table_lines(("field", "default", "meaning"), cells):
        print_result(line)
    for preset, table in kind.presets.items():
        print_result("")
        print_result(f"preset {preset}")
        for key, value in flatten(table).items():
            print_result(f"  {key} = {_shown(value)}")


def _default(field: Any) -> Any:
    return None if field.default is MISSING else field.default


def _shown(value: Any) -> str:
    from ketchup_cli.cli.configure import toml_value

    return toml_value(value)


def config_init(config: o.ConfigOption = None) -> None:
    """Write a commented ketchup.toml; an old one is kept."""
    from ketchup_cli.cli.configure import template
    from ketchup_cli.cli.project import FILE_NAME

    path = config or Path(FILE_NAME)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise SpecError(
            f"`{path}` is there already, and is left as it is",
            hint=f"edit it, or --config OTHER; `ketchup config show --config {path}` reads it",
        ) from None
    Console().note("written", "every setting of every stage, with its default, as a comment")
    print_result(str(path))


def config_show(
    stage: StageArgument = None,
    preset: o.PresetOption = None,
    sets: o.SetOption = None,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> None:
    """Show resolved settings and where each came from."""
    from ketchup_cli.cli.configure import show_settings
    from ketchup_cli.cli.project import load_project
    from ketchup_cli.cli.settings import resolve_settings, set_layers
    from ketchup_cli.spec import unknown
    from ketchup_cli.stages import STAGES

    if stage is not None and stage not in STAGES:
        raise unknown("a stage", stage, STAGES, hint="ketchup --help")
    project = load_project(config, store=store)
    flags = set_layers(sets or ())
    resolved = {
        name: resolve_settings(
            STAGES[name], project, flags if stage else (), preset=preset if stage else None
        )
        for name in ([stage] if stage else STAGES)
    }
    show_settings(project, resolved, json=json)


def env(
    config: o.ConfigOption = None, store: o.StoreOption = None, json: o.InspectJsonOption = False
) -> None:
    """Show versions, devices, disk and locks of this machine."""
    from ketchup_cli.cli.project import load_project

    found = dict(_environment(load_project(config, store=store).store))
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "environment": found})
        return
    for key, value in found.items():
        print_result(f"{key:<16}{value}")


def _environment(store: Path) -> Iterator[tuple[str, str]]:
    from ketchup_cli.cli.execute import environment

    yield from environment().items()
    yield "device", _device()
    yield "memory", human_bytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    beside = next(path for path in (store.absolute(), *store.absolute().parents) if path.is_dir())
    yield "store", str(store)
    yield "disk", f"{human_bytes(shutil.disk_usage(beside).free)} free at `{beside}`"
    yield "locks", _locks(beside)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"cuda ({', '.join(names)})"
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {torch.get_num_threads()} threads"


def _locks(folder: Path) -> str:
    """Try a lock in a folder of its own; nothing stays behind."""
    from ketchup_cli.store.trial import try_folder

    try:
        met = try_folder(folder)["flock"]
    except OSError as error:
        met = str(error)
    return f"flock does not work: {met}" if met else "flock works"


COMMANDS: o.Commands = (
    ("objectives", objectives, "ketchup objectives ketchup"),
    ("env", env, "ketchup env"),
)
CONFIG_COMMANDS: o.Commands = (
    ("init", config_init, "ketchup config init"),
    ("show", config_show, "ketchup config show distill"),
)
