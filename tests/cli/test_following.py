"""The line `next`: what follows can be typed as printed, wherever the inputs came from."""

from pathlib import Path

import pytest

from ketchup_cli.cli.following import AFTER, next_line
from ketchup_cli.cli.project import Project
from ketchup_cli.cli.request import Common, Request
from ketchup_cli.stages import STAGES

NAMES = {"corpus": "words", "student": "small", "cache": "words-cache"}


def line(stage: str, name: str | None = None, **roles: str) -> str:
    return line_of(Request(stage=stage, common=Common(), roles=roles), name)


def line_of(request: Request, name: str | None = None) -> str:
    project = Project(folder=Path(), path=None, store=Path("runs"), names=NAMES, tables={})
    return next_line(request, project, name=name, id="3f9c1b2a")


def test_every_stage_that_is_typed_says_what_follows() -> None:
    assert set(AFTER) == set(STAGES)


def test_a_result_that_names_gives_to_its_role_needs_no_flag() -> None:
    assert line("cache-teacher", "words-cache") == "ketchup distill --objective kl"
    assert line("corpus", "words") == "ketchup new-model, or ketchup shrink"


@pytest.mark.parametrize(("name", "shown"), [("mine", "mine"), (None, "3f9c1b2a")])
def test_a_result_of_another_name_is_given_to_the_next_command(
    name: str | None, shown: str
) -> None:
    assert line("cache-teacher", name) == f"ketchup distill --objective kl --cache {shown}"


def test_inputs_given_by_flags_are_given_to_the_next_command_too() -> None:
    found = line("cache-teacher", "words-cache", teacher="./big", corpus="other words")

    assert found == "ketchup distill --objective kl --teacher ./big --corpus 'other words'"


def test_the_laboratory_is_followed_by_training_the_same_student() -> None:
    assert line("lab", student="kl-student") == "ketchup distill --k 4 --student kl-student"


def test_another_file_of_settings_and_another_store_are_named_again() -> None:
    common = Common(config=Path("teacher.toml"), store=Path("my runs"))
    request = Request(stage="train", common=common, roles={})

    assert line_of(request, "t") == (
        "ketchup generate --model t --config teacher.toml --store 'my runs'"
    )
