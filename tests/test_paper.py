"""The setups of examples/paper have settings that exist; the models they name are on no machine here."""

import re
from pathlib import Path

import pytest
from command_lines import parse

from ketchup_cli.cli.project import load_project
from ketchup_cli.stages import STAGES

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "paper"
TASKS = ("xsum", "europarl", "gsm8k")
SCRIPT = (FOLDER / "paper.sh").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = re.findall(r"^\s*step (.+)$", SCRIPT, re.MULTILINE)


def filled(step: str, task: str) -> str:
    """Return a step as the script would type it, K and updates as numbers."""
    return re.sub(r'"?\$\{\w+\[\$task\]\}"?', "2", step).replace("$task", task)


def test_the_script_has_a_step_for_every_part_of_the_paper():
    stages = [step.split()[0] for step in STEPS]

    assert stages == ["corpus", "doctor", "distill", "distill", "generate", "score", "compare"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_settings_that_exist(task, step):
    project = load_project(FOLDER / f"{task}.toml", store=None)

    parsed = parse(f"ketchup {filled(step, task)}", project)

    assert parsed.command == step.split()[0]
    assert ("--set" in parsed.origins.values()) == ("--set" in step and parsed.command in STAGES)


@pytest.mark.parametrize("task", TASKS)
def test_the_script_knows_the_task(task):
    assert SCRIPT.count(f"[{task}]=") == 3
