"""The line that says what usually comes next, so that it can be typed as printed."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ketchup_cli.cli.project import Project
from ketchup_cli.cli.request import Request


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The command that usually follows, or several to choose from."""

    commands: tuple[str, ...] = ()
    """As typed; `{name}` is the name of the result, or its id."""
    role: str = ""
    """Flag that gives the result to the first of them, where `[names]` does not."""
    carried: tuple[str, ...] = ()
    """Roles whose flags the next command must be given as well."""


AFTER: Mapping[str, Next] = {
    "corpus": Next(commands=("ketchup new-model", "ketchup shrink"), role="corpus"),
    "reverse": Next(commands=("ketchup train --corpus {name}",)),
    "reversal-probe": Next(commands=("ketchup reverse --corpus {name}",)),
    "new-model": Next(commands=("ketchup train --student {name}",), carried=("corpus",)),
    "shrink": Next(commands=("ketchup distill --student {name}",), carried=("teacher",)),
    "train": Next(commands=("ketchup generate --model {name}",), carried=("corpus",)),
    "cache-teacher": Next(
        commands=("ketchup distill --objective kl",),
        role="cache",
        carried=("teacher", "corpus", "pseudo-targets"),
    ),
    "import-cache": Next(
        commands=("ketchup distill --objective kl --cache {name}",), carried=("corpus", "student")
    ),
    "seqkd": Next(
        commands=("ketchup distill --objective nll --pseudo-targets {name}",), carried=("corpus",)
    ),
    "distill": Next(commands=("ketchup generate --model {name}",), carried=("corpus",)),
    "circuits": Next(commands=("ketchup show {name}",)),
    "lab": Next(commands=("ketchup distill --k 4",), carried=("student", "teacher", "corpus")),
    "angles": Next(
        commands=("ketchup distill --objective layer_match",),
        carried=("student", "teacher", "corpus"),
    ),
    "generate": Next(commands=("ketchup score --generations {name}",), carried=("corpus",)),
    "rollout": Next(commands=("ketchup show {name}",)),
    "merge-teacher": Next(commands=("ketchup cache-teacher --teacher {name}",)),
    "judge": Next(commands=("ketchup show {name}",)),
    "compare": Next(commands=("ketchup show {name}",)),
    "score": Next(commands=("ketchup show {name}",)),
    "rare-words": Next(
        commands=("ketchup distill --objective nll",), carried=("pseudo-targets", "corpus")
    ),
    "calibration": Next(commands=("ketchup show {name}",)),
}
"""What usually follows each stage."""


def next_line(request: Request, project: Project, *, name: str | None, id: str) -> str:
    """Return the commands that usually follow, with what this one was told by flags.

    Args:
        request: what was typed.
        project: whose `[names]` the next command will read.
        name: of the result, if it has one.
        id: of the result.
    """
    following = AFTER[request.stage]
    commands = [text.format(name=name or id) for text in following.commands]
    if commands and following.role and (name is None or project.names.get(following.role) != name):
        commands[0] += f" --{following.role} {name or id}"
    told = _flags({role: request.roles.get(role) for role in following.carried})
    common = request.common
    where = _flags({
        "config": str(common.config) if common.config is not None else None,
        "store": str(common.store) if common.store is not None else None,
    })
    first = [command + told for command in commands[:1]] + commands[1:]
    return ", or ".join(command + where for command in first)


def _flags(values: Mapping[str, str | None]) -> str:
    return "".join(
        f" --{flag} {shlex.quote(value)}" for flag, value in values.items() if value is not None
    )
