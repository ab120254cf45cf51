from dataclasses import replace

import pytest
import torch
from enumerated import expected_gradient
from objective_inputs import make_inputs
from tabular import TabularTeacher

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives.ketchup import Ketchup
from ketchup_cli.signals import Batch, Inputs, StudentSignal, TeacherSignal

PLAIN = {"value": "max", "form": "q", "baseline": "none", "normalise": "none", "clip": 0.0}
KS = [1, 2, 3, 4]
STATE_BASELINES = ["teacher-mean", "expected"]


@pytest.fixture
def task():
    return TabularTeacher(seed=11)


@pytest.fixture
def student(task):
    return task.random(12)


def by_hand(**changes):
    """Two tokens: q = 5, 3; v = 6, 4 (largest); pi expects 2 of q, the teacher 4, in both."""
    mask_BT, logp_BT = torch.ones(1, 2), torch.tensor([[-1.0, -2.0]], requires_grad=True)
    batch = Batch(
        ids=("a",),
        prompt_BS=mask_BT,
        prompt_mask_BS=mask_BT,
        tokens_BT=torch.tensor([[1, 0]]),
        mask_BT=mask_BT,
        source="student",
        behaviour_logp_BT=logp_BT.detach() - torch.tensor([[3.0, 0.5]]).log(),
        group_B=torch.zeros(1),
    )
    teacher = TeacherSignal(
        taken_BT=torch.tensor([[5.0, 3.0]]),
        best_BT=torch.tensor([[6.0, 4.0]]),
        expected_BT=torch.tensor([[4.0, 4.0]]),
        mean_BT=torch.zeros(1, 2),
        lse_BT=torch.tensor([[7.0, 6.0]]),
        student_expected_BT=torch.tensor([[2.0, 2.0]]),
    )
    pupil = StudentSignal(logits_BTV=torch.zeros(1, 2, 4), logp_taken_BT=logp_BT)
    loss = Ketchup(**{**PLAIN, "k": 1, **changes})(
        Inputs(batch=batch, student=pupil, teacher=teacher)
    )
    (gradient_BT,) = torch.autograd.grad(loss.loss_BT.sum(), logp_BT)
    return pytest.approx((-gradient_BT)[0].tolist()), loss.metrics


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, [4.0, 3.0]),
        ({"k": 2}, [5.0, 3.0]),
        ({"k": 2, "ending": "released"}, [4.0, 3.0]),
        ({"form": "adv"}, [-2.0, -1.0]),
        ({"value": "softmax"}, [4.0, 3.0]),
        ({"value": "lse"}, [2.0, 3.0]),
        ({"value": "lse", "form": "adv"}, [-5.0, -3.0]),
        ({"baseline": "batch"}, [0.5, -0.5]),
        ({"baseline": "leave-one-out"}, [4.0, 3.0]),
        ({"baseline": "expected"}, [2.0, 1.0]),
        ({"baseline": "expected", "form": "adv"}, [2.0, 1.0]),
        ({"baseline": "teacher-mean"}, [0.0, -1.0]),
        ({"baseline": "teacher-mean", "form": "adv"}, [0.0, -1.0]),
        ({"scale": 2.0}, [2.0, 1.5]),
        ({"normalise": "rms"}, [4 / 12.5**0.5, 3 / 12.5**0.5]),
        ({"clip": 3.5, "clip_stage": "return", "baseline": "expected"}, [1.5, 1.0]),
        ({"clip": 1.5, "clip_stage": "advantage", "baseline": "expected"}, [1.5, 1.0]),
        ({"clip": 1.5, "clip_stage": "advantage", "scale": 2.0}, [1.5, 1.5]),
        ({"importance": "step"}, [12.0, 1.5]),
        ({"clip": 3.5, "clip_stage": "advantage", "importance": "step"}, [10.5, 1.5]),
        ({"clip": 3.5, "clip_stage": "product", "importance": "step"}, [3.5, 1.5]),
    ],
    ids=str,
)
def test_the_weights_of_two_tokens_worked_by_hand(changes, weights):
    assert by_hand(**changes)[0] == weights


def test_the_metrics_of_two_tokens_worked_by_hand():
    _, metrics = by_hand(baseline="expected", importance="step", scale=10.0)

    assert metrics["reward"].tolist() == [[1.0, 3.0]]
    assert metrics["return"].tolist() == [-2.0]
    assert metrics["k_step_advantage"].tolist() == [[-2.0, -1.0]]
    assert metrics["advantage"].tolist() == [[2.0, 1.0]]
    assert metrics["ratio"].tolist() == [pytest.approx([3.0, 0.5])]
    assert metrics["entropy"].tolist() == [pytest.approx([1.386294, 1.386294])]


