from dataclasses import dataclass, replace

import pytest
import torch
from enumerated import expected_gradient, gradients, gradients_at, inputs_of, trace
from objective_inputs import make_inputs, random_logits
from tabular import TabularTeacher, assert_close, student_of

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.objectives.ketchup import Ketchup
from ketchup_cli.objectives.minillm import MiniLlm
from ketchup_cli.signals import Needs, TokenLoss

EXACT = {"lengths": "summed"}
TASKS = [TabularTeacher(seed=seed) for seed in range(20)]


@pytest.fixture(params=(0, 1, 2), ids=lambda seed: f"seed{seed}")
def task(request):
    return TabularTeacher(seed=request.param)


def sequence_kl(task):
    """Return KL(pi || p) over whole completions, as a function of the student's table."""
    teacher_N = task.log_probs(task.logits_SV).sum(1)

    def divergence(policy_SV):
        student_N = task.log_probs(policy_SV).sum(1)
        return (student_N.exp() * (student_N - teacher_N)).sum()

    return divergence


def test_both_parts_make_the_gradient_of_the_sequence_s_reverse_kl(task):
    found_SV = expected_gradient(MiniLlm(**EXACT), task, student_of(task))

    assert_close(found_SV, task.gradient_of(sequence_kl(task), student_of(task)))


def test_the_single_step_part_is_the_gradient_of_the_reverse_kl_of_every_step(task):
    student_SV = student_of(task)
    visited_S = task.visits(student_SV)

    def reverse_kl(policy_SV):
        return (visited_S * F.reverse_kl(task.logits_SV[None], policy_SV[None])[0]).sum()

    found_SV = expected_gradient(MiniLlm(part="single"), task, student_SV)
    assert_close(found_SV, task.gradient_of(reverse_kl, student_SV))


def test_the_single_step_part_is_exact_ketchup_beyond_the_end_with_entropy_one(task):
    settings = {"normalise": "none", "clip": 0.0, "entropy": 1.0, "immediate": "exact"}
    single, ketchup = MiniLlm(part="single"), Ketchup(k=9, **settings)

    assert_close(
        gradients(single, task, student_of(task)), gradients(ketchup, task, student_of(task))
    )


def test_soft_one_step_returns_and_the_text_s_entropy_make_the_same_gradient(task):
    student_SV = student_of(task)
    soft_NT = task.of_state(task.logits_SV.logsumexp(-1))
    returns_NT = F.k_step_returns(task.taken(task.logits_SV), soft_NT, task.mask_NT, k=1)

    def entropy(policy_SV):
        student_N = task.log_probs(policy_SV).sum(1)
        return -(student_N.exp() * student_N).sum()

    climbed_SV = task.expected_gradient(student_SV, returns_NT)
    climbed_SV = climbed_SV + task.gradient_of(entropy, student_SV)
    assert_close(expected_gradient(MiniLlm(**EXACT), task, student_SV), -climbed_SV)


@dataclass(frozen=True, kw_only=True)
class Reinforce:
    """The same divergence with nothing exact: every reward from the step on is a weight."""

    needs = Needs(prefixes=("student",), teacher="stats")

    def __call__(self, inputs):
        teacher, logp_BT = inputs.teacher, inputs.student.logp_taken_BT
        reward_BT = (teacher.taken_BT - teacher.lse_BT - logp_BT).detach()
        weight_BT = F.discounted_returns(reward_BT, inputs.batch.mask_BT)
        return TokenLoss(loss_BT=F.policy_gradient(logp_BT, weight_BT), metrics={})


def test_plain_reinforce_has_the_same_expected_gradient(task):
    assert_close(
        expected_gradient(Reinforce(), task, student_of(task)),
        expected_gradient(MiniLlm(**EXACT), task, student_of(task)),
    )


def test_the_exact_step_lowers_the_covariance_of_plain_reinforce_on_average():
    ratios = [
        trace(MiniLlm(**EXACT), task, student_of(task)) / trace(Reinforce(), task, student_of(task))
        for task in TASKS
    ]

    assert sum(ratios) / len(ratios) < 0.8


def test_what_is_expected_of_a_completion_is_minus_the_divergence(task):
    inputs = inputs_of(task, student_of(task), MiniLlm())
    return_N = MiniLlm()(inputs).metrics["return"]

    expected = task.probabilities(student_of(task)) @ return_N
    assert_close(expected, -sequence_kl(task)(student_of(task)))


@pytest.mark.parametrize("part", ["both", "single", "long"])
def test_a_student_like_its_teacher_has_neither_loss_nor_gradient(part):
    objective = MiniLlm(part=part)
    logits_BTV = random_logits(2)
    inputs = make_inputs(teacher_BTV=logits_BTV, student_BTV=logits_BTV, needs=objective.needs)
    # a mixture of two equal distributions is that distribution
    behaviour_BT = inputs.student.logp_taken_BT.detach()
    inputs = replace(inputs, batch=replace(inputs.batch, behaviour_logp_BT=behaviour_BT))
    mask_BT = inputs.batch.mask_BT

    assert_close(
        F.zero_padding(objective(inputs).loss_BT, mask_BT), torch.zeros(mask_BT.shape).double()
    )
    assert_close(gradients_at(inputs, objective), torch.zeros_like(logits_BTV))


