from pathlib import Path

import pytest
import tiny
from distilling import log_of, make_cache, make_inputs, make_pseudo_targets, make_spec, run

from ketchup_cli.stages import distill

HALVES = {
    "js": {"name": "js"},
    "js of completions": {"name": "js", "mixture": "exact"},
    "tvd": {"name": "tvd"},
    "gkd": {"name": "gkd"},
}


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
@pytest.mark.parametrize("name", HALVES)
def test_every_update_learns_from_both_kinds_of_completions(
    architecture: str, name: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path, architecture)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)

    lines = log_of(run(tmp_path, make_spec(HALVES[name]), given))

    other = "data_tokens" if name == "gkd" else "teacher_tokens"
    assert len(lines) == 3
    assert all(line["student_tokens"] > 0 and line[other] > 0 for line in lines)


@pytest.mark.parametrize("name", ["js", "gkd"])
def test_the_plan_names_both_kinds_of_completions_with_their_shares(
    name: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)

    plan = dict(distill.plan(make_spec(HALVES[name]), given))["objective"]

    assert plan.count("0.5 x") == 2
    assert "on student completions" in plan


@pytest.mark.parametrize("name", ["js of completions", "gkd"])
def test_a_cache_serves_its_half_and_the_live_teacher_the_other(name: str, tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)
    completions = "references" if name == "gkd" else "pseudo-targets"
    spec = make_spec(HALVES[name])
    live = run(tmp_path, spec, given, "live")

    cache = make_cache(tmp_path, given, completions=completions)
    cached = run(tmp_path, spec, {**given, "cache": cache}, "cached")

    wanted, found = ([line["loss"] for line in log_of(item)] for item in (live, cached))
    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", ["reverse_kl", "engine"])
@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_an_objective_of_the_student_s_text_alone_reads_no_other(
    architecture: str, name: str, tmp_path: Path
) -> None:
    artifact = run(tmp_path, make_spec({"name": name}), make_inputs(tmp_path, architecture))

    assert all(line["student_tokens"] > 0 for line in log_of(artifact))
    assert not [line for line in log_of(artifact) if "data_tokens" in line]


@pytest.mark.parametrize("name", ["skew_kl", "skew_rkl", "adaptive_kl"])
@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_an_objective_of_data_learns_from_a_truncated_cache(
    architecture: str, name: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path, architecture)
    cut = {**given, "cache": make_cache(tmp_path, given, top=8)}
    settings = {"mu": 0.01} if name == "adaptive_kl" else {}

    lines = log_of(run(tmp_path, make_spec({"name": name, **settings}), cut))

    assert all(line["gradient_norm"] > 0 for line in lines)
