"""The file of a reward's function is an input: what it computes is part of the id."""

from pathlib import Path

import pytest

from ketchup_cli.cli.project import Project
from ketchup_cli.cli.rewards import reward_files
from ketchup_cli.cli.settings import resolve_settings, set_layers
from ketchup_cli.errors import NotFound
from ketchup_cli.stages import STAGES

NO_PROJECT = Project(folder=Path(), path=None, store=Path("runs"), names={}, tables={})


def files_of(folder: Path, *assignments: str, stage: str = "rollout"):
    settings = resolve_settings(STAGES[stage], NO_PROJECT, set_layers(assignments))
    return [item.input for item in reward_files(settings, folder=folder)]


def test_a_function_s_file_is_an_input_by_its_content(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("x = 1\n", encoding="utf-8")
    (first,) = files_of(tmp_path, "reward.shaped=own:f")
    path.write_text("x = 2\n", encoding="utf-8")
    (second,) = files_of(tmp_path, "reward.shaped=own:f")

    assert first.role == "reward.own"
    assert first.digest != second.digest


def test_two_functions_of_one_file_are_one_input(tmp_path):
    (tmp_path / "own.py").write_text("", encoding="utf-8")

    assert len(files_of(tmp_path, "reward.shaped=own:f", "reward.correct=own:g")) == 1


def test_metrics_have_no_file(tmp_path):
    assert files_of(tmp_path, "reward.shaped=bleu", "reward.correct=exact") == []
    assert files_of(tmp_path, stage="train") == []


def test_a_file_that_is_not_there_is_named_with_what_to_write(tmp_path):
    with pytest.raises(NotFound, match=r"no file `.*own.py`") as found:
        files_of(tmp_path, "reward.correct=own:right")

    assert "def right(prompt, completion, references)" in found.value.hint
