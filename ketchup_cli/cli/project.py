"""`ketchup.toml`: which artifacts play which role, and the settings of every stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ketchup_cli.errors import SpecError
from ketchup_cli.spec import Table, check_keys, read_toml
from ketchup_cli.stages import STAGES

FILE_NAME = "ketchup.toml"
DEFAULT_STORE = "runs"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What a folder's `ketchup.toml` says; empty where there is none.

    Invariant: every stage table and role name is one that exists.
    """

    folder: Path
    """What the paths inside the file are relative to."""
    path: Path | None
    """The file, or None where the folder has none."""
    store: Path
    names: Mapping[str, str]
    tables: Mapping[str, Table]
    trackers: tuple[str, ...] = ()
    """Who is told the figures of trainings, where no flag says otherwise."""


def role_names() -> tuple[str, ...]:
    """Return every role that may stand under `[names]`."""
    roles = {role.name for stage in STAGES.values() for role in stage.roles}
    roles |= {stage.output_role for stage in STAGES.values() if stage.output_role}
    return tuple(sorted(roles))


def load_project(config: Path | None, *, store: Path | None) -> Project:
    """Return the project of `config`, or of the current folder.

    Args:
        config: the file named by `--config`, or None to look for `ketchup.toml` here.
        store: the folder named by `--store`, which wins over the file's.

    Raises:
        SpecError: the file is missing, is not TOML, or holds a key nobody knows.
    """
    path = config if config is not None else Path(FILE_NAME)
    if config is None and not path.is_file():
        return Project(
            folder=Path(), path=None, store=store or Path(DEFAULT_STORE), names={}, tables={}
        )
    content = read_toml(path)
    hint = f"see `{path}`; `ketchup config init` writes a commented one elsewhere"
    check_keys(content, ("store", "names", "trackers", *STAGES), owner=f"`{path}`", hint=hint)
    tables = {key: value for key, value in content.items() if key in STAGES}
    names = content.get("names", {})
    for key, value in {**tables, "names": names}.items():
        if not isinstance(value, dict):
            raise SpecError(f"`{key}` in `{path}` is not a table", hint=f"write [{key}] above it")
    check_keys(names, role_names(), owner="[names]", hint=hint)
    in_file = path.parent / _text(content.get("store", DEFAULT_STORE), "store", path)
    return Project(
        folder=path.parent,
        path=path,
        store=store or in_file,
        names={role: _text(value, f"names.{role}", path) for role, value in names.items()},
        tables=tables,
        trackers=_texts(content.get("trackers", []), "trackers", path),
    )


def _texts(value: Any, key: str, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise SpecError(f"`{key}` in `{path}` is not a list", hint=f'{key} = ["…"]')
    return tuple(_text(item, key, path) for item in value)


def _text(value: Any, key: str, path: Path) -> str:
    if not isinstance(value, str) or not value:
        raise SpecError(f"`{key}` in `{path}` is not a name", hint=f'{key} = "…"')
    return value
