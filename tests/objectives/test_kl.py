from dataclasses import replace

import pytest
import torch
from objective_inputs import VOCABULARY, make_inputs, random_logits, rows_of, teacher_signal

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives.kl import Kl

TEACHER_BTV = random_logits(1)


def inputs_with(**teacher_changes):
    inputs = make_inputs(teacher_BTV=TEACHER_BTV)
    return replace(inputs, teacher=replace(inputs.teacher, **teacher_changes))


def with_all_logits(logits_BTV=TEACHER_BTV):
    inputs = inputs_with()
    rows = rows_of(logits_BTV, inputs.batch)
    return replace(inputs, teacher=replace(inputs.teacher, dense=rows))


def real(values_BT, inputs):
    return F.zero_padding(values_BT, inputs.batch.mask_BT)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_with_the_whole_teacher_the_loss_is_exact(temperature):
    inputs = with_all_logits()

    divergence_BT = F.kl(TEACHER_BTV, inputs.student.logits_BTV, temperature=temperature)
    loss_BT = Kl(temperature=temperature)(inputs).loss_BT
    torch.testing.assert_close(loss_BT, temperature**2 * real(divergence_BT, inputs))


@pytest.mark.parametrize("tail", ["bucket", "renormalise"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_from_the_top_entries_the_loss_follows_the_named_rule(temperature, tail):
    objective = Kl(temperature=temperature, tail=tail)
    inputs = make_inputs(teacher_BTV=TEACHER_BTV, needs=objective.needs)

    divergence_BT = F.kl_truncated(
        inputs.teacher.top, inputs.student.logits_BTV, tail=tail, temperature=temperature
    )
    torch.testing.assert_close(objective(inputs).loss_BT, temperature**2 * divergence_BT)


@pytest.mark.parametrize("tail", ["bucket", "renormalise"])
def test_a_cache_of_the_whole_vocabulary_equals_the_live_teacher(tail):
    live = with_all_logits()
    whole = teacher_signal(
        TEACHER_BTV, live.batch, student_BTV=live.student.logits_BTV, top=VOCABULARY
    )

    cached = replace(live, teacher=whole)

    cached_BT = real(Kl(tail=tail)(cached).loss_BT, live)
    torch.testing.assert_close(cached_BT, Kl(tail=tail)(live).loss_BT)


def test_the_metric_is_without_the_square_of_the_temperature():
    inputs = with_all_logits()

    loss = Kl(temperature=2.0)(inputs)

    torch.testing.assert_close(4 * loss.metrics["kl"], loss.loss_BT.detach())


def test_no_gradient_reaches_the_whole_teacher():
    dense_BTV = TEACHER_BTV.clone().requires_grad_()

    Kl()(with_all_logits(dense_BTV)).loss_BT.sum().backward()

    assert dense_BTV.grad is None


def test_a_tail_for_another_temperature_is_refused():
    with pytest.raises(MismatchError, match="for temperature 1; the objective asks for 2"):
        Kl(temperature=2.0)(make_inputs())


def test_a_teacher_without_entries_is_refused():
    with pytest.raises(MismatchError, match=r"`teacher\.top`"):
        Kl()(inputs_with(top=None))


def test_the_temperature_is_part_of_the_needs():
    assert Kl(temperature=2.0).needs.temperature == 2.0


def drawn_inputs(objective):
    """Return inputs whose teacher is known by five draws a step, and those draws."""
    inputs = make_inputs(teacher_BTV=TEACHER_BTV, needs=objective.needs)
    flat_NV = TEACHER_BTV.flatten(0, 1)
    u_NG = torch.rand(len(flat_NV), 5, generator=torch.Generator().manual_seed(0))
    found = F.sampled_entries(flat_NV, u_NG, temperature=objective.temperature)
    ids_BTM, counts_BTM = (x.unflatten(0, inputs.batch.mask_BT.shape) for x in found)
    top = replace(
        inputs.teacher.top,
        ids_BTM=ids_BTM,
        gaps_BTM=torch.full_like(ids_BTM, torch.nan, dtype=torch.float64),
        weights_BTM=counts_BTM / 5,
    )
    return replace(inputs, teacher=replace(inputs.teacher, top=top, dense=None)), top


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_from_draws_the_loss_is_the_estimate(temperature):
    objective = Kl(temperature=temperature)
    inputs, top = drawn_inputs(objective)

    teacher = inputs.teacher
    estimate_BT = F.kl_sampled(
        top,
        inputs.student.logits_BTV,
        lse_BT=teacher.lse_BT,
        expected_BT=teacher.expected_BT,
        temperature=temperature,
    )
    torch.testing.assert_close(objective(inputs).loss_BT, temperature**2 * estimate_BT)


def test_draws_do_where_the_largest_entries_are_asked_for():
    assert Kl().needs.sampled
