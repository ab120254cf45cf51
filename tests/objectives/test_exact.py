"""KETCHUP with what a token itself earns summed over all tokens, not sampled."""

import pytest
import torch
from enumerated import (
    expected_gradient,
    expected_gradient_of_pairs,
    gradients,
    gradients_at,
    inputs_of,
    trace,
)
from objective_inputs import make_inputs
from tabular import TabularTeacher, assert_close, student_of

from ketchup_cli import functional as F
from ketchup_cli.objectives.ketchup import Ketchup
from ketchup_cli.objectives.llmr import Llmr

PLAIN = {"value": "max", "form": "q", "baseline": "none", "normalise": "none", "clip": 0.0}
KS = (1, 2, 3, 4, 9)
BEYOND = 9
VALUES = ("max", "softmax", "lse")
TASKS = [TabularTeacher(seed=seed) for seed in range(20)]
every_k = pytest.mark.parametrize("k", KS)


def both(**changes):
    """Return the sampled and the exact form of the same settings."""
    settings = {**PLAIN, **changes}
    return tuple(Ketchup(**settings, immediate=name) for name in ("sampled", "exact"))


@pytest.fixture(params=(0, 1), ids=lambda seed: f"seed{seed}")
def task(request):
    return TabularTeacher(seed=request.param)


@every_k
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("ending", ["paper", "released"])
def test_the_expected_gradient_is_that_of_the_sampled_form(task, k, value, ending):
    sampled, exact = both(k=k, value=value, ending=ending)

    assert_close(
        expected_gradient(exact, task, student_of(task)),
        expected_gradient(sampled, task, student_of(task)),
    )


@pytest.mark.parametrize("baseline", ["expected", "teacher-mean"])
@pytest.mark.parametrize("form", ["q", "adv"])
def test_what_the_sampled_form_takes_off_q_changes_nothing(task, form, baseline):
    _, plain = both(k=2)
    _, other = both(k=2, form=form, baseline=baseline)

    assert_close(gradients(other, task, student_of(task)), gradients(plain, task, student_of(task)))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("baseline", ["step", "leave-one-out"])
@pytest.mark.parametrize("immediate", ["sampled", "exact"])
def test_a_baseline_of_other_samples_leaves_the_expected_gradient(immediate, baseline, k):
    task = TabularTeacher(vocabulary=2, steps=3, seed=5)
    settings = {**PLAIN, "k": k, "immediate": immediate}
    based = Ketchup(**{**settings, "baseline": baseline})

    assert_close(
        expected_gradient_of_pairs(based, task, student_of(task)),
        expected_gradient(Ketchup(**settings), task, student_of(task)),
    )


def test_an_offset_of_every_state_leaves_every_gradient(task):
    _, exact = both(k=2)
    moved = TabularTeacher(seed=task.seed)
    moved.logits_SV = task.logits_SV + 7 * task.random(200)[:, :1]

    assert_close(
        gradients(exact, moved, student_of(task)), gradients(exact, task, student_of(task))
    )


@every_k
@pytest.mark.parametrize("baseline", ["none", "expected"])
def test_the_covariance_is_smaller_on_average(k, baseline):
    sampled, exact = both(k=k, baseline=baseline)
    ratios = [trace(exact, t, student_of(t)) / trace(sampled, t, student_of(t)) for t in TASKS]

    assert sum(ratios) / len(ratios) < 0.95


@pytest.mark.parametrize("value", VALUES)
@every_k
def test_the_covariance_is_smaller_than_that_of_plain_advantages_on_every_task(k, value):
    sampled, exact = both(k=k, value=value, form="adv")

    assert all(trace(exact, t, student_of(t)) < trace(sampled, t, student_of(t)) for t in TASKS)


@pytest.mark.parametrize("baseline", ["none", "expected"])
def test_beyond_the_end_the_covariance_is_smaller_on_every_task(baseline):
    sampled, exact = both(k=BEYOND, baseline=baseline)

    assert all(trace(exact, t, student_of(t)) < trace(sampled, t, student_of(t)) for t in TASKS)


def test_beyond_the_end_a_state_s_gradient_does_not_depend_on_the_token_drawn(task):
    _, exact = both(k=BEYOND)
    found_NTV = gradients_at(inputs_of(task, student_of(task), exact), exact)
    real_NT = task.mask_NT.bool()

    of_state_SV = torch.zeros_like(task.logits_SV)
    of_state_SV[task.state_NT[real_NT]] = found_NTV[real_NT]
    assert of_state_SV.abs().sum() > 0
    assert_close(found_NTV[real_NT], of_state_SV[task.state_NT[real_NT]])


def test_beyond_the_end_with_entropy_one_each_gradient_is_that_of_the_reverse_kl(task):
    student_SV = student_of(task)
    exact = Ketchup(**PLAIN, k=BEYOND, immediate="exact", entropy=1.0)
    found_SV = expected_gradient(exact, task, student_SV)
    visited_S = task.visits(student_SV)

    def reverse_kl(policy_SV):
        return (visited_S * F.reverse_kl(task.logits_SV[None], policy_SV[None])[0]).sum()

    assert_close(found_SV, task.gradient_of(reverse_kl, student_SV))


@pytest.mark.parametrize("changes", [{}, {"normalise": "none"}, {"clip_stage": "product"}], ids=str)
def test_llmr_is_one_step_in_the_exact_form_too(changes):
    one, other = Llmr(immediate="exact", **changes), Ketchup(k=1, immediate="exact", **changes)
    inputs = make_inputs(needs=one.needs)

    torch.testing.assert_close(one(inputs).loss_BT, other(inputs).loss_BT)


def test_weights_of_unit_size_have_the_size_of_the_sampled_form_s():
    sampled, exact = (Ketchup(immediate=name, clip=0.0) for name in ("sampled", "exact"))
    ours = exact(make_inputs(needs=exact.needs)).metrics["advantage"]
    theirs = sampled(make_inputs(needs=sampled.needs)).metrics["advantage"]

    torch.testing.assert_close(ours, theirs)


def test_a_scale_divides_both_parts():
    whole, tenth = (
        Ketchup(immediate="exact", normalise="none", clip=0.0, scale=s) for s in (1.0, 10.0)
    )
    inputs = make_inputs(needs=whole.needs)

    torch.testing.assert_close(tenth(inputs).loss_BT, whole(inputs).loss_BT / 10)


def test_a_clip_holds_the_future_and_not_the_token_s_own_part():
    task = TabularTeacher(seed=3)
    held = Ketchup(**{**PLAIN, "clip": 1e-9}, k=1, immediate="exact")
    beyond = Ketchup(**PLAIN, k=BEYOND, immediate="exact")

    assert_close(
        gradients(held, task, student_of(task)), gradients(beyond, task, student_of(task)), 1e-8
    )


def test_all_logits_are_asked_for_and_nothing_else_is():
    needs = Ketchup(immediate="exact").needs

    assert (needs.teacher, needs.student_expected) == ("dense", False)
