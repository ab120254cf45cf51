"""The text of a new `ketchup.toml`, and settings written out with their origins."""

import json as json_text
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ketchup_cli.cli.console import clean, print_json, print_result
from ketchup_cli.cli.project import Project, role_names
from ketchup_cli.cli.request import SCHEMA_VERSION
from ketchup_cli.cli.settings import Settings, flatten
from ketchup_cli.spec import Spec, field_docs
from ketchup_cli.stages import STAGES

_HEAD = """\
# Settings of this folder's `ketchup` commands. Flags and --set win over what stands here.
# A line behind a # shows a default; take the # away to change it.

store = "runs"   # where artifacts lie, beside this file
# trackers = []   # who is told the figures of trainings: tensorboard, wandb, mlflow, trackio

# Which artifact plays which role: a name (`ketchup ls`), a local folder beside this file
# (./teacher), or a model on the hub with its revision (org/name@revision). A stage that makes
# something for a role names it so.
[names]
"""


_PRESETS = """\
# The preset of the objective (`ketchup objectives NAME`) changes some of these defaults; what is
# set here wins over it. `ketchup config show distill` tells where each value comes from."""


def template() -> str:
    """Return a `ketchup.toml` that sets the names and shows every default as a comment."""
    lines = [_HEAD + "\n".join(f'{role} = "{_name(role)}"' for role in role_names())]
    for stage in STAGES.values():
        summary = (stage.spec.__doc__ or "").partition("\n")[0]
        lines.append(f"\n[{stage.name}]   # {summary}")
        if stage.name == "distill":
            lines.append(_PRESETS)
        lines.extend(_commented(stage.spec, prefix=""))
    return "\n".join(lines) + "\n"


def _name(role: str) -> str:
    return "student" if role == "model" else role


def _commented(kind: type[Spec], *, prefix: str) -> Iterator[str]:
    docs = field_docs(kind)
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, Spec):
            yield from _commented_values(field.default, prefix=f"{prefix}{field.name}.")
        else:
            made = field.default_factory
            default = field.default if made is msgspec.NODEFAULT else made()
            value = toml_value(msgspec.to_builtins(default))
            yield _comment(f"{prefix}{field.name}", value, docs.get(field.name, ""))


def _commented_values(spec: Spec, *, prefix: str) -> Iterator[str]:
    """Yield the lines of a nested spec with the defaults of the spec that holds it."""
    docs = field_docs(type(spec))
    for name in spec.__struct_fields__:
        value = toml_value(msgspec.to_builtins(getattr(spec, name)))
        yield _comment(f"{prefix}{name}", value, docs.get(name, ""))


def _comment(key: str, value: str, text: str) -> str:
    """Return a default as one line behind a #, however many lines its description has."""
    return f"# {key} = {value}   # {' '.join(text.split())}".rstrip(" #")


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json_text.dumps(value, ensure_ascii=False)


def show_settings(project: Project, resolved: Mapping[str, Settings], *, json: bool) -> None:
    """Print the settings of stages and where each came from."""
    if json:
        print_json({
            "schema_version": SCHEMA_VERSION,
            "file": str(project.path) if project.path else None,
            "store": str(project.store),
            "names": dict(project.names),
            "stages": {name: _stage_json(settings) for name, settings in resolved.items()},
        })
        return
    print_result(f"# from {project.path or 'defaults alone: this folder has no ketchup.toml'}")
    print_result(f"store = {toml_value(str(project.store))}")
    print_result("\n[names]")
    for role, name in project.names.items():
        print_result(clean(f"{role} = {toml_value(name)}"))
    for name, settings in resolved.items():
        print_result(f"\n[{name}]")
        for key, value in flatten(settings.table).items():
            line = f"{key} = {toml_value(value)}"
            print_result(clean(f"{line:<44} # {settings.origins.get(key, 'default')}"))


def _stage_json(settings: Settings) -> dict[str, Any]:
    return {
        key: {"value": value, "origin": settings.origins.get(key, "default")}
        for key, value in flatten(settings.table).items()
    }
