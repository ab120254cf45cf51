"""The ids of what every stage makes by default, from inputs of fixed digests.

Run as a program after a default was changed on purpose; it writes `golden_ids.json` anew:

    python tests/golden.py

Keys are what one would type; a line that changes in the file is an id that changes for users.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ketchup_cli import objectives
from ketchup_cli.cli.project import Project
from ketchup_cli.cli.settings import Layer, resolve_settings
from ketchup_cli.stages import STAGES, Stage
from ketchup_cli.store.digest import recipe_id

TABLE = Path(__file__).with_name("golden_ids.json")
NO_PROJECT = Project(folder=Path(), path=None, store=Path("runs"), names={}, tables={})
UNSET = "default"

REMEDY = (
    "the id of `ketchup {command}` is not the one in tests/golden_ids.json. Where an old id\n"
    "changed, results that users already have will not be found again: if that was not meant,\n"
    "restore the default, the field or the preset that changed. If it was:\n"
    "  1. CHANGELOG.md, Changed: name the setting, its old value and its new one\n"
    "  2. if results differ although every setting is the same, raise the stage's `version` in\n"
    "     ketchup_cli/stages/__init__.py (this changes the id too)\n"
    "  3. python tests/golden.py"
)


def current_ids() -> dict[str, str]:
    """Return every id by the command that has it: all stages, objectives and presets."""
    ids = {name: default_id(stage) for name, stage in STAGES.items()}
    for command, objective, preset in distillations():
        ids[command] = default_id(STAGES["distill"], objective=objective, preset=preset)
    return ids


def distillations() -> Iterator[tuple[str, str, str | None]]:
    """Yield command, objective and preset of every way `distill` can be told to start from."""
    for name in objectives.names():
        command = f"distill --objective {name}"
        yield command, name, None
        for preset in sorted(set(objectives.load(name).presets) - {UNSET}):
            yield f"{command} --preset {preset}", name, preset


def default_id(stage: Stage, *, objective: str | None = None, preset: str | None = None) -> str:
    """Return the id of a stage without any setting but these."""
    table = {"objective": {"name": objective}}
    flags = [Layer(origin="--objective", table=table)] if objective else []
    settings = resolve_settings(stage, NO_PROJECT, flags, preset=preset)
    inputs = [
        (role.name, f"sha256:{hashlib.sha256(role.name.encode()).hexdigest()}")
        for role in stage.roles
        if role.used(settings.spec)
    ]
    return recipe_id(stage.kind, stage.version, spec=settings.identity, inputs=inputs)


def read_table() -> dict[str, str]:
    """Return the committed ids."""
    table: dict[str, str] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


if __name__ == "__main__":
    TABLE.write_text(json.dumps(current_ids(), indent=2) + "\n", encoding="utf-8")
