"""Policy gradients from the command's side: each trains, with the teacher mixed in or not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny
from distilling import ROLLOUT, log_of, make_inputs, make_spec, run

from ketchup_cli.errors import SpecError
from ketchup_cli.stages import distill

OBJECTIVES = {
    "exact": {"name": "ketchup", "k": 2, "immediate": "exact"},
    "exact llmr": {"name": "llmr", "immediate": "exact", "baseline": "step"},
    "vopd": {"name": "vopd"},
    "vopd of the top": {"name": "vopd", "support": "top-k", "kept": 8},
    "minillm": {"name": "minillm"},
}
MIXED = msgspec.structs.replace(ROLLOUT, teacher_share=0.5)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_every_policy_gradient_trains_both_kinds_of_models(
    architecture: str, name: str, tmp_path: Path
) -> None:
    spec = make_spec(OBJECTIVES[name], rollout=MIXED)
    artifact = run(tmp_path, spec, make_inputs(tmp_path, architecture))

    assert len(log_of(artifact)) == 3
    assert all(line["gradient_norm"] > 0 for line in log_of(artifact))


def first_line(folder: Path, **changes: Any) -> dict[str, Any]:
    spec = make_spec({"name": "minillm"}, **changes)
    line: dict[str, Any] = log_of(run(folder, spec, make_inputs(folder)))[0]
    return line


def test_the_student_s_own_samples_have_ratio_one(tmp_path: Path) -> None:
    line = first_line(tmp_path)

    assert line["ratio"] == pytest.approx(1.0, abs=1e-4)
    assert line["ratio_variance"] < 1e-8


def test_samples_of_the_mixture_have_ratios_that_vary_below_their_bound(tmp_path: Path) -> None:
    line = first_line(tmp_path, rollout=MIXED)

    assert line["ratio_variance"] > 1e-4
    assert 0 < line["ratio"] < 1 / (1 - MIXED.teacher_share)


def test_the_teacher_s_part_changes_what_is_written(tmp_path: Path) -> None:
    own, mixed = first_line(tmp_path / "own"), first_line(tmp_path / "mixed", rollout=MIXED)

    assert mixed["return"] > own["return"]


@pytest.mark.parametrize(
    "table", [{"name": "kl"}, {"name": "nll"}], ids=lambda table: table["name"]
)
def test_a_share_of_a_teacher_nobody_listens_to_is_refused(
    table: dict[str, Any], tmp_path: Path
) -> None:
    spec = make_spec(table, rollout=MIXED)

    with pytest.raises(SpecError, match=r"`rollout.teacher_share` is 0.5; no term"):
        distill.plan(spec, make_inputs(tmp_path))
