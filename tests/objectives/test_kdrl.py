"""KDRL: its table of gradients on whole completions, masks, schedule, and what it becomes without parts."""

from dataclasses import replace

import pytest
import torch
from enumerated import expected_gradient
from objective_inputs import make_inputs, random_logits
from tabular import TabularTeacher, assert_close, student_of

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import SpecError

TASK = TabularTeacher(seed=4)
STUDENT_SV = student_of(TASK)


def made(**fields):
    return objectives.build({"name": "kdrl", **fields})[0].objective


def seen_by(objective, **changes):
    batch_changes = {
        name: torch.tensor(changes.pop(name), dtype=torch.float64)
        for name in ("reward_B", "correct_B")
        if name in changes
    }
    update = changes.pop("update", 0)
    inputs = make_inputs(needs=objective.needs, **changes)
    return replace(inputs, batch=replace(inputs.batch, **batch_changes), update=update)


def loss_of(objective, **changes):
    inputs = seen_by(objective, **changes)
    return F.zero_padding(objective(inputs).loss_BT, inputs.batch.mask_BT)


def slope_of(objective, **changes):
    inputs = seen_by(objective, **changes)
    loss = F.zero_padding(objective(inputs).loss_BT, inputs.batch.mask_BT).sum()
    return torch.autograd.grad(loss, inputs.student.logits_BTV)[0]


def stepwise(forward):
    """Return the gradient of the divergence of every visited state, visits held still: [S, V]."""
    visits_S = TASK.visits(STUDENT_SV)

    def total(policy_SV):
        q_SV, p_SV = policy_SV.log_softmax(-1), TASK.logits_SV.log_softmax(-1)
        one, other = (p_SV, q_SV) if forward else (q_SV, p_SV)
        return (visits_S * (one.exp() * (one - other)).sum(-1)).sum()

    return TASK.gradient_of(total, STUDENT_SV)


# the pull of each estimate, on samples of the student


@pytest.mark.parametrize("estimator", ["k2", "k3-ratio", "exact", "reward"])
def test_an_estimate_pulls_like_the_reverse_divergence_of_every_step(estimator):
    kd = made(mixer="kd", estimator=estimator, clip=0.0 if estimator != "k3-ratio" else 100.0)

    assert_close(expected_gradient(kd, TASK, STUDENT_SV), stepwise(forward=False), 1e-9)


def test_k3_pulls_like_the_forward_divergence_of_every_step():
    kd = made(mixer="kd", estimator="k3", clip=100.0)

    assert_close(expected_gradient(kd, TASK, STUDENT_SV), stepwise(forward=True), 1e-9)


@pytest.mark.parametrize("estimator", ["k2", "k3", "k3-ratio", "exact"])
def test_a_teacher_like_the_student_adds_nothing(estimator):
    logits_BTV = random_logits(2)
    like = {"teacher_BTV": logits_BTV, "student_BTV": logits_BTV}
    both, alone = made(estimator=estimator, coefficient=0.5), made(mixer="grpo")

    # the estimate of a token is the difference of two sums in another order
    assert_close(loss_of(both, **like), loss_of(alone, **like), 1e-12)
    assert_close(slope_of(both, **like), slope_of(alone, **like), 1e-12)


def test_one_token_the_teacher_likes_better_becomes_likelier():
    student_BTV = torch.zeros_like(random_logits(2))
    objective = made(mixer="kd")
    inputs = seen_by(objective, student_BTV=student_BTV)
    token = inputs.batch.tokens_BT[0, 0]
    teacher_BTV = student_BTV.clone()
    teacher_BTV[0, 0, token] = 2.0

    slope_BTV = slope_of(objective, student_BTV=student_BTV, teacher_BTV=teacher_BTV)

    assert slope_BTV[0, 0, token].item() < 0


# what is left without one of the parts


def test_without_a_coefficient_it_is_grpo_to_the_last_bit():
    both, alone = made(coefficient=0.0), made(mixer="grpo")

    assert torch.equal(loss_of(both), loss_of(alone))
    assert torch.equal(slope_of(both), slope_of(alone))


@pytest.mark.parametrize("fields", [{"mixer": "grpo"}, {"coefficient": 0.0}], ids=str)
def test_equal_rewards_and_no_teacher_teach_nothing(fields):
    slope_BTV = slope_of(made(**fields), reward_B=[0.3, 0.3, 0.7, 0.7])

    assert not slope_BTV.any()


def test_grpo_needs_no_teacher_and_kd_no_reward():
    assert not made(mixer="grpo").needs.any_teacher
    assert not made(mixer="kd").needs.reward
    assert made().needs.reward


# masks


@pytest.mark.parametrize("mask", ["response", "group"])
def test_where_all_are_right_a_masked_teacher_adds_exactly_nothing(mask):
    right = {"correct_B": [1.0, 1.0, 1.0, 1.0]}

    masked_BT = loss_of(made(mask=mask, coefficient=0.5), **right)

    assert torch.equal(masked_BT, loss_of(made(mixer="grpo"), **right))


def taught(mask):
    objective = made(mask=mask)
    return objective(seen_by(objective)).metrics["taught"].bool()


def test_whom_a_group_s_mask_leaves_a_response_s_leaves_too():
    # row 0 is right, row 1 wrong beside it, rows 2 and 3 are wrong together
    assert taught("none").tolist() == [True, True, True, True]
    assert taught("response").tolist() == [False, True, True, True]
    assert taught("group").tolist() == [False, False, True, True]


def test_hdpo_is_kdrl_with_the_mask_of_the_group():
    assert torch.equal(
        loss_of(made(mixer="hdpo", coefficient=0.5)),
        loss_of(made(mask="group", coefficient=0.5)),
    )


# mixers over time


def test_the_teacher_leaves_when_its_updates_are_over():
    objective = made(mixer="opd-then-rl", switch=3)

    assert torch.equal(loss_of(objective, update=2), loss_of(made(mixer="kd")))
    assert torch.equal(loss_of(objective, update=3), loss_of(made(mixer="grpo")))


def test_the_coefficient_falls_with_the_updates_alone():
    objective = made()

    found = [objective.coefficient_at(update) for update in range(0, 401, 20)]

    assert found == sorted(found, reverse=True)
    assert found[0] == 5e-3
    assert found[-1] == pytest.approx(1e-3)


def test_rlsd_without_a_share_is_grpo():
    assert torch.equal(loss_of(made(mixer="rlsd", share=0.0)), loss_of(made(mixer="grpo")))


# figures


def test_the_divergence_is_told_as_it_is_whatever_the_estimate():
    exact, k2 = made(estimator="exact"), made()
    found = [objective(seen_by(objective)).metrics["reverse_kl"] for objective in (exact, k2)]
    mask_BT = seen_by(k2).batch.mask_BT

    assert_close(F.zero_padding(found[1], mask_BT), F.zero_padding(found[0], mask_BT), 1e-9)


def test_tokens_beyond_the_clip_are_counted():
    objective = made(clip=0.5)
    metrics = objective(seen_by(objective)).metrics

    assert torch.equal(metrics["clipped"].bool(), metrics["teacher_reward"].abs() > 0.5)


@pytest.mark.parametrize("field", ["coefficient", "decay", "clip", "switch", "epsilon_high"])
def test_a_field_out_of_range_is_refused(field):
    with pytest.raises(SpecError, match=f"`{field}` is -1"):
        made(**{field: -1})
