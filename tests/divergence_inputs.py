"""Inputs of a divergence: the teacher whole or by its largest entries, whoever wrote the text."""

from dataclasses import replace

from objective_inputs import make_inputs, random_logits
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.objectives.base import Objective
from ketchup_cli.signals import Inputs, Prefixes, TeacherDetail

TEACHER_BTV = random_logits(1)
STUDENT_BTV = random_logits(2)


def seen_by(
    objective: Objective,
    *,
    detail: TeacherDetail = "dense",
    source: Prefixes = "student",
    teacher_BTV: Tensor = TEACHER_BTV,
    student_BTV: Tensor = STUDENT_BTV,
) -> Inputs:
    """Return inputs with that much of the teacher, at the objective's temperature."""
    needs = replace(objective.needs, teacher=detail)
    inputs = make_inputs(teacher_BTV=teacher_BTV, student_BTV=student_BTV, needs=needs)
    return replace(inputs, batch=replace(inputs.batch, source=source))


def loss_of(objective: Objective, inputs: Inputs) -> Tensor:
    """Return the objective's loss with 0 on padding, [B, T]."""
    return F.zero_padding(objective(inputs).loss_BT, inputs.batch.mask_BT)


def whole(measure, inputs: Inputs, *, temperature: float = 1.0) -> Tensor:
    """Return what `measure` says of all logits at once, 0 on padding."""
    found_BT = measure(TEACHER_BTV, inputs.student.logits_BTV, temperature=temperature)
    return F.zero_padding(found_BT, inputs.batch.mask_BT)


def bucketed(measure, inputs: Inputs, *, temperature: float = 1.0) -> Tensor:
    """Return what `measure` says of the kept entries and one for the tail, 0 on padding."""
    both = F.bucketed(inputs.teacher.top, inputs.student.logits_BTV, temperature=temperature)
    return F.zero_padding(measure(*both), inputs.batch.mask_BT)
