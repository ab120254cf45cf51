"""What holds for a cache whatever it keeps."""

from pathlib import Path
from typing import Any

import caches
import pytest
import tiny

from ketchup_cli.models.cache import read_meta
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.stages import cache_teacher
from ketchup_cli.store.artifact import Input

SAMPLED: dict[str, Any] = {"keep": "sampled", "draws": 12, "examples_per_shard": 7}
HIDDEN: dict[str, Any] = {"keep": "hidden", "state_dtype": "float32", "examples_per_shard": 7}


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def inputs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Input]:
    return caches.make_inputs(tmp_path_factory.mktemp(request.param), request.param, train=20)


@pytest.mark.parametrize("settings", [SAMPLED, HIDDEN], ids=["sampled", "hidden"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    settings: dict[str, Any], inputs: dict[str, Input], tmp_path: Path
) -> None:
    whole = caches.make_cache(tmp_path / "whole", inputs, **settings)
    with pytest.raises(caches.Stopped):
        caches.make_cache(
            tmp_path / "runs", inputs, reporter=caches.CountingReporter(stop_after=9), **settings
        )
    reporter = caches.CountingReporter()

    resumed = caches.make_cache(tmp_path / "runs", inputs, reporter=reporter, **settings)

    assert reporter.done == 7
    assert resumed.digest == whole.digest


FORMATS = {
    "the largest logits": ({}, 1),
    "statistics": ({"top": 0}, 1),
    "draws": (SAMPLED, 2),
    "states": (HIDDEN, 2),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_cache_is_written_in_the_oldest_format_that_can_say_it(
    name: str, inputs: dict[str, Input], tmp_path: Path
) -> None:
    settings, number = FORMATS[name]

    artifact = caches.make_cache(tmp_path / "runs", inputs, **{"top": 4, **settings})

    assert read_meta(artifact.path).format == number


@pytest.mark.parametrize("settings", [SAMPLED, HIDDEN], ids=["sampled", "hidden"])
def test_the_plan_estimates_the_bytes_of_a_token(
    settings: dict[str, Any], inputs: dict[str, Input]
) -> None:
    ((_, line),) = cache_teacher.plan(CacheTeacherSpec(**settings), inputs)

    layout = "12 draws" if settings is SAMPLED else "last states of 32 numbers"
    size = "at most 85" if settings is SAMPLED else str(6 * 4 + 32 * 4)
    assert layout in line
    assert f"({size} B/token)" in line


@pytest.mark.parametrize("settings", [SAMPLED, HIDDEN], ids=["sampled", "hidden"])
def test_the_same_run_gives_the_same_bytes(
    settings: dict[str, Any], inputs: dict[str, Input], tmp_path: Path
) -> None:
    one, two = (caches.make_cache(tmp_path / name, inputs, **settings) for name in "ab")

    assert one.digest == two.digest
