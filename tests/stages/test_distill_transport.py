from pathlib import Path

import pytest
import tiny
from distilling import log_of, make_cache, make_inputs, make_spec, run

from ketchup_cli.errors import MismatchError

SINKD = {"name": "sinkd", "max_tokens": 16}


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_transport_trains_both_kinds_of_models_from_a_live_teacher_or_all_its_logits(
    architecture: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path, architecture)
    live = run(tmp_path, make_spec(SINKD), given, "live")
    cached = run(tmp_path, make_spec(SINKD), {**given, "cache": make_cache(tmp_path, given)})
    wanted, found = ([line["loss"] for line in log_of(item)] for item in (live, cached))

    assert found == pytest.approx(wanted, abs=1e-5)
    assert all(line["gradient_norm"] > 0 for line in log_of(live))
    assert all(line["row_error"] < 0.05 for line in log_of(live))


def test_a_truncated_cache_costs_less_and_still_trains(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    whole = run(tmp_path, make_spec(SINKD), given, "live")
    given["cache"] = make_cache(tmp_path, given, top=8)
    cut = run(tmp_path, make_spec(SINKD), given, "cut")

    assert 0 < log_of(cut)[0]["loss"] < log_of(whole)[0]["loss"]
    assert log_of(cut)[0]["gradient_norm"] > 0


def test_transport_stands_in_the_mix_of_its_method(tmp_path: Path) -> None:
    mix = ({**SINKD, "weight": 0.5}, {"name": "kl", "weight": 0.3}, {"name": "nll", "weight": 0.2})
    (line, *_) = log_of(run(tmp_path, make_spec(*mix), make_inputs(tmp_path)))

    assert line["loss"] == pytest.approx(
        0.5 * line["loss_sinkd"] + 0.3 * line["loss_kl"] + 0.2 * line["loss_nll"], abs=1e-5
    )


def test_the_loss_does_not_grow_with_the_number_of_batches(tmp_path: Path) -> None:
    spec = make_spec({"name": "sinkd", "max_tokens": 1}, updates=1, accumulate=3)
    (line,) = log_of(run(tmp_path, spec, make_inputs(tmp_path)))

    # tokens alone cost twice a total variation distance, 2 at most
    assert 0 < line["loss"] <= 2
    assert line["loss"] == pytest.approx(line["transport"], rel=1e-5)


def test_debiasing_from_a_truncated_cache_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, top=8)
    spec = make_spec({**SINKD, "form": "debiased"}, teacher="cache")

    with pytest.raises(MismatchError, match="the objective asks all logits"):
        run(tmp_path, spec, given)
