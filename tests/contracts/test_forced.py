"""What every loss must do with tokens that a calculator put: nothing, as if they were no steps."""

from dataclasses import replace

import pytest
import torch
from objective_inputs import (
    LENGTHS,
    built,
    inputs_of,
    make_batch,
    random_logits,
    student_signal,
    teacher_signal,
    variants,
)

from ketchup_cli import functional as F
from ketchup_cli.signals import Batch, Inputs

FORCED_BT = torch.tensor([
    [0, 1, 1, 0, 0],
    [0, 1, 0, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 1, 1, 0],
]).bool()
"""Of completions of 5, 3, 1 and 4 tokens: inside, in the middle, nowhere, and at the end."""

OWN = [
    [step for step in range(size) if not row[step]]
    for size, row in zip(LENGTHS, FORCED_BT.tolist(), strict=True)
]
DISTINCT = {
    title: table
    for title, table in variants().items()
    if set(table) == {"name"} or table["name"] in {"ketchup", "minillm"}
}
every_objective = pytest.mark.parametrize("table", variants().values(), ids=variants())


def forced(inputs: Inputs) -> Inputs:
    return replace(inputs, batch=replace(inputs.batch, forced_BT=FORCED_BT))


def loss_of(objective, inputs):
    return F.reduce(objective(inputs), inputs.batch.mask_BT)


def cut(x_BT):
    """Return own steps one behind the other, by hand, 0 past the last."""
    found = torch.zeros_like(x_BT[:, : max(map(len, OWN))])
    for row, steps in enumerate(OWN):
        for place, step in enumerate(steps):
            found[row, place] = x_BT[row, step]
    return found


def without_them(inputs: Inputs, teacher_BTV, student_BTV, *, needs) -> Inputs:
    """Return inputs of a world where those steps were never taken, from logits on."""
    batch = inputs.batch
    known = {name: cut(getattr(batch, name)) for name in ("tokens_BT", "mask_BT")}
    short = replace(batch, **known, behaviour_logp_BT=cut(batch.behaviour_logp_BT))
    student = student_signal(cut(student_BTV), short)
    teacher = teacher_signal(cut(teacher_BTV), short, student_BTV=cut(student_BTV), needs=needs)
    # prompts and lengths were made of logits too, and no token of theirs was forced
    return replace(
        inputs,
        batch=short,
        student=replace(
            student,
            encoder_LBSH=inputs.student.encoder_LBSH,
            length_logp_B=inputs.student.length_logp_B,
        ),
        teacher=replace(teacher, encoder_LBSH=inputs.teacher.encoder_LBSH),
    )


@every_objective
def test_no_gradient_reaches_the_logits_of_a_forced_token(table):
    objective = built(table)
    inputs = forced(inputs_of(objective))
    # these inputs make an encoder's states of the same logits, which no model does
    apart = replace(inputs.student, encoder_LBSH=inputs.student.encoder_LBSH.detach())
    inputs, logits_BTV = replace(inputs, student=apart), inputs.student.logits_BTV
    (slope_BTV,) = torch.autograd.grad(loss_of(objective, F.own_steps(inputs)), logits_BTV)

    own_BT = F.own_mask(inputs.batch.mask_BT, FORCED_BT).bool()
    assert slope_BTV[own_BT].abs().sum() > 0
    assert (slope_BTV[FORCED_BT] == 0).all()
    assert slope_BTV.isfinite().all()


@pytest.mark.parametrize("table", DISTINCT.values(), ids=DISTINCT)
def test_a_loss_is_that_of_completions_without_the_forced_steps(table):
    objective = built(table)
    teacher_BTV, student_BTV = random_logits(1), random_logits(2)
    inputs = inputs_of(objective, teacher_BTV=teacher_BTV, student_BTV=student_BTV)
    wanted = without_them(inputs, teacher_BTV, student_BTV, needs=objective.needs)

    torch.testing.assert_close(
        loss_of(objective, F.own_steps(forced(inputs))), loss_of(objective, wanted)
    )


def batch_with(forced_BT) -> Batch:
    return replace(make_batch(), forced_BT=forced_BT)


@pytest.mark.parametrize("forced_BT", [None, torch.zeros(4, 5).bool()], ids=["none", "no token"])
def test_without_a_forced_token_nothing_is_touched(forced_BT):
    (table,) = [table for table in variants().values() if table == {"name": "ketchup"}]
    inputs = inputs_of(built(table))
    inputs = replace(inputs, batch=batch_with(forced_BT))

    assert F.own_steps(inputs) is inputs


def test_tokens_are_counted_without_forced_ones():
    batch = batch_with(FORCED_BT)

    assert F.own_mask(batch.mask_BT, batch.forced_BT).sum(dim=1).tolist() == [3, 2, 1, 2]
    assert F.own_mask(batch.mask_BT, None) is batch.mask_BT
