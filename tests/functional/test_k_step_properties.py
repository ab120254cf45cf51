"""What must hold of K-step returns, by enumeration of every completion of a small task."""

import pytest
import torch
from tabular import TabularTeacher

from ketchup_cli import functional as F

STEPS = 4
KS = (1, 2, 3, 4, 9)
SEEDS = (0, 1, 2)
every_k = pytest.mark.parametrize("k", KS)
beyond_the_end = pytest.mark.parametrize("k", [STEPS, STEPS + 1, 50])


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed{seed}")
def task(request):
    return TabularTeacher(vocabulary=3, steps=STEPS, seed=request.param)


def student_of(task):
    return task.random(100 + task.seed)


def values(task, offset_S=None):
    """Return q, v and mask along every completion, with an offset a state if one is given."""
    table_SV = task.logits_SV if offset_S is None else task.logits_SV + offset_S[:, None]
    return task.taken(table_SV), task.of_state(table_SV.amax(-1)), task.mask_NT


def returns(task, k, *, ending="paper", offset_S=None):
    return F.k_step_returns(*values(task, offset_S), k=k, ending=ending)


def advantages(task):
    """Return A_t = q_t - max q_t, 0 on padding."""
    q_NT, v_NT, mask_NT = values(task)
    return (q_NT - v_NT) * mask_NT


def later(task, distance):
    """Return A_{t+distance}, 0 past the end."""
    ahead_NT = torch.zeros_like(advantages(task))
    if distance < STEPS:
        ahead_NT[:, : STEPS - distance] = advantages(task)[:, distance:]
    return ahead_NT


def at_most(below_NT, above_NT):
    return bool((below_NT <= above_NT + 1e-10).all())


