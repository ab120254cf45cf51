from dataclasses import replace

import pytest
import torch
from enumerated import expected_gradient, gradients, gradients_at, inputs_of, trace
from objective_inputs import make_inputs, random_logits
from tabular import TabularTeacher, assert_close, student_of

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.objectives.ketchup import Ketchup
from ketchup_cli.objectives.vopd import Vopd

SUPPORTS = ("full", "top-k", "none")
TASKS = [TabularTeacher(seed=seed) for seed in range(20)]
WIDER_TASKS = [TabularTeacher(vocabulary=8, steps=2, seed=seed) for seed in range(10)]
every_support = pytest.mark.parametrize("support", SUPPORTS)


@pytest.fixture(params=(0, 1), ids=lambda seed: f"seed{seed}")
def task(request):
    return TabularTeacher(seed=request.param)


def token_reverse_kl_gradient(task, student_SV):
    """Return the gradient of the reverse KL of every state, as often as it is visited."""
    visited_S = task.visits(student_SV)

    def reverse_kl(policy_SV):
        return (visited_S * F.reverse_kl(task.logits_SV[None], policy_SV[None])[0]).sum()

    return task.gradient_of(reverse_kl, student_SV)


@every_support
@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_expected_gradient_is_that_of_the_reverse_kl_at_every_step(task, support, kept):
    objective = Vopd(support=support, kept=kept)

    found_SV = expected_gradient(objective, task, student_of(task))
    assert_close(found_SV, token_reverse_kl_gradient(task, student_of(task)))


def test_it_is_ketchup_beyond_the_end_with_entropy_one_in_expectation(task):
    settings = {"form": "q", "baseline": "none", "normalise": "none", "clip": 0.0}
    ketchup = Ketchup(**settings, k=9, entropy=1.0)

    assert_close(
        expected_gradient(Vopd(), task, student_of(task)),
        expected_gradient(ketchup, task, student_of(task)),
    )


def test_the_control_variate_lowers_the_covariance_on_average():
    ratios = [
        trace(Vopd(), task, student_of(task)) / trace(Vopd(support="none"), task, student_of(task))
        for task in WIDER_TASKS
    ]

    assert sum(ratios) / len(ratios) < 0.75


@pytest.mark.parametrize("task", WIDER_TASKS, ids=lambda task: f"seed{task.seed}")
def test_with_a_softened_teacher_as_student_it_lowers_the_covariance(task):
    softened_SV = 0.5 * task.logits_SV

    assert trace(Vopd(), task, softened_SV) < trace(Vopd(support="none"), task, softened_SV)


def mean_square_of_weights(objective, task):
    inputs = inputs_of(task, student_of(task), objective)
    weight_NT = F.zero_padding(objective(inputs).metrics["advantage"], task.mask_NT)
    return (task.probabilities(student_of(task)) @ weight_NT.square().sum(1)).item()


def test_it_lowers_the_mean_square_of_the_weights_on_every_task():
    assert all(
        mean_square_of_weights(Vopd(), task) < mean_square_of_weights(Vopd(support="none"), task)
        for task in TASKS
    )


def test_a_weight_is_the_log_ratio_less_its_expectation():
    task = TabularTeacher(vocabulary=4, steps=1, seed=2)
    student_SV = student_of(task)
    logp_V, logq_V = (x[0].log_softmax(-1) for x in (task.logits_SV, student_SV))
    weight_V = logp_V - logq_V - (logq_V.exp() * (logp_V - logq_V)).sum()

    inputs = inputs_of(task, student_SV, Vopd())
    found_NT = Vopd()(inputs).metrics["advantage"]
    assert_close(found_NT[:, 0], weight_V[task.tokens_NT[:, 0]])


@every_support
def test_a_student_like_its_teacher_has_no_gradient_at_all(support):
    objective = Vopd(support=support)
    logits_BTV = random_logits(2)
    inputs = make_inputs(teacher_BTV=logits_BTV, student_BTV=logits_BTV, needs=objective.needs)

    assert_close(gradients_at(inputs, objective), torch.zeros_like(logits_BTV))


def test_the_metric_is_the_reverse_kl_itself():
    student_BTV, teacher_BTV = random_logits(2), random_logits(1)
    inputs = make_inputs(teacher_BTV=teacher_BTV, student_BTV=student_BTV, needs=Vopd().needs)

    found_BT = Vopd()(inputs).metrics["reverse_kl"]
    assert_close(found_BT, F.reverse_kl(teacher_BTV, student_BTV))


def test_all_tokens_of_the_top_are_the_full_support(task):
    top = Vopd(support="top-k", kept=task.vocabulary)

    assert_close(gradients(top, task, student_of(task)), gradients(Vopd(), task, student_of(task)))


def test_no_later_token_changes_a_weight(task):
    inputs = inputs_of(task, student_of(task), Vopd())
    moved_BT = inputs.teacher.taken_BT.clone()
    moved_BT[:, 2:] -= 50
    moved = replace(inputs, teacher=replace(inputs.teacher, taken_BT=moved_BT))

    before, after = (Vopd()(given).metrics["advantage"] for given in (inputs, moved))
    assert torch.equal(after[:, :2], before[:, :2])
    assert not torch.equal(after[:, 2:], before[:, 2:])


def test_a_clip_limits_the_weights():
    inputs = make_inputs(needs=Vopd().needs)
    (gradient_BT,) = torch.autograd.grad(
        F.masked_sum(Vopd(clip=0.5)(inputs).loss_BT, inputs.batch.mask_BT),
        inputs.student.logp_taken_BT,
    )

    assert gradient_BT.abs().max().item() == pytest.approx(0.5)


def test_reused_completions_are_weighed_by_their_ratio():
    inputs = make_inputs(needs=Vopd().needs)
    once, again = Vopd()(inputs), Vopd(importance="step")(inputs)
    ratio_BT = F.importance_ratio(inputs.student.logp_taken_BT, inputs.batch.behaviour_logp_BT)

    torch.testing.assert_close(again.loss_BT, once.loss_BT * ratio_BT)


@pytest.mark.parametrize(
    ("support", "needed"),
    [("full", ("stats", True)), ("top-k", ("dense", False)), ("none", ("stats", False))],
)
def test_only_the_top_k_form_needs_all_logits(support, needed):
    needs = Vopd(support=support).needs

    assert (needs.teacher, needs.student_expected) == needed


def test_a_behaviour_that_was_not_brought_is_named():
    inputs = make_inputs(needs=Vopd().needs)
    bare = replace(inputs, batch=replace(inputs.batch, behaviour_logp_BT=None))

    with pytest.raises(MismatchError, match="`behaviour_logp_BT`"):
        Vopd(importance="step")(bare)


def test_a_top_of_no_tokens_is_refused():
    with pytest.raises(SpecError, match="`kept` is 0"):
        Vopd(support="top-k", kept=0)
