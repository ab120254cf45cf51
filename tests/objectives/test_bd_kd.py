from dataclasses import replace

import pytest
import torch
from objective_inputs import make_inputs, random_logits

from ketchup_cli import functional as F
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.bd_kd import BdKd


def inputs_of(objective, *, teacher_BTV=None):
    """Inputs whose teacher logits are a leaf too."""
    inputs = make_inputs(needs=objective.needs)
    own_BTV = (random_logits(1) if teacher_BTV is None else teacher_BTV).requires_grad_()
    return replace(inputs, teacher=replace(inputs.teacher, own_BTV=own_BTV))


def gradients(objective, inputs=None):
    """Return the gradients of the student's and of the teacher's logits."""
    inputs = inputs or inputs_of(objective)
    sides = (inputs.student.logits_BTV, inputs.teacher.own_BTV)
    loss = F.reduce(objective(inputs), inputs.batch.mask_BT)
    return torch.autograd.grad(loss, sides, allow_unused=True)


@pytest.mark.parametrize("gate", ["hard", "sigmoid"])
def test_the_loss_is_the_sum_of_its_four_terms(gate):
    objective = BdKd(
        nll=0.3, student_weight=0.7, teacher_weight=1.5, emphasis=3.0, gate=gate, temperature=2.0
    )
    inputs = inputs_of(objective)
    p_BTV, q_BTV = inputs.teacher.own_BTV, inputs.student.logits_BTV
    tokens_BT, mask_BT = inputs.batch.tokens_BT, inputs.batch.mask_BT
    nu_BT, delta_BT = F.entropy_gate(F.entropy(q_BTV) - F.entropy(p_BTV), emphasis=3.0, gate=gate)
    forward_BT, reverse_BT = (f(p_BTV, q_BTV, temperature=2.0) for f in (F.kl, F.reverse_kl))

    wanted_BT = (
        -0.3 * F.log_probs_of(q_BTV, tokens_BT)
        + 0.7 * 4 * (nu_BT * forward_BT + delta_BT * reverse_BT)
        - F.log_probs_of(p_BTV, tokens_BT)
        + 1.5 * 4 * reverse_BT
    )
    torch.testing.assert_close(
        F.zero_padding(objective(inputs).loss_BT, mask_BT), F.zero_padding(wanted_BT, mask_BT)
    )


def test_the_student_s_loss_does_not_move_the_teacher():
    one, other = (gradients(BdKd(nll=a, student_weight=a))[1] for a in (0.0, 5.0))

    torch.testing.assert_close(one, other)


def test_the_teacher_s_loss_does_not_move_the_student():
    one, other = (gradients(BdKd(teacher_weight=c))[0] for c in (0.0, 5.0))

    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("gate", ["hard", "sigmoid"])
def test_equal_models_feel_the_references_only(gate):
    def of(**weights):
        objective = BdKd(gate=gate, **weights)
        return gradients(objective, inputs_of(objective, teacher_BTV=random_logits(2)))

    torch.testing.assert_close(of(), of(student_weight=0.0, teacher_weight=0.0))


def test_an_emphasis_of_one_needs_no_gate():
    hard, smooth = (gradients(BdKd(emphasis=1.0, gate=gate)) for gate in ("hard", "sigmoid"))

    torch.testing.assert_close(hard, smooth)


def test_the_gap_and_who_is_flatter_are_told():
    objective = BdKd()
    inputs = inputs_of(objective)

    metrics = objective(inputs).metrics

    gap_BT = F.entropy(inputs.student.logits_BTV) - F.entropy(inputs.teacher.own_BTV)
    real_BT = inputs.batch.mask_BT.bool()
    torch.testing.assert_close(metrics["entropy_gap"][real_BT], gap_BT.detach()[real_BT])
    assert (metrics["student_flatter"] == (metrics["entropy_gap"] >= 0)).all()


@pytest.mark.parametrize(("module", "rank"), [("lora", 8), ("head", 64), ("full", 0)])
def test_the_size_of_the_part_fits_its_kind(module, rank):
    assert BdKd(module=module).teacher_part.rank == rank


@pytest.mark.parametrize("fields", [{"emphasis": -1.0}, {"steepness": -1.0}, {"temperature": 0.0}])
def test_numbers_out_of_range_are_refused(fields):
    with pytest.raises(SpecError, match="must be at least"):
        BdKd(**fields)
