"""What one command line asks for, before anything is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ketchup_cli.cli.settings import Layer

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
    next: str = ""
    """The command that usually follows."""