def test_what_follows_does_not_count_the_step_itself():
    inputs = make_inputs(needs=MiniLlm().needs)
    reward_BT = MiniLlm()(inputs).metrics["reward"]
    future_BT = MiniLlm()(inputs).metrics["future"]

    assert inputs.batch.mask_BT.sum(dim=1).tolist() == [5, 3, 1, 4]
    assert future_BT[0, 1].item() == pytest.approx(reward_BT[0, 2:5].mean().item())
    assert future_BT[0, 3].item() == pytest.approx(reward_BT[0, 4].item())
    assert [future_BT[b, n - 1].item() for b, n in enumerate([5, 3, 1, 4])] == [0.0] * 4


def test_summed_lengths_leave_what_follows_undivided():
    inputs = make_inputs(needs=MiniLlm().needs)
    metrics = MiniLlm(lengths="summed", discount=0.5)(inputs).metrics
    reward_BT = metrics["reward"]

    wanted = reward_BT[0, 2] + 0.5 * reward_BT[0, 3] + 0.25 * reward_BT[0, 4]
    assert metrics["future"][0, 1].item() == pytest.approx(wanted.item())


def test_the_long_part_is_ppo_s_surrogate():
    inputs = make_inputs(needs=MiniLlm().needs)
    behaviour_BT = inputs.batch.behaviour_logp_BT
    loss = MiniLlm(part="long", epsilon=0.3)(inputs)

    wanted_BT = F.clipped_surrogate(
        inputs.student.logp_taken_BT, behaviour_BT, loss.metrics["future"], epsilon=0.3
    )
    torch.testing.assert_close(loss.loss_BT, wanted_BT)


@pytest.mark.parametrize(("single", "weight"), [("weighted", 1.0), ("plain", 0.0)])
def test_the_single_step_part_is_weighted_by_the_ratio_or_not(single, weight):
    inputs = make_inputs(needs=MiniLlm().needs)
    found_BT = MiniLlm(part="single", single=single)(inputs).loss_BT
    ratio_BT = F.importance_ratio(inputs.student.logp_taken_BT, inputs.batch.behaviour_logp_BT)
    kl_BT = F.reverse_kl(random_logits(1), inputs.student.logits_BTV)

    wanted_BT = F.zero_padding(kl_BT * ratio_BT**weight, inputs.batch.mask_BT)
    torch.testing.assert_close(F.zero_padding(found_BT, inputs.batch.mask_BT), wanted_BT)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_on_the_first_token_samples_of_a_mixture_give_the_student_s_gradient(share):
    task = TabularTeacher(vocabulary=5, steps=1, seed=4)
    student_SV = student_of(task)
    teacher_N, student_N = (task.probabilities(x) for x in (task.logits_SV, student_SV))
    mixed_N = share * teacher_N + (1 - share) * student_N
    inputs = inputs_of(task, student_SV, MiniLlm())
    batch = replace(inputs.batch, behaviour_logp_BT=mixed_N.log()[:, None])

    found_NTV = gradients_at(replace(inputs, batch=batch), MiniLlm(part="single"))
    found_V = torch.einsum("n,nv->v", mixed_N, found_NTV[:, 0])
    assert_close(found_V, task.gradient_of(sequence_kl(task), student_SV)[0])


@pytest.mark.parametrize(
    ("part", "detail"), [("both", "dense"), ("single", "dense"), ("long", "stats")]
)
def test_only_the_single_step_part_needs_all_logits(part, detail):
    assert MiniLlm(part=part).needs.teacher == detail


def test_a_behaviour_that_was_not_brought_is_named():
    inputs = make_inputs(needs=MiniLlm().needs)
    bare = replace(inputs, batch=replace(inputs.batch, behaviour_logp_BT=None))

    with pytest.raises(MismatchError, match="`behaviour_logp_BT`"):
        MiniLlm()(bare)


@pytest.mark.parametrize("field", ["discount", "epsilon"])
def test_a_number_outside_its_range_is_refused(field):
    with pytest.raises(SpecError, match=f"`{field}` is 1.5"):
        MiniLlm(**{field: 1.5})


def test_whitening_shifts_and_scales_what_follows_and_nothing_else():
    plain, whitened = MiniLlm(part="long"), MiniLlm(part="long", returns="whitened")
    inputs = make_inputs(needs=MiniLlm().needs)
    batch, logp_BT = inputs.batch, inputs.student.logp_taken_BT

    loss = whitened(inputs)

    future_BT = plain(inputs).metrics["future"]
    expected_BT = F.clipped_surrogate(
        logp_BT, batch.behaviour_logp_BT, F.whiten(future_BT, batch.mask_BT), epsilon=0.2
    )
    real_BT = batch.mask_BT.bool()
    torch.testing.assert_close(loss.loss_BT[real_BT], expected_BT[real_BT])
    torch.testing.assert_close(loss.metrics["future"], future_BT)
    assert not torch.allclose(loss.loss_BT[real_BT], plain(inputs).loss_BT[real_BT])


def test_whitening_leaves_the_single_step_part_alone():
    inputs = make_inputs(needs=MiniLlm().needs)

    one, other = (
        MiniLlm(part="single", returns=returns)(inputs).loss_BT for returns in ("plain", "whitened")
    )

    assert torch.equal(one, other)
