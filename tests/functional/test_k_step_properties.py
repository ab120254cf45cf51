"""What must hold of K-step returns on every completion of a small task."""

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


def test_the_completions_of_the_task_are_all_there_are(task):
    assert len(task.completions) == 1 + 2 + 4 + 8 * 3
    assert_close(task.probabilities(student_of(task)).sum(), torch.tensor(1.0, dtype=torch.float64))


def test_one_step_returns_are_sums_of_induced_rewards(task):
    rewards_NT = F.induced_rewards(*values(task))

    assert_close(returns(task, 1), F.discounted_returns(rewards_NT, task.mask_NT))


@every_k
def test_a_return_is_its_own_q_and_the_advantages_of_every_kth_step(task, k):
    q_NT, _, mask_NT = values(task)

    strided_NT = sum(later(task, i * k) for i in range(1, STEPS))
    assert_close(returns(task, k), (q_NT + strided_NT) * mask_NT)


@every_k
def test_a_return_less_the_value_of_its_state_is_never_positive(task, k):
    _, v_NT, mask_NT = values(task)

    assert at_most(returns(task, k) - v_NT * mask_NT, torch.zeros_like(v_NT))


@every_k
def test_the_bias_is_the_sum_of_the_advantages_skipped(task, k):
    skipped = [later(task, j) for j in range(1, STEPS) if j % k]
    skipped_NT = sum(skipped, torch.zeros_like(advantages(task))) * task.mask_NT

    assert_close(returns(task, 1) - returns(task, k), skipped_NT)


@every_k
def test_a_k_step_return_is_never_below_the_one_step_return(task, k):
    assert at_most(returns(task, 1), returns(task, k))


@beyond_the_end
def test_beyond_the_end_a_return_is_its_own_q(task, k):
    q_NT, _, mask_NT = values(task)

    assert_close(returns(task, k), q_NT * mask_NT)


@pytest.mark.parametrize(("k", "multiple"), [(1, 2), (1, 3), (2, 4), (3, 9)])
def test_a_return_grows_from_k_to_its_multiples(task, k, multiple):
    assert at_most(returns(task, k), returns(task, multiple))


@every_k
def test_an_offset_of_every_state_moves_a_return_by_that_of_its_own(task, k):
    offset_S = 5 * task.random(200)[:, 0]

    moved_NT = returns(task, k, offset_S=offset_S) - returns(task, k)
    assert_close(moved_NT, task.of_state(offset_S) * task.mask_NT)


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
    assert_close(total_N.max(), task.logits_SV[0].max())


def test_the_reward_of_a_completion_is_its_first_q_and_the_later_advantages(task):
    q_NT, _, _ = values(task)

    total_N = F.induced_rewards(*values(task)).sum(1)
    assert_close(total_N, q_NT[:, 0] + advantages(task)[:, 1:].sum(1))


def test_with_log_sum_exp_as_value_a_completion_earns_its_log_probability(task):
    lse_S = task.logits_SV.logsumexp(-1)
    rewards_NT = F.induced_rewards(task.taken(task.logits_SV), task.of_state(lse_S), task.mask_NT)

    assert_close(rewards_NT.sum(1), task.probabilities(task.logits_SV).log() + lse_S[0])


@every_k
def test_returns_scale_with_the_teacher_s_logits(task, k):
    q_NT, v_NT, mask_NT = values(task)

    assert_close(F.k_step_returns(3 * q_NT, 3 * v_NT, mask_NT, k=k), 3 * returns(task, k))


@every_k
def test_on_the_teacher_s_greedy_completion_returns_are_values(task, k):
    greedy = greedy_completion(task)
    _, v_NT, mask_NT = values(task)

    assert_close(returns(task, k)[greedy], (v_NT * mask_NT)[greedy])


@pytest.mark.parametrize("ending", ["paper", "released"])
@every_k
def test_seven_more_paddings_do_not_change_the_returns(task, k, ending):
    longer = [torch.nn.functional.pad(x_NT, (0, 7), value=0) for x_NT in values(task)]
    q_NT, v_NT, mask_NT = longer
    junk_NT = torch.where(mask_NT.bool(), 0.0, 1e4)

    long_NT = F.k_step_returns(q_NT + junk_NT, v_NT - junk_NT, mask_NT, k=k, ending=ending)

    assert_close(long_NT[:, :STEPS], returns(task, k, ending=ending))
    assert long_NT[:, STEPS:].abs().max().item() == 0.0


@every_k
def test_a_completion_s_returns_do_not_depend_on_its_batch(task, k):
    generator = torch.Generator().manual_seed(0)
    order_N = torch.randperm(len(task.completions), generator=generator)[:9]

    few_NT = F.k_step_returns(*(x_NT[order_N] for x_NT in values(task)), k=k)

    assert_close(few_NT, returns(task, k)[order_N])


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
    assert_close(returns(task, k, ending="released"), slow_NT * mask_NT)


def test_both_endings_agree_for_one_step(task):
    assert_close(returns(task, 1, ending="released"), returns(task, 1))


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
