from dataclasses import replace

import pytest
import torch
from objective_inputs import make_inputs, random_logits

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.objectives.okd import Okd

DIVERGENCES = {"kl": F.kl, "reverse_kl": F.reverse_kl, "js": F.js}


def inputs_of(objective):
    """Inputs whose teacher logits are a leaf too."""
    inputs = make_inputs(needs=objective.needs)
    own_BTV = random_logits(1).requires_grad_()
    return replace(inputs, teacher=replace(inputs.teacher, own_BTV=own_BTV))


def total(objective, inputs):
    return F.reduce(objective(inputs), inputs.batch.mask_BT)


def gradients(objective):
    """Return the gradients of the student's and of the teacher's logits."""
    inputs = inputs_of(objective)
    sides = (inputs.student.logits_BTV, inputs.teacher.own_BTV)
    return torch.autograd.grad(total(objective, inputs), sides, allow_unused=True)


def size(gradient_BTV):
    return 0.0 if gradient_BTV is None else gradient_BTV.abs().sum().item()


@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "js"])
@pytest.mark.parametrize("teacher_divergence", ["kl", "reverse_kl"])
def test_the_loss_is_the_sum_of_its_four_terms(divergence, teacher_divergence):
    objective = Okd(
        nll=0.3,
        divergence=divergence,
        gamma=0.7,
        teacher_divergence=teacher_divergence,
        teacher_nll=1.5,
        temperature=2.0,
    )
    inputs = inputs_of(objective)
    p_BTV, q_BTV = inputs.teacher.own_BTV, inputs.student.logits_BTV
    tokens_BT, mask_BT = inputs.batch.tokens_BT, inputs.batch.mask_BT

    wanted_BT = (
        -0.3 * F.log_probs_of(q_BTV, tokens_BT)
        + 0.7 * 4 * DIVERGENCES[divergence](p_BTV, q_BTV, temperature=2.0)
        - 1.5 * F.log_probs_of(p_BTV, tokens_BT)
        + 0.7 * 4 * DIVERGENCES[teacher_divergence](p_BTV, q_BTV, temperature=2.0)
    )
    found_BT = objective(inputs).loss_BT
    torch.testing.assert_close(
        F.zero_padding(found_BT, mask_BT), F.zero_padding(wanted_BT, mask_BT)
    )


def test_alternate_sends_nothing_of_the_student_s_loss_into_the_teacher():
    student_only = Okd(gamma=0.0, teacher_nll=0.0)

    student_BTV, teacher_BTV = gradients(student_only)

    assert size(student_BTV) > 0
    assert size(teacher_BTV) == 0


def test_alternate_sends_nothing_of_the_teacher_s_loss_into_the_student():
    without = gradients(Okd(gamma=0.0, teacher_nll=0.0))[0]

    torch.testing.assert_close(gradients(Okd(gamma=3.0, teacher_nll=2.0))[0], without)


def test_joint_lets_the_student_s_divergence_move_the_teacher():
    alternate = gradients(Okd(gamma=0.0))[1]
    joint = gradients(Okd(gamma=0.0, coupling="joint"))[1]

    assert size(joint - alternate) > 0.01


def test_the_gradient_of_joint_is_the_sum_of_the_gradients_of_its_parts():
    parts = {
        "nll": Okd(nll=1.0, gamma=0.0, teacher_nll=1.0, coupling="joint"),
        "divergence": Okd(
            nll=0.0, gamma=0.0, teacher_nll=0.0, coupling="joint", allow_collapse=True
        ),
        "teacher": Okd(nll=1.0, gamma=1.0, teacher_nll=0.0, coupling="joint", allow_collapse=True),
    }
    found = {name: gradients(objective) for name, objective in parts.items()}
    # of `teacher`, the student's own likelihood is not counted a second time
    own_nll = gradients(Okd(nll=1.0, gamma=0.0, teacher_nll=0.0))[0]
    nll, divergence, teacher = (found[name] for name in parts)

    student_BTV, teacher_BTV = gradients(Okd(nll=0.4, gamma=0.8, teacher_nll=1.0, coupling="joint"))

    torch.testing.assert_close(
        student_BTV, 0.4 * own_nll + 0.6 * divergence[0] + 0.8 * (teacher[0] - own_nll)
    )
    torch.testing.assert_close(teacher_BTV, nll[1] + 0.6 * divergence[1] + 0.8 * teacher[1])


