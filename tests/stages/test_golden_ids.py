"""A default that changes by accident changes ids, and what was made is not found again."""

import golden
import pytest

from ketchup_cli.spec import identity
from ketchup_cli.specs import DecodingSpec, GenerateSpec
from ketchup_cli.stages import STAGES

CURRENT = golden.current_ids()


@pytest.mark.parametrize("command", CURRENT)
def test_the_id_of_the_defaults_is_the_golden_one(command: str) -> None:
    assert golden.read_table().get(command) == CURRENT[command], golden.REMEDY.format(
        command=command
    )


def test_no_golden_id_is_of_something_that_is_gone() -> None:
    gone = golden.read_table().keys() - CURRENT.keys()

    assert not gone, golden.REMEDY.format(command=min(gone))


def test_distill_alone_is_distill_of_the_default_objective() -> None:
    assert CURRENT["distill"] == CURRENT["distill --objective ketchup"]


def test_a_field_that_came_later_enters_the_id_only_where_it_is_set() -> None:
    old, new = GenerateSpec(), GenerateSpec(decoding=DecodingSpec(iterations=4))

    assert "iterations" not in identity(old)["decoding"]
    assert identity(new)["decoding"]["iterations"] == 4


def test_every_stage_has_a_golden_id() -> None:
    assert CURRENT.keys() >= STAGES.keys()