def close(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def test_the_completions_of_the_task_are_all_there_are(task):
    assert len(task.completions) == 1 + 2 + 4 + 8 * 3
    close(task.probabilities(student_of(task)).sum(), torch.tensor(1.0, dtype=torch.float64))


# T1
def test_one_step_returns_are_sums_of_induced_rewards(task):
    rewards_NT = F.induced_rewards(*values(task))

    close(returns(task, 1), F.discounted_returns(rewards_NT, task.mask_NT))


# T2
@every_k
def test_a_return_is_its_own_q_and_the_advantages_of_every_kth_step(task, k):
    q_NT, _, mask_NT = values(task)

    strided_NT = sum(later(task, i * k) for i in range(1, STEPS))
    close(returns(task, k), (q_NT + strided_NT) * mask_NT)


@every_k
def test_a_return_less_the_value_of_its_state_is_never_positive(task, k):
    _, v_NT, mask_NT = values(task)

    assert at_most(returns(task, k) - v_NT * mask_NT, torch.zeros_like(v_NT))


# T3
@every_k
def test_the_bias_is_the_sum_of_the_advantages_skipped(task, k):
    skipped = [later(task, j) for j in range(1, STEPS) if j % k]
    skipped_NT = sum(skipped, torch.zeros_like(advantages(task))) * task.mask_NT

    close(returns(task, 1) - returns(task, k), skipped_NT)


@every_k
def test_a_k_step_return_is_never_below_the_one_step_return(task, k):
    assert at_most(returns(task, 1), returns(task, k))


# T4
@beyond_the_end
def test_beyond_the_end_a_return_is_its_own_q(task, k):
    q_NT, _, mask_NT = values(task)

    close(returns(task, k), q_NT * mask_NT)


@pytest.mark.parametrize(("k", "multiple"), [(1, 2), (1, 3), (2, 4), (3, 9)])
def test_a_return_grows_from_k_to_its_multiples(task, k, multiple):
    assert at_most(returns(task, k), returns(task, multiple))


# T5
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
    close(variance, ((steps - 1) // k + 1) * one_step)


# T6
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
    close(task.expected_gradient(student_SV, returns(task, 1)), differences_SV, tolerance=1e-8)


# T7
@every_k
def test_an_offset_of_every_state_leaves_the_expected_gradient(task, k):
    offset_S = 5 * task.random(200)[:, 0]
    plain_SV = task.expected_gradient(student_of(task), returns(task, k))
    moved_SV = task.expected_gradient(student_of(task), returns(task, k, offset_S=offset_S))

    close(moved_SV, plain_SV)


@every_k
def test_an_offset_of_every_state_moves_a_return_by_that_of_its_own(task, k):
    offset_S = 5 * task.random(200)[:, 0]

    moved_NT = returns(task, k, offset_S=offset_S) - returns(task, k)
    close(moved_NT, task.of_state(offset_S) * task.mask_NT)


# T8
def greedy_completion(task):
    best = {state: int(task.logits_SV[i].argmax()) for i, state in enumerate(task.states)}
    follows = [
        all(best[tokens[:t]] == tokens[t] for t in range(len(tokens)))
        for tokens in task.completions
    ]
    return follows.index(True)


def test_no_completion_earns_more_than_the_teacher_s_greedy_one(task):
    total_N = F.induced_rewards(*values(task)).sum(1)

    assert int(total_N.argmax()) == greedy_completion(task)
    close(total_N.max(), task.logits_SV[0].max())


def test_the_reward_of_a_completion_is_its_first_q_and_the_later_advantages(task):
    q_NT, _, _ = values(task)

    total_N = F.induced_rewards(*values(task)).sum(1)
    close(total_N, q_NT[:, 0] + advantages(task)[:, 1:].sum(1))


def test_with_log_sum_exp_as_value_a_completion_earns_its_log_probability(task):
    lse_S = task.logits_SV.logsumexp(-1)
    rewards_NT = F.induced_rewards(task.taken(task.logits_SV), task.of_state(lse_S), task.mask_NT)

    close(rewards_NT.sum(1), task.probabilities(task.logits_SV).log() + lse_S[0])


# T9
def expected_q(task, policy_SV):
    """Return the sum over states, by how often they are visited, of E_pi[q]."""
    visited_S = task.visits(policy_SV).detach()
    return (visited_S * (policy_SV.softmax(-1) * task.logits_SV).sum(-1)).sum()


@beyond_the_end
def test_beyond_the_end_each_state_s_expected_q_is_climbed(task, k):
    student_SV = student_of(task)

    climbed_SV = task.gradient_of(lambda policy_SV: expected_q(task, policy_SV), student_SV)
    close(task.expected_gradient(student_SV, returns(task, k)), climbed_SV)


# T10
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
    close(climbed_SV, -task.gradient_of(reverse_kl, student_SV))


# T11
@every_k
def test_returns_scale_with_the_teacher_s_logits(task, k):
    q_NT, v_NT, mask_NT = values(task)

    close(F.k_step_returns(3 * q_NT, 3 * v_NT, mask_NT, k=k), 3 * returns(task, k))


# T12
@every_k
def test_on_the_teacher_s_greedy_completion_returns_are_values(task, k):
    greedy = greedy_completion(task)
    _, v_NT, mask_NT = values(task)

    close(returns(task, k)[greedy], (v_NT * mask_NT)[greedy])


# T13
@pytest.mark.parametrize("ending", ["paper", "released"])
@every_k
def test_seven_more_paddings_do_not_change_the_returns(task, k, ending):
    longer = [torch.nn.functional.pad(x_NT, (0, 7), value=0) for x_NT in values(task)]
    q_NT, v_NT, mask_NT = longer
    junk_NT = torch.where(mask_NT.bool(), 0.0, 1e4)

    long_NT = F.k_step_returns(q_NT + junk_NT, v_NT - junk_NT, mask_NT, k=k, ending=ending)

    close(long_NT[:, :STEPS], returns(task, k, ending=ending))
    assert long_NT[:, STEPS:].abs().max().item() == 0.0


@every_k
def test_a_completion_s_returns_do_not_depend_on_its_batch(task, k):
    generator = torch.Generator().manual_seed(0)
    order_N = torch.randperm(len(task.completions), generator=generator)[:9]

    few_NT = F.k_step_returns(*(x_NT[order_N] for x_NT in values(task)), k=k)

    close(few_NT, returns(task, k)[order_N])


# T14
@every_k
def test_a_baseline_of_the_state_leaves_the_expected_gradient(task, k):
    baseline_NT = task.of_state(7 * task.random(300)[:, 0])

    plain_SV = task.expected_gradient(student_of(task), returns(task, k))
    based_SV = task.expected_gradient(student_of(task), returns(task, k) - baseline_NT)
    close(based_SV, plain_SV)


@every_k
def test_the_student_s_expected_q_leaves_the_expected_gradient(task, k):
    student_SV = student_of(task)
    baseline_S = F.expectation(task.logits_SV, student_SV)

    plain_SV = task.expected_gradient(student_SV, returns(task, k))
    weight_NT = returns(task, k) - task.of_state(baseline_S)
    close(task.expected_gradient(student_SV, weight_NT), plain_SV)


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
    close(pairs_SV, task.expected_gradient(student_SV, weight_NT))


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


# T15
@every_k
def test_the_released_ending_adds_the_last_advantage_to_every_stride(task, k):
    q_NT, _, mask_NT = values(task)
    a_NT = advantages(task)

    slow_NT = torch.zeros_like(q_NT)
    for n, tokens in enumerate(task.completions):
        last = len(tokens) - 1
        for t in range(last):
            inner = sum(float(a_NT[n, j]) for j in range(t + k, last, k))
            slow_NT[n, t] = q_NT[n, t] + inner + a_NT[n, last]
        slow_NT[n, last] = q_NT[n, last]
    close(returns(task, k, ending="released"), slow_NT * mask_NT)


def test_both_endings_agree_for_one_step(task):
    close(returns(task, 1, ending="released"), returns(task, 1))


@every_k
def test_both_endings_agree_where_a_stride_ends_on_the_last_token(task, k):
    left_NT = task.mask_NT.sum(1, keepdim=True) - 1 - torch.arange(STEPS)
    whole_NT = (left_NT >= 0) & (left_NT % k == 0)

    difference_NT = returns(task, k, ending="released") - returns(task, k)
    assert difference_NT[whole_NT].abs().max().item() == 0.0


@every_k
def test_the_released_ending_lies_between_one_step_and_the_paper_s(task, k):
    released_NT = returns(task, k, ending="released")

    assert at_most(returns(task, 1), released_NT)
    assert at_most(released_NT, returns(task, k))
