"""The files in which the functions of a reward stand: inputs of the stage that asks them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ketchup_cli.cli.inputs import Resolved
from ketchup_cli.cli.settings import Settings
from ketchup_cli.errors import NotFound
from ketchup_cli.store import find


def reward_files(settings: Settings, *, folder: Path) -> tuple[Resolved, ...]:
    """Return the files that hold the functions a reward names, as inputs of the stage.

    What a function computes is then part of the id, as far as its own file goes.

    Args:
        settings: of any stage; those without a table `reward` have no such files.
        folder: what `MODULE:FUNCTION` is looked up beside.

    Raises:
        SpecError: a name that names no function.
        NotFound: there is no such file.
    """
    reward: Mapping[str, Any] = settings.table.get("reward", {})
    found: dict[str, Resolved] = {}
    for field in ("correct", "shaped"):
        name = str(reward.get(field, ""))
        module, colon, _ = name.partition(":")
        if not colon:
            continue
        path = folder / f"{module.replace('.', '/')}.py"
        if not path.is_file():
            raise NotFound(
                f"`reward.{field}` is `{name}`, and there is no file `{path}`",
                hint=f"write it: def {name.partition(':')[2]}(prompt, completion, references): ...",
            )
        role = f"reward.{module}"
        found[role] = Resolved(input=find.file_input(path, role), origin=f"reward.{field}")
    return tuple(found.values())
