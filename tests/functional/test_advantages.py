import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

MASK_BT = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]])
GROUP_B = torch.tensor([5, 5, 2, 5, 2])


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    w_BT = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return torch.where(MASK_BT.bool(), w_BT, torch.nan)


def test_the_batch_mean_is_over_real_tokens():
    w_BT = weights()
    cells = zip(w_BT.flatten(), MASK_BT.flatten(), strict=True)
    real = [w for w, mask in cells if mask]

    expected_BT = torch.where(MASK_BT.bool(), sum(real) / len(real), 0.0)
    torch.testing.assert_close(F.batch_mean(w_BT, MASK_BT), expected_BT)


def test_weights_less_their_batch_mean_have_mean_zero():
    w_BT = weights()

    left = F.masked_mean(w_BT - F.batch_mean(w_BT, MASK_BT), MASK_BT)

    assert left.item() == pytest.approx(0.0, abs=1e-12)


def slow_leave_one_out(w_BT):
    rows = []
    for i in range(5):
        row = []
        for t in range(3):
            others = [
                j for j in range(5) if j != i and GROUP_B[j] == GROUP_B[i] and MASK_BT[j].any()
            ]
            total = sum(float(w_BT[j, t]) for j in others if MASK_BT[j, t])
            row.append(total / len(others) if others and MASK_BT[i, t] else 0.0)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def test_leave_one_out_is_the_mean_of_the_prompt_s_other_samples():
    w_BT = weights()

    torch.testing.assert_close(F.leave_one_out(w_BT, MASK_BT, GROUP_B), slow_leave_one_out(w_BT))


def test_leave_one_out_of_samples_worked_by_hand():
    w_BT = torch.tensor([[6.0, 3.0], [2.0, 9.0], [4.0, 0.0]])
    mask_BT = torch.tensor([[1, 1], [1, 1], [1, 0]])

    baseline_BT = F.leave_one_out(w_BT, mask_BT, torch.zeros(3))

    assert baseline_BT.tolist() == [[3.0, 4.5], [5.0, 1.5], [4.0, 0.0]]


def test_a_sample_without_tokens_does_not_count_among_the_others():
    w_BT = torch.tensor([[6.0], [2.0], [torch.nan]])

    baseline_BT = F.leave_one_out(w_BT, torch.tensor([[1], [1], [0]]), torch.zeros(3))

    assert baseline_BT.tolist() == [[2.0], [6.0], [0.0]]


def test_a_prompt_s_only_sample_has_no_baseline():
    baseline_BT = F.leave_one_out(weights(), MASK_BT, GROUP_B)

    assert baseline_BT[2].tolist() == [0.0, 0.0, 0.0]


def test_a_sample_is_not_part_of_its_own_baseline():
    w_BT = weights()
    changed_BT = w_BT.clone()
    changed_BT[0] += 100

    before_T = F.leave_one_out(w_BT, MASK_BT, GROUP_B)[0]
    after_T = F.leave_one_out(changed_BT, MASK_BT, GROUP_B)[0]

    torch.testing.assert_close(after_T, before_T)


def test_groups_of_another_size_than_the_batch_are_refused():
    with pytest.raises(ShapeError, match="`group_B` has 4 along B"):
        F.leave_one_out(weights(), MASK_BT, GROUP_B[:4])


def test_normalised_weights_have_root_mean_square_one():
    w_BT = F.rms_normalise(weights(), MASK_BT)

    assert F.masked_mean(w_BT.square(), MASK_BT).item() == pytest.approx(1.0)


def test_normalising_keeps_proportions():
    w_BT = F.rms_normalise(torch.tensor([[3.0, 4.0]]), torch.ones(1, 2))

    assert w_BT.tolist() == [pytest.approx([3 / math.sqrt(12.5), 4 / math.sqrt(12.5)])]


def test_weights_of_zero_stay_zero_when_normalised():
    assert F.rms_normalise(torch.zeros(1, 2), torch.ones(1, 2)).tolist() == [[0.0, 0.0]]


