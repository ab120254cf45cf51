"""Learning from caches of every kind, and refusing those that cannot serve."""

from pathlib import Path

import pytest
import tiny
from distilling import log_of, make_cache, make_inputs, make_spec, run

from ketchup_cli.errors import MismatchError
from ketchup_cli.stages import distill


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_cache_of_states_gives_the_loss_of_the_live_teacher(
    architecture: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path, architecture)
    live = run(tmp_path, make_spec(), given, "live")
    cache = make_cache(tmp_path, given, keep="hidden", state_dtype="float32")
    cached = run(tmp_path, make_spec(teacher="cache"), {**given, "cache": cache}, "cached")
    wanted, found = ([line["loss"] for line in log_of(item)] for item in (live, cached))

    assert found == pytest.approx(wanted, abs=1e-5)


def test_one_cache_of_states_serves_any_temperature(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    spec = make_spec({"name": "kl", "temperature": 2.0})
    live = run(tmp_path, spec, given, "live")
    cache = make_cache(tmp_path, given, keep="hidden", state_dtype="float32")
    cached = run(tmp_path, spec, {**given, "cache": cache}, "cached")
    wanted, found = ([line["loss"] for line in log_of(item)] for item in (live, cached))

    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_cache_of_draws_gives_about_the_loss_of_the_live_teacher(
    architecture: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path, architecture)
    live = run(tmp_path, make_spec(updates=1), given, "live")
    cache = make_cache(tmp_path, given, keep="sampled", draws=255)
    cached = run(tmp_path, make_spec(updates=1), {**given, "cache": cache}, "cached")
    wanted, found = (log_of(item)[0]["loss"] for item in (live, cached))

    # some 150 steps of 255 draws each, and student logits that spread over about one nat
    assert found == pytest.approx(wanted, abs=0.05)
    assert found != wanted


@pytest.mark.parametrize(
    ("table", "settings", "words", "way"),
    [
        ({"name": "sinkd"}, {"keep": "sampled"}, "holds draws, with statistics", "keep=top"),
        ({"name": "kl"}, {"top": 0}, "holds statistics only", "keep=top"),
    ],
    ids=["entries from draws", "entries from statistics"],
)
def test_a_cache_of_another_kind_is_refused_before_a_model_is_loaded(
    table: dict, settings: dict, words: str, way: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, **settings)
    (tmp_path / "empty").mkdir()
    given |= tiny.inputs(student=tmp_path / "empty")

    with pytest.raises(MismatchError, match=words) as raised:
        distill.plan(make_spec(table, teacher="cache"), given)
    assert way in (raised.value.hint or "")
