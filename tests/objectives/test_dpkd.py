import math
from dataclasses import replace

import pytest
import torch
from objective_inputs import CHOSEN, GROUPS, make_inputs, random_logits, rows_of

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.objectives.dpkd import Dpkd

PAIRS = [(0, 1), (3, 2)]
"""Chosen and rejected row of each pair of the usual batch."""


def log_probs(logits_BTV, inputs):
    logp_BT = F.log_probs_of(logits_BTV, inputs.batch.tokens_BT)
    return F.zero_padding(logp_BT, inputs.batch.mask_BT)


def test_the_pairs_of_these_tests_are_those_of_the_batch():
    assert [(GROUPS[a], GROUPS[b], CHOSEN[a], CHOSEN[b]) for a, b in PAIRS] == [
        (7, 7, 1, 0),
        (9, 9, 1, 0),
    ]


@pytest.mark.parametrize("length", ["sum", "mean"])
def test_the_loss_of_a_pair_is_that_of_its_two_log_ratios(length):
    inputs = make_inputs()
    ratio_BT = log_probs(inputs.student.logits_BTV, inputs) - log_probs(random_logits(1), inputs)
    sizes_B = inputs.batch.mask_BT.sum(1) if length == "mean" else torch.ones(4)
    ratio_B = ratio_BT.sum(1) / sizes_B

    loss_B = Dpkd(beta=0.3, length=length)(inputs).loss_B
    for chosen, rejected in PAIRS:
        margin = (ratio_B[chosen] - ratio_B[rejected]).item()
        slow = math.log(1 + math.exp(-0.3 * margin))
        assert loss_B[chosen].item() == loss_B[rejected].item() == pytest.approx(slow)


def test_the_gradient_is_that_of_the_paper():
    inputs = make_inputs()
    objective = Dpkd(beta=0.3, length="sum")
    logp_B = log_probs(inputs.student.logits_BTV, inputs).sum(1)
    margin_B = objective(inputs).metrics["margin"]
    slow = sum(
        -0.3 * torch.sigmoid(-0.3 * margin_B[chosen]) * (logp_B[chosen] - logp_B[rejected])
        for chosen, rejected in PAIRS
    )

    # each pair stands in two rows
    wanted, found = (
        torch.autograd.grad(loss, inputs.student.logits_BTV, retain_graph=True)[0]
        for loss in (slow, objective(inputs).loss_B.sum() / 2)
    )
    torch.testing.assert_close(found, wanted)


def test_a_student_like_its_teacher_has_loss_log_two():
    logits_BTV = random_logits(2)
    loss_B = Dpkd()(make_inputs(teacher_BTV=logits_BTV)).loss_B

    torch.testing.assert_close(loss_B, torch.full_like(loss_B, math.log(2)))


def test_length_decides_a_sum_and_not_a_mean():
    # student and teacher differ by one nat at every token: only the lengths differ
    inputs = make_inputs()
    teacher = inputs.teacher
    ahead = replace(teacher, taken_BT=inputs.student.logp_taken_BT - 1 + teacher.lse_BT)
    inputs = replace(inputs, teacher=ahead)
    lengths_B = inputs.batch.mask_BT.sum(1)

    summed = Dpkd(length="sum")(inputs).metrics["margin"]
    torch.testing.assert_close(summed[0].item(), float(lengths_B[0] - lengths_B[1]))
    assert Dpkd()(inputs).metrics["margin"].abs().max() < 1e-9


def test_the_metrics_tell_both_sides_apart():
    inputs = make_inputs()
    metrics = Dpkd()(inputs).metrics
    logp_B = log_probs(inputs.student.logits_BTV, inputs).sum(1) / inputs.batch.mask_BT.sum(1)

    for chosen, rejected in PAIRS:
        for row in (chosen, rejected):
            assert metrics["chosen_logp"][row].item() == pytest.approx(logp_B[chosen].item())
            assert metrics["rejected_logp"][row].item() == pytest.approx(logp_B[rejected].item())
    assert metrics["chosen_length"].tolist() == [5.0, 5.0, 4.0, 4.0]
    assert metrics["rejected_length"].tolist() == [3.0, 3.0, 1.0, 1.0]


def test_the_released_form_prefers_the_teacher_s_token_after_every_prefix():
    inputs = make_inputs()
    dense = replace(inputs.teacher, dense=rows_of(random_logits(1), inputs.batch))
    loss = Dpkd(form="token", beta=0.1)(replace(inputs, teacher=dense))
    p_BTV, q_BTV = random_logits(1).log_softmax(-1), inputs.student.logits_BTV.log_softmax(-1)

    for b, t in inputs.batch.mask_BT.nonzero().tolist():
        a, own = int(p_BTV[b, t].argmax()), int(q_BTV[b, t].argmax())
        margin = q_BTV[b, t, a] - q_BTV[b, t, own] - (p_BTV[b, t, a] - p_BTV[b, t, own])
        slow = math.log(1 + math.exp(-0.1 * margin.item()))
        assert loss.loss_BT[b, t].item() == pytest.approx(slow)
        assert loss.metrics["agreement"][b, t].item() == float(a == own)
        assert loss.metrics["chosen_logp"][b, t].item() == pytest.approx(q_BTV[b, t, a].item())


def test_the_two_forms_learn_from_different_texts():
    assert Dpkd().needs.prefixes == ("pairs",)
    assert "pairs" not in Dpkd(form="token").needs.prefixes


def test_a_batch_without_pairs_is_refused():
    inputs = make_inputs()
    alone = replace(inputs, batch=replace(inputs.batch, chosen_B=None))

    with pytest.raises(MismatchError, match="chosen_B"):
        Dpkd()(alone)


@pytest.mark.parametrize("field", [{"beta": 0.0}, {"label_smoothing": 1.5}])
def test_settings_out_of_range_are_refused(field):
    with pytest.raises(SpecError, match="must be at least"):
        Dpkd(**field)


def test_the_released_preset_is_the_token_form_in_its_mix():
    preset = Dpkd.presets["released"]
    tables = [{"name": "dpkd", **preset["objective"]}, *preset["beside"]]

    assert [(term.name, term.weight, term.prefixes) for term in objectives.terms(tables)] == [
        ("dpkd", 0.5, "data"),
        ("nll", 0.5, "data"),
    ]