@pytest.mark.parametrize("coupling", ["alternate", "joint"])
def test_the_student_s_gradient_is_that_of_finite_differences(coupling):
    objective = Okd(coupling=coupling)
    inputs = inputs_of(objective)
    fixed_BTV = inputs.teacher.own_BTV.detach()

    def loss(q_BTV):
        student = replace(
            inputs.student,
            logits_BTV=q_BTV,
            logp_taken_BT=F.log_probs_of(q_BTV, inputs.batch.tokens_BT),
        )
        # under `alternate` the student's gradient is that of its own two terms
        own = objective if coupling == "joint" else replace(objective, gamma=0.0)
        teacher = replace(inputs.teacher, own_BTV=fixed_BTV)
        return total(own, replace(inputs, student=student, teacher=teacher))

    (slope_BTV,) = torch.autograd.grad(total(objective, inputs), inputs.student.logits_BTV)
    q_BTV, step = inputs.student.logits_BTV.detach(), 1e-6
    for place in ((0, 0, 0), (0, 4, 5), (1, 2, 3), (3, 3, 1)):
        moved_BTV = torch.zeros_like(q_BTV)
        moved_BTV[place] = step
        wanted = (loss(q_BTV + moved_BTV) - loss(q_BTV - moved_BTV)) / (2 * step)
        assert slope_BTV[place].item() == pytest.approx(wanted.item(), abs=1e-7)


def test_a_teacher_that_is_only_pulled_walks_to_the_student():
    objective = Okd(teacher_nll=0.0, allow_collapse=True)
    inputs = inputs_of(objective)
    own_BTV = inputs.teacher.own_BTV
    distances = []
    for _ in range(20):
        own = replace(inputs.teacher, own_BTV=own_BTV)
        loss = objective(replace(inputs, teacher=own))
        distances.append(
            F.masked_mean(loss.metrics["teacher_divergence"], inputs.batch.mask_BT).item()
        )
        (slope_BTV,) = torch.autograd.grad(F.reduce(loss, inputs.batch.mask_BT), own_BTV)
        own_BTV = (own_BTV - slope_BTV).detach().requires_grad_()

    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.8 * distances[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"gamma": 1.0, "teacher_nll": 0.0},
        {"gamma": 0.0, "teacher_nll": 0.0, "coupling": "joint"},
    ],
    ids=["pulled", "joint"],
)
def test_a_teacher_that_nothing_holds_is_refused(fields):
    with pytest.raises(SpecError, match="walk to the student") as caught:
        objectives.build({"name": "okd", **fields})

    assert "allow_collapse" in caught.value.hint


def test_a_teacher_that_nothing_holds_is_accepted_where_that_is_asked_for():
    (term,) = objectives.build({"name": "okd", "teacher_nll": 0.0, "allow_collapse": True})

    assert term.objective.teacher_nll == 0.0


@pytest.mark.parametrize(("module", "rank"), [("lora", 8), ("head", 64)])
def test_the_size_of_the_part_fits_its_kind_unless_it_is_given(module, rank):
    assert Okd(module=module).teacher_part.rank == rank
    assert Okd(module=module, rank=3).teacher_part.rank == 3


def test_the_teacher_of_another_sort_is_refused():
    inputs = make_inputs()

    with pytest.raises(MismatchError, match="own_BTV"):
        Okd()(inputs)


@pytest.mark.parametrize(
    "fields", [{"nll": 1.5}, {"gamma": -1.0}, {"temperature": 0.0}, {"rank": -1}]
)
def test_numbers_out_of_range_are_refused(fields):
    with pytest.raises(SpecError, match="must be"):
        Okd(**fields)