def test_a_clip_limits_both_signs():
    assert F.clip(torch.tensor([[-7.0, 2.0, 9.0]]), 5.0).tolist() == [[-5.0, 2.0, 5.0]]


def test_a_clip_of_zero_is_none():
    assert F.clip(torch.tensor([[-7.0, 9.0]]), 0.0).tolist() == [[-7.0, 9.0]]


def slow_step_mean(w_BT):
    rows = []
    for i in range(5):
        row = []
        for t in range(3):
            others = [float(w_BT[j, t]) for j in range(5) if j != i and MASK_BT[j, t]]
            row.append(sum(others) / len(others) if others and MASK_BT[i, t] else 0.0)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def test_the_step_mean_is_over_the_others_that_are_still_going():
    w_BT = weights()

    torch.testing.assert_close(F.step_mean(w_BT, MASK_BT), slow_step_mean(w_BT))


def test_the_step_mean_of_completions_worked_by_hand():
    w_BT = torch.tensor([[6.0, 3.0], [2.0, 9.0], [4.0, 77.0]])
    mask_BT = torch.tensor([[1, 1], [1, 1], [1, 0]])

    assert F.step_mean(w_BT, mask_BT).tolist() == [[3.0, 9.0], [5.0, 3.0], [4.0, 0.0]]


def test_the_longest_completion_has_no_step_mean_where_it_is_alone():
    w_BT = torch.tensor([[6.0, 3.0], [2.0, 5.0]])

    mean_BT = F.step_mean(w_BT, torch.tensor([[1, 1], [1, 0]]))

    assert mean_BT.tolist() == [[2.0, 0.0], [6.0, 0.0]]


def pair(vocabulary=6):
    generator = torch.Generator().manual_seed(4)
    shape = (2, 2, 3, vocabulary)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).unbind()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_likeliest_terms_are_those_of_the_student_s_largest_probabilities(k):
    p_BTV, q_BTV = pair()
    p, q = p_BTV.softmax(-1).flatten(0, 1).tolist(), q_BTV.softmax(-1).flatten(0, 1).tolist()
    slow = [
        sum(b * math.log(b / a) for b, a in sorted(zip(qs, ps, strict=True))[-k:])
        for ps, qs in zip(p, q, strict=True)
    ]

    found_BT = F.likeliest_reverse_kl(p_BTV, q_BTV, k=k)
    assert found_BT.flatten().tolist() == pytest.approx(slow)


@pytest.mark.parametrize("k", [6, 100])
def test_all_tokens_are_the_whole_reverse_kl(k):
    p_BTV, q_BTV = pair()

    found_BT = F.likeliest_reverse_kl(p_BTV, q_BTV, k=k)
    torch.testing.assert_close(found_BT, F.reverse_kl(p_BTV, q_BTV))


def test_whitened_weights_are_those_of_a_slow_loop():
    w_BT = weights()
    cells = zip(w_BT.flatten().tolist(), MASK_BT.flatten().tolist(), strict=True)
    real = [w for w, mask in cells if mask]
    mean = sum(real) / len(real)
    deviation = math.sqrt(sum((w - mean) ** 2 for w in real) / len(real) + 1e-8)

    expected_BT = torch.where(MASK_BT.bool(), (w_BT - mean) / deviation, 0.0)
    torch.testing.assert_close(F.whiten(w_BT, MASK_BT), expected_BT)


def test_weights_of_one_and_three_are_whitened_to_minus_one_and_one():
    w_BT, mask_BT = torch.tensor([[1.0, 3.0, 77.0]]), torch.tensor([[1, 1, 0]])

    assert F.whiten(w_BT, mask_BT)[0].tolist() == pytest.approx([-1.0, 1.0, 0.0])


def test_weights_that_are_all_alike_are_whitened_to_nothing():
    assert F.whiten(torch.full((2, 3), 4.0), torch.ones(2, 3)).abs().max() == 0
