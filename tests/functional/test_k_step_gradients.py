"""What must hold of K-step returns in expectation over all completions."""

import pytest
import torch
from tabular import TabularTeacher, assert_close, returns, student_of, values

from ketchup_cli import functional as F

STEPS = 4
KS = (1, 2, 3, 4, 9)
SEEDS = (0, 1, 2)
every_k = pytest.mark.parametrize("k", KS)
beyond_the_end = pytest.mark.parametrize("k", [STEPS, STEPS + 1, 50])


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed{seed}")
def task(request):
    return TabularTeacher(vocabulary=3, steps=STEPS, seed=request.param)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_with_independent_steps_the_variance_falls_as_the_theorem_says(k):
    steps = 5
    task = TabularTeacher(vocabulary=3, steps=steps, ends=False)
    of_token_V = torch.tensor([0.3, -1.1, 2.0], dtype=torch.float64)
    policy_V = torch.tensor([0.2, -0.4, 0.9], dtype=torch.float64)
    q_NT = task.taken(of_token_V.expand(len(task.states), 3))
    weight_N = task.probabilities(policy_V.expand(len(task.states), 3))

    returns_NT = F.k_step_returns(q_NT, q_NT.max().expand_as(q_NT), task.mask_NT, k=k)

    probability_V = policy_V.softmax(-1)
    mean = (probability_V * of_token_V).sum()
    one_step = (probability_V * (of_token_V - mean).square()).sum()
    first_N = returns_NT[:, 0]
    variance = (weight_N * (first_N - (weight_N * first_N).sum()).square()).sum()
    assert_close(variance, ((steps - 1) // k + 1) * one_step)


def test_the_one_step_policy_gradient_is_the_gradient_of_the_expected_reward(task):
    student_SV = student_of(task)
    total_N = F.induced_rewards(*values(task)).sum(1)

    def objective(policy_SV):
        return (task.probabilities(policy_SV) * total_N).sum().item()

    h = 1e-5
    differences_SV = torch.zeros_like(student_SV)
    for s, v in torch.cartesian_prod(torch.arange(len(task.states)), torch.arange(3)).tolist():
        step_SV = torch.zeros_like(student_SV)
        step_SV[s, v] = h
        ahead, behind = objective(student_SV + step_SV), objective(student_SV - step_SV)
        differences_SV[s, v] = (ahead - behind) / (2 * h)
    # central differences of step 1e-5 are exact to about its square
    assert_close(
        task.expected_gradient(student_SV, returns(task, 1)), differences_SV, tolerance=1e-8
    )


@every_k
def test_an_offset_of_every_state_leaves_the_expected_gradient(task, k):
    offset_S = 5 * task.random(200)[:, 0]
    plain_SV = task.expected_gradient(student_of(task), returns(task, k))
    moved_SV = task.expected_gradient(student_of(task), returns(task, k, offset_S=offset_S))

    assert_close(moved_SV, plain_SV)


def expected_q(task, policy_SV):
    """Return the sum over states, by how often they are visited, of E_pi[q]."""
    visited_S = task.visits(policy_SV).detach()
    return (visited_S * (policy_SV.softmax(-1) * task.logits_SV).sum(-1)).sum()


@beyond_the_end
def test_beyond_the_end_each_state_s_expected_q_is_climbed(task, k):
    student_SV = student_of(task)

    climbed_SV = task.gradient_of(lambda policy_SV: expected_q(task, policy_SV), student_SV)
    assert_close(task.expected_gradient(student_SV, returns(task, k)), climbed_SV)


@beyond_the_end
def test_beyond_the_end_with_entropy_the_token_reverse_kl_is_descended(task, k):
    student_SV = student_of(task)
    visited_S = task.visits(student_SV)

    def reverse_kl(policy_SV):
        return (visited_S * F.reverse_kl(task.logits_SV[None], policy_SV[None])[0]).sum()

    def entropy(policy_SV):
        return (visited_S * F.entropy(policy_SV[None])[0]).sum()

    climbed_SV = task.expected_gradient(student_SV, returns(task, k))
    climbed_SV = climbed_SV + task.gradient_of(entropy, student_SV)
    assert_close(climbed_SV, -task.gradient_of(reverse_kl, student_SV))


@every_k
def test_a_baseline_of_the_state_leaves_the_expected_gradient(task, k):
    baseline_NT = task.of_state(7 * task.random(300)[:, 0])

    plain_SV = task.expected_gradient(student_of(task), returns(task, k))
    based_SV = task.expected_gradient(student_of(task), returns(task, k) - baseline_NT)
    assert_close(based_SV, plain_SV)


@every_k
def test_the_student_s_expected_q_leaves_the_expected_gradient(task, k):
    student_SV = student_of(task)
    baseline_S = F.expectation(task.logits_SV, student_SV)

    plain_SV = task.expected_gradient(student_SV, returns(task, k))
    weight_NT = returns(task, k) - task.of_state(baseline_S)
    assert_close(task.expected_gradient(student_SV, weight_NT), plain_SV)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_mean_of_other_samples_leaves_the_expected_gradient(k):
    task = TabularTeacher(vocabulary=2, steps=2, seed=5)
    student_SV = student_of(task)
    count = len(task.completions)
    first, second = torch.cartesian_prod(torch.arange(count), torch.arange(count)).unbind(1)
    pair_P2 = torch.stack([first, second], dim=1)
    weight_NT = returns(task, k)
    flat_XT = weight_NT[pair_P2.flatten()]
    mask_XT = task.mask_NT[pair_P2.flatten()]
    group_X = torch.arange(count * count).repeat_interleave(2)

    baseline_XT = F.leave_one_out(flat_XT, mask_XT, group_X)

    chance_N = task.probabilities(student_SV)
    chance_P = chance_N[first] * chance_N[second]
    score_NSV = scores(task, student_SV)
    based_P2T = (flat_XT - baseline_XT).view(-1, 2, task.steps)
    pairs_SV = torch.einsum("p,pjt,pjtsv->sv", chance_P / 2, based_P2T, score_NSV[pair_P2])
    assert_close(pairs_SV, task.expected_gradient(student_SV, weight_NT))


def scores(task, student_SV):
    """Return the gradient of every token's log-probability, [N, T, S, V]."""
    jacobian = torch.autograd.functional.jacobian(task.log_probs, student_SV)
    assert isinstance(jacobian, torch.Tensor)
    return jacobian


def test_the_best_baseline_of_a_bandit_weighs_q_by_squared_scores():
    task = TabularTeacher(vocabulary=4, steps=1, seed=6)
    policy_V = student_of(task)[0].softmax(-1)
    score_NV = scores(task, student_of(task))[:, 0, 0]
    q_N = F.k_step_returns(*values(task), k=1)[:, 0]

    def trace(baseline):
        gradient_NV = (q_N - baseline)[:, None] * score_NV
        mean_V = policy_V @ gradient_NV
        return float(policy_V @ gradient_NV.square().sum(1) - mean_V.square().sum())

    weight_N = policy_V * (1 - 2 * policy_V + policy_V.square().sum())
    best = float((weight_N * q_N).sum() / weight_N.sum())
    grid = [best + 0.05 * i for i in range(-60, 61)]
    assert min(grid, key=trace) == pytest.approx(best)
