from dataclasses import replace

import pytest
import torch
from objective_inputs import VOCABULARY, make_inputs, random_logits, rows_of, teacher_signal

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.objectives.sinkd import Sinkd

TEACHER_BTV = random_logits(1)


def with_all_logits(logits_BTV=TEACHER_BTV):
    inputs = make_inputs(teacher_BTV=logits_BTV)
    rows = rows_of(logits_BTV, inputs.batch)
    return replace(inputs, teacher=replace(inputs.teacher, dense=rows))


def with_entries(count, *, temperature=1.0):
    needs = Sinkd(temperature=temperature).needs
    inputs = make_inputs(teacher_BTV=TEACHER_BTV)
    kept = teacher_signal(
        TEACHER_BTV,
        inputs.batch,
        student_BTV=inputs.student.logits_BTV,
        needs=needs,
        top=count,
    )
    return replace(inputs, teacher=kept)


def test_all_logits_and_a_cache_of_the_whole_vocabulary_give_one_loss():
    dense = Sinkd(temperature=2.0)(with_all_logits())
    kept = Sinkd(temperature=2.0)(with_entries(VOCABULARY, temperature=2.0))

    torch.testing.assert_close(kept.loss, dense.loss)


def test_a_truncated_teacher_costs_at_most_what_all_of_it_costs_up_to_its_tails():
    inputs = with_entries(3)
    exact, kept = (Sinkd(max_tokens=1)(item).loss for item in (with_all_logits(), inputs))
    tail = F.masked_mean(inputs.teacher.top.tail_BT, inputs.batch.mask_BT)

    assert kept < exact
    assert exact - kept <= 2 * tail


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_tokens_compared_with_no_other_cost_twice_their_total_variation_distance(temperature):
    inputs = with_all_logits()
    tvd_BT = F.tvd(TEACHER_BTV, inputs.student.logits_BTV, temperature=temperature)

    loss = Sinkd(max_tokens=1, temperature=temperature)(inputs).loss
    torch.testing.assert_close(loss, 2 * F.masked_mean(tvd_BT, inputs.batch.mask_BT))


def test_tokens_compared_with_others_may_go_to_a_cheaper_place():
    alone, together = (Sinkd(max_tokens=n)(with_all_logits()).loss for n in (1, 128))

    assert together < alone


def test_debiased_a_student_like_its_teacher_has_no_loss():
    inputs = with_all_logits(random_logits(2))

    assert Sinkd(smoothing=1.0)(inputs).loss > 0.1
    assert Sinkd(smoothing=1.0, form="debiased")(inputs).loss.abs() < 1e-9


def test_debiasing_asks_for_all_of_the_teacher():
    assert Sinkd().needs.teacher == "top"
    assert Sinkd(form="debiased").needs.teacher == "dense"


def test_more_sweeps_leave_rows_nearer_to_a_sum_of_one():
    few, many = (Sinkd(sweeps=n)(with_all_logits()).metrics["row_error"] for n in (1, 50))

    assert many < few / 10


def test_a_tail_for_another_temperature_is_refused():
    with pytest.raises(MismatchError, match="temperature 1; the objective asks for 2"):
        Sinkd(temperature=2.0)(with_entries(3))


@pytest.mark.parametrize(
    "field", [{"smoothing": 0.0}, {"sweeps": 0}, {"temperature": 0.0}, {"max_tokens": 0}]
)
def test_settings_without_a_plan_are_refused(field):
    with pytest.raises(SpecError, match="must be at least"):
        Sinkd(**field)


def test_it_stands_in_a_mix_with_likelihood_and_divergence():
    tables = [{"name": "nll"}, {"name": "kl"}, {"name": "sinkd", "weight": 0.5}]
    terms = objectives.terms(tables)

    assert [(term.name, term.prefixes) for term in terms] == [
        ("nll", "data"),
        ("kl", "data"),
        ("sinkd", "data"),
    ]


def test_the_released_mix_weighs_a_point_as_the_released_code_does():
    preset = Sinkd.presets["released"]
    kl, nll = preset["beside"]

    # 0.8 x 0.001 x the sum over a batch of 32, 0.9 x KL without its temperature, 0.1 x likelihood
    assert preset["objective"]["weight"] / preset["objective"]["max_tokens"] == pytest.approx(8e-4)
    assert kl["weight"] * kl["temperature"] ** 2 == pytest.approx(0.9)
    assert nll["weight"] == pytest.approx(0.1)
