"""Command lines held against the code: parsed as typed, settings included, and nothing run."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from ketchup_cli.cli.app import build_app
from ketchup_cli.cli.project import Project
from ketchup_cli.cli.settings import Layer, Settings, resolve_settings, set_layers
from ketchup_cli.stages import STAGES

EMPTY = Project(folder=Path(), path=None, store=Path("runs"), names={}, tables={})


@dataclass(frozen=True)
class Parsed:
    """What a command line was taken for."""

    command: str
    """Its words, as `cache import`."""
    origins: Mapping[str, str]
    """Every setting of its stage that is not a default, and where it came from."""


def parse(line: str, project: Project = EMPTY) -> Parsed:
    """Parse a command line as the command line itself would, settings included, and run nothing."""
    path: list[str] = []
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(build_app())
    while hasattr(command, "commands"):
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    given = command.make_context(command.name, words).params
    if command.name in STAGES:
        circuits = given.get("objective") == "circuits"
        found = resolve("circuits" if circuits else command.name, given, project)
        return Parsed(" ".join(path), found.origins)
    return Parsed(" ".join(path), {})


def resolve(stage: str, given: dict, project: Project) -> Settings:
    """Return the settings a command line names, over those of a `ketchup.toml`."""
    objective = (
        {}
        if stage == "circuits"
        else {
            key: given[option]
            for key, option in (("name", "objective"), ("k", "k"))
            if given.get(option) is not None
        }
    )
    named = (Layer(origin="flags", table={"objective": objective}),) if objective else ()
    flags = (*named, *set_layers(given["sets"] or ()))
    return resolve_settings(STAGES[stage], project, flags, preset=given.get("preset"))