@pytest.mark.parametrize("k", KS)
def test_the_expected_gradient_is_that_of_the_returns(task, student, k):
    objective = Ketchup(**PLAIN, k=k)
    q_NT, v_NT = task.taken(task.logits_SV), task.of_state(task.logits_SV.amax(-1))

    returns_NT = F.k_step_returns(q_NT, v_NT, task.mask_NT, k=k)
    torch.testing.assert_close(
        expected_gradient(objective, task, student),
        -task.expected_gradient(student, returns_NT),
    )


@pytest.mark.parametrize("baseline", STATE_BASELINES)
@pytest.mark.parametrize("k", KS)
def test_a_baseline_of_the_state_leaves_the_expected_gradient(task, student, k, baseline):
    plain_SV = expected_gradient(Ketchup(**PLAIN, k=k), task, student)
    based = Ketchup(**{**PLAIN, "baseline": baseline}, k=k)

    torch.testing.assert_close(expected_gradient(based, task, student), plain_SV)


@pytest.mark.parametrize("value", ["max", "softmax", "lse"])
@pytest.mark.parametrize("k", KS)
def test_both_forms_have_the_same_expected_gradient(task, student, k, value):
    of_form = {
        form: expected_gradient(
            Ketchup(**{**PLAIN, "form": form, "value": value}, k=k), task, student
        )
        for form in ("q", "adv")
    }

    torch.testing.assert_close(of_form["q"], of_form["adv"])


@pytest.mark.parametrize("value", ["max", "softmax", "lse"])
def test_beyond_the_end_with_entropy_one_it_is_the_token_reverse_kl(task, student, value):
    objective = Ketchup(k=9, value=value, normalise="none", clip=0.0, entropy=1.0)
    visited_S = task.visits(student)

    def reverse_kl(policy_SV):
        return (visited_S * F.reverse_kl(task.logits_SV[None], policy_SV[None])[0]).sum()

    torch.testing.assert_close(
        expected_gradient(objective, task, student), task.gradient_of(reverse_kl, student)
    )


def test_by_default_the_weights_have_unit_size_and_a_limit():
    inputs = make_inputs()
    (gradient_BT,) = torch.autograd.grad(
        F.masked_sum(Ketchup()(inputs).loss_BT, inputs.batch.mask_BT), inputs.student.logp_taken_BT
    )

    assert gradient_BT.abs().max().item() <= 5.0
    mean_square = F.masked_mean(gradient_BT.square(), inputs.batch.mask_BT).item()
    assert mean_square == pytest.approx(1.0)


@pytest.mark.parametrize("coefficient", [0.1, 1.0])
def test_the_bonus_lowers_the_loss_by_the_entropy(coefficient):
    inputs = make_inputs()

    plain_BT = Ketchup()(inputs).loss_BT
    entropy_BT = F.entropy(inputs.student.logits_BTV)
    actual_BT = Ketchup(entropy=coefficient)(inputs).loss_BT
    torch.testing.assert_close(actual_BT, plain_BT - coefficient * entropy_BT)


def test_the_student_s_expectation_is_needed_for_its_baseline_only():
    needed = {b: Ketchup(baseline=b).needs.student_expected for b in ("expected", "batch")}

    assert needed == {"expected": True, "batch": False}


def test_only_the_student_s_completions_will_do():
    assert Ketchup().needs.prefixes == ("student",)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"baseline": "leave-one-out"}, "group_B"),
        ({"importance": "step"}, "behaviour_logp_BT"),
    ],
)
def test_a_signal_that_was_not_brought_is_named(changes, missing):
    inputs = make_inputs()
    bare = replace(inputs, batch=replace(inputs.batch, **{missing: None}))

    with pytest.raises(MismatchError, match=f"`{missing}`"):
        Ketchup(**changes)(bare)


def test_a_teacher_that_was_not_brought_is_named():
    with pytest.raises(MismatchError, match="`teacher`"):
        Ketchup()(replace(make_inputs(), teacher=None))


def climbed(objective, task, student, *, steps):
    """Return the student after following the exact expected gradient."""
    student = student.clone().requires_grad_()
    optimizer = torch.optim.Adam([student], lr=0.2)
    for _ in range(steps):
        student.grad = expected_gradient(objective, task, student)
        optimizer.step()
    return student.detach()


@pytest.mark.parametrize("k", [1, 4])
def test_with_the_largest_logit_as_value_the_student_becomes_greedy(task, student, k):
    chosen = climbed(Ketchup(**PLAIN, k=k), task, student, steps=300)

    total_N = F.induced_rewards(
        task.taken(task.logits_SV), task.of_state(task.logits_SV.amax(-1)), task.mask_NT
    ).sum(1)
    best = task.probabilities(chosen)[total_N.argmax()]
    assert best.item() > 0.95


def test_beyond_the_end_with_entropy_one_the_student_becomes_the_teacher(task, student):
    objective = Ketchup(k=9, normalise="none", clip=0.0, entropy=1.0)

    learned = climbed(objective, task, student, steps=300)

    apart_S = F.kl(task.logits_SV[None], learned[None])[0]
    assert (task.visits(task.logits_SV) * apart_S).sum().item() < 1e-2
