"""An objective's gradient on a task small enough to list every completion: mean and covariance."""

import torch
from objective_inputs import student_signal, teacher_signal
from tabular import TabularTeacher
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.objectives import Objective
from ketchup_cli.signals import Batch, Inputs


def inputs_of(
    task: TabularTeacher, student_SV: Tensor, objective: Objective, *, which_X: Tensor | None = None
) -> Inputs:
    """Return the task's completions, all or those numbered, as inputs of an objective.

    They pass for samples of one prompt, drawn from the student. The student's logits, a leaf, are
    those along the completions, [X, T, V].
    """
    which_X = torch.arange(len(task.completions)) if which_X is None else which_X
    batch = Batch(
        ids=tuple(map(str, which_X.tolist())),
        prompt_BS=task.tokens_NT[which_X, :1],
        prompt_mask_BS=task.mask_NT[which_X, :1],
        tokens_BT=task.tokens_NT[which_X],
        mask_BT=task.mask_NT[which_X],
        source="student",
        behaviour_logp_BT=task.log_probs(student_SV.detach())[which_X],
        group_B=torch.zeros(len(which_X)),
    )
    logits_XTV = task.at(student_SV.detach())[which_X].requires_grad_()
    teacher_XTV = task.at(task.logits_SV)[which_X]
    return Inputs(
        batch=batch,
        student=student_signal(logits_XTV, batch),
        teacher=teacher_signal(
            teacher_XTV, batch, student_BTV=logits_XTV, top=1, needs=objective.needs
        ),
    )


def gradients_at(inputs: Inputs, objective: Objective) -> Tensor:
    """Return the gradient of every completion's summed loss at its own steps, [X, T, V]."""
    mask_XT = inputs.batch.mask_BT
    loss = F.zero_padding(objective(inputs).loss_BT, mask_XT).sum()
    (gradient_XTV,) = torch.autograd.grad(loss, inputs.student.logits_BTV)
    return gradient_XTV * mask_XT[..., None]


def by_state(task: TabularTeacher, gradient_XTV: Tensor, state_XT: Tensor) -> Tensor:
    """Return gradients along completions as gradients of the student's table, [X, S, V]."""
    shape = (len(gradient_XTV), len(task.states), task.vocabulary)
    index_XTV = state_XT[..., None].expand_as(gradient_XTV)
    return gradient_XTV.new_zeros(shape).scatter_add(1, index_XTV, gradient_XTV)


def gradients(objective: Objective, task: TabularTeacher, student_SV: Tensor) -> Tensor:
    """Return the gradient of each completion's loss, [N, S, V].

    Right for objectives whose loss on a completion does not depend on the rest of the batch.
    """
    inputs = inputs_of(task, student_SV, objective)
    return by_state(task, gradients_at(inputs, objective), task.state_NT)


def expected_gradient(objective: Objective, task: TabularTeacher, student_SV: Tensor) -> Tensor:
    """Return the expectation of the loss's gradient under the student, [S, V]."""
    gradient_NSV = gradients(objective, task, student_SV)
    return torch.einsum("n,nsv->sv", task.probabilities(student_SV), gradient_NSV)


def trace(objective: Objective, task: TabularTeacher, student_SV: Tensor) -> float:
    """Return the trace of the covariance of one completion's gradient."""
    gradient_NSV = gradients(objective, task, student_SV)
    chance_N = task.probabilities(student_SV)
    mean_SV = torch.einsum("n,nsv->sv", chance_N, gradient_NSV)
    squared_N = gradient_NSV.square().sum(dim=(1, 2))
    return float(chance_N @ squared_N - mean_SV.square().sum())


def expected_gradient_of_pairs(
    objective: Objective, task: TabularTeacher, student_SV: Tensor
) -> Tensor:
    """Return the expectation, a completion, of the gradient on two samples of a prompt, [S, V]."""
    chance_N = task.probabilities(student_SV)
    total_SV = torch.zeros_like(student_SV)
    count = len(task.completions)
    for first in range(count):
        for second in range(count):
            which_2 = torch.tensor([first, second])
            inputs = inputs_of(task, student_SV, objective, which_X=which_2)
            gradient_2TV = gradients_at(inputs, objective)
            found_2SV = by_state(task, gradient_2TV, task.state_NT[which_2])
            total_SV += chance_N[first] * chance_N[second] * found_2SV.mean(dim=0)
    return total_SV
