"""What the commands of stages have in common: their shared options, and how a stage is run."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate

from ketchup_cli.cli import options
from ketchup_cli.cli.request import Common, Request
from ketchup_cli.cli.settings import Layer

Command = Callable[..., Any]


def stage_command(command: Callable[Concatenate[Common, ...], Any]) -> Command:
    """Return a command with the shared options behind its own.

    They reach `command` as one value, its first argument; its signature, from which help and parser
    are made, ends in those of `options.common`.
    """
    _, *own = inspect.signature(command).parameters.values()
    shared = inspect.signature(options.common).parameters

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        common = options.common(**{name: given.pop(name) for name in shared})
        return command(common, **given)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*own, *shared.values())
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def run_stage(
    stage: str,
    shared: Common,
    roles: Mapping[str, str | None],
    *,
    files: tuple[tuple[str, Path], ...] = (),
    flags: tuple[Layer, ...] = (),
    **more: Any,
) -> None:
    """Run a stage, or find what it made, and say what usually follows.

    Args:
        stage: by its name.
        shared: the options every stage has.
        roles: role to the text of its flag.
        files: role and path of plain input files.
        flags: settings that have a flag of their own.
        more: other fields of a request: `preset`, `trackers`.
    """
    from ketchup_cli.cli.execute import execute

    execute(
        Request(
            stage=stage,
            common=shared,
            roles=roles,
            files=files,
            flags=flags,
            **more,
        )
    )
