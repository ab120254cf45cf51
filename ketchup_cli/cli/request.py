"""What one command line asks for, before anything is looked up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ketchup_cli.cli.settings import Layer
from ketchup_cli.reporting import Reporter

if TYPE_CHECKING:
    from ketchup_cli.store.find import Artifact

SCHEMA_VERSION = 1
"""Raised when a JSON document on stdout loses or changes a field."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The options every stage command has."""

    config: Path | None = None
    sets: tuple[str, ...] = ()
    store: Path | None = None
    name: str | None = None
    dry_run: bool = False
    json: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system of a comparison as it was typed: what it is called, and the runs of it."""

    name: str
    runs: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one command line asks for."""

    stage: str
    common: Common
    roles: Mapping[str, str | None]
    """Role to the text of its flag."""
    files: tuple[tuple[str, Path], ...] = ()
    """Role and path of plain input files."""
    flags: tuple[Layer, ...] = ()
    """Settings that have a flag of their own; they lie under `--set`."""
    preset: str | None = None
    systems: tuple[System, ...] = ()
    """What is compared: inputs that have no role of their own."""
    show: Callable[["Artifact", Reporter], Mapping[str, Any]] | None = None
    """Tells what the artifact says, new or found; what it returns joins the JSON document."""
    trackers: tuple[str, ...] = ()
    """Who else is told the figures of the run; nothing that is made depends on it."""
