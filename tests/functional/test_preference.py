import math
import re

import pytest
import torch
from tabular import TabularTeacher, student_of

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.signals import HeldLogits, TopEntries

GROUP_B = torch.tensor([7, 3, 7, 3])
CHOSEN_B = torch.tensor([1, 0, 0, 1])
MASK_BT = torch.tensor([[1, 1, 1], [1, 0, 0]])


def numbers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def entries(logits_BTV, m):
    flat_NV = logits_BTV.flatten(0, 1)
    lse_NK = flat_NV.logsumexp(-1, keepdim=True)
    kept = F.top_entries(flat_NV, m=m, lse_NK=lse_NK, temperatures=(1.0,))
    ids, gaps, tail = (x.unflatten(0, logits_BTV.shape[:2]) for x in kept)
    return TopEntries(ids_BTM=ids, gaps_BTM=gaps, tail_BT=tail[..., 0])


def rows(logits_BTV):
    return HeldLogits(logits_BTV[MASK_BT.bool()])


def slow_margin(p_V, q_V):
    a, b = int(p_V.argmax()), int(q_V.argmax())
    p_V, q_V = p_V.log_softmax(-1), q_V.log_softmax(-1)
    return float(q_V[a] - q_V[b] - (p_V[a] - p_V[b]))


# the loss of a margin


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 0.5])
def test_the_loss_is_the_log_sigmoid_of_the_margin(smoothing):
    for margin in (-3.0, 0.0, 0.4, 12.0):
        right, wrong = (1 / (1 + math.exp(-sign * 0.7 * margin)) for sign in (1, -1))
        slow = -(1 - smoothing) * math.log(right) - smoothing * math.log(wrong)
        loss = F.preference_loss(
            torch.tensor(margin, dtype=torch.float64), beta=0.7, label_smoothing=smoothing
        )

        assert loss.item() == pytest.approx(slow)


def test_without_a_margin_or_without_weight_the_loss_is_log_two():
    margin = numbers(5)

    for loss in (F.preference_loss(0 * margin, beta=2.0), F.preference_loss(margin, beta=1e-12)):
        torch.testing.assert_close(loss, torch.full_like(margin, math.log(2)))


def test_half_of_label_smoothing_prefers_neither_side():
    margin = numbers(5)

    one, other = (F.preference_loss(x, beta=1.0, label_smoothing=0.5) for x in (margin, -margin))
    torch.testing.assert_close(one, other)


def test_the_gradient_is_beta_times_the_share_still_taken_for_wrong():
    margin = numbers(5).requires_grad_()

    (slope,) = torch.autograd.grad(F.preference_loss(margin, beta=0.7).sum(), margin)
    torch.testing.assert_close(slope, -0.7 * torch.sigmoid(-0.7 * margin))


def test_a_margin_beyond_all_bounds_gives_finite_loss_and_gradient():
    margin = torch.tensor([-1e30, 1e30], requires_grad=True)

    loss = F.preference_loss(margin, beta=1.0)
    loss.sum().backward()

    assert loss.isfinite().all()
    assert margin.grad.isfinite().all()


# texts and pairs


def test_a_text_is_the_sum_or_the_mean_of_its_tokens():
    x_BT = torch.tensor([[1.0, 2.0, 6.0], [5.0, torch.nan, torch.nan]])

    assert F.per_text(x_BT, MASK_BT).tolist() == [9.0, 5.0]
    assert F.per_text(x_BT, MASK_BT, length="mean").tolist() == [3.0, 5.0]


def test_a_text_without_tokens_is_nothing():
    x_BT = torch.ones(1, 3)

    assert F.per_text(x_BT, torch.zeros(1, 3), length="mean").tolist() == [0.0]


def test_both_rows_of_a_pair_are_given_both_values():
    chosen_B, rejected_B = F.by_pair(torch.tensor([1.0, 2.0, 3.0, 4.0]), GROUP_B, CHOSEN_B)

    assert chosen_B.tolist() == [1.0, 4.0, 1.0, 4.0]
    assert rejected_B.tolist() == [3.0, 2.0, 3.0, 2.0]


def test_a_gradient_reaches_both_rows_of_a_pair():
    value_B = numbers(4).requires_grad_()

    chosen_B, rejected_B = F.by_pair(value_B, GROUP_B, CHOSEN_B)
    (slope_B,) = torch.autograd.grad((chosen_B - rejected_B).sum(), value_B)

    assert slope_B.tolist() == [2.0, -2.0, -2.0, 2.0]


@pytest.mark.parametrize(
    ("group", "chosen"),
    [([7, 3, 7, 3], [1, 0, 1, 0]), ([7, 7, 7, 3], [1, 0, 0, 1]), ([7, 7, 7, 7], [1, 0, 0, 1])],
    ids=["both chosen", "one alone", "two pairs in one"],
)
def test_groups_that_are_no_pairs_are_refused(group, chosen):
    with pytest.raises(ShapeError, match="one chosen and one rejected"):
        F.by_pair(numbers(4), torch.tensor(group), torch.tensor(chosen))


# preferences between texts, all of them enumerated


def pair_loss(task, policy_SV, one, other, beta=0.5):
    """The loss of preferring completion `one` to completion `other`, both as row numbers."""
    ratio_NT = task.log_probs(policy_SV) - task.log_probs(task.logits_SV)
    ratio_N = F.per_text(ratio_NT, task.mask_NT)
    return F.preference_loss(ratio_N[one] - ratio_N[other], beta=beta)


def test_a_student_like_its_teacher_has_loss_log_two_on_every_pair():
    task = TabularTeacher()

    for one, other in ((0, 1), (3, 8), (5, 2)):
        loss = pair_loss(task, task.logits_SV, one, other)
        assert loss.item() == pytest.approx(math.log(2))


def test_a_student_like_its_teacher_still_moves_on_a_single_pair():
    task = TabularTeacher()
    actual_SV = task.gradient_of(lambda table: pair_loss(task, table, 0, 5), task.logits_SV)
    plain_SV = task.gradient_of(
        lambda table: task.log_probs(table)[0].sum() - task.log_probs(table)[5].sum(),
        task.logits_SV,
    )

    torch.testing.assert_close(actual_SV, -0.25 * plain_SV)
    assert actual_SV.abs().max() > 1e-3


def test_a_student_like_its_teacher_does_not_move_in_expectation():
    task = TabularTeacher()
    mass_N = task.probabilities(task.logits_SV)

    def expected_loss(table_SV):
        ratio_N = (task.log_probs(table_SV) - task.log_probs(task.logits_SV)).sum(1)
        loss_NN = F.preference_loss(ratio_N[:, None] - ratio_N, beta=0.5)
        return (mass_N[:, None] * mass_N * loss_NN).sum()

    gradient_SV = task.gradient_of(expected_loss, task.logits_SV)
    assert gradient_SV.abs().max() < 1e-12


def test_what_all_answers_to_a_prompt_share_does_not_matter():
    task = TabularTeacher()
    ratio_N = (task.log_probs(student_of(task)) - task.log_probs(task.logits_SV)).sum(1)[:4]

    def margin(ratio_B):
        chosen_B, rejected_B = F.by_pair(ratio_B, GROUP_B, CHOSEN_B)
        return chosen_B - rejected_B

    torch.testing.assert_close(margin(ratio_N + 11.0), margin(ratio_N))


# preferences between tokens


def test_a_token_margin_compares_the_two_likeliest_tokens():
    p_BTV, q_BTV = numbers(2, 3, 6), numbers(2, 3, 6, seed=1)
    margin_BT, chosen_BT, rejected_BT = F.token_margins(rows(p_BTV), q_BTV, MASK_BT)

    for b, t in MASK_BT.nonzero().tolist():
        assert margin_BT[b, t].item() == pytest.approx(slow_margin(p_BTV[b, t], q_BTV[b, t]))
        assert chosen_BT[b, t] == p_BTV[b, t].argmax()
        assert rejected_BT[b, t] == q_BTV[b, t].argmax()
    assert not margin_BT[~MASK_BT.bool()].any()


def test_a_token_margin_is_never_above_zero():
    p_BTV, q_BTV = numbers(2, 3, 6), numbers(2, 3, 6, seed=1)

    assert (F.token_margins(rows(p_BTV), q_BTV, MASK_BT)[0] <= 0).all()


def test_where_both_name_one_token_there_is_neither_margin_nor_gradient():
    p_BTV = numbers(2, 3, 6)
    q_BTV = (0.5 * p_BTV).requires_grad_()

    margin_BT, _, _ = F.token_margins(rows(p_BTV), q_BTV, MASK_BT)
    F.preference_loss(margin_BT, beta=1.0).sum().backward()

    assert not margin_BT.any()
    assert not q_BTV.grad.any()


def test_entries_of_the_whole_vocabulary_give_the_margins_of_all_logits():
    p_BTV, q_BTV = numbers(2, 3, 6), numbers(2, 3, 6, seed=1)

    dense = F.token_margins(rows(p_BTV), q_BTV, MASK_BT)
    kept = F.token_margins(entries(p_BTV, 6), q_BTV, MASK_BT)
    real = MASK_BT.bool()
    for one, other in zip(kept, dense, strict=True):
        torch.testing.assert_close(one[real], other[real])


@pytest.mark.parametrize("m", [1, 2, 4])
def test_a_token_that_is_not_kept_counts_as_the_least_of_those_kept(m):
    p_BTV, q_BTV = numbers(2, 3, 6), numbers(2, 3, 6, seed=1)

    dense_BT, _, _ = F.token_margins(rows(p_BTV), q_BTV, MASK_BT)
    kept_BT, _, rejected_BT = F.token_margins(entries(p_BTV, m), q_BTV, MASK_BT)
    held_BT = (entries(p_BTV, m).ids_BTM == rejected_BT[..., None]).any(-1) & MASK_BT.bool()
    torch.testing.assert_close(kept_BT[held_BT], dense_BT[held_BT])
    least_BT = entries(p_BTV, m).gaps_BTM[..., -1]
    gap_BT = q_BTV.gather(-1, entries(p_BTV, m).ids_BTM[..., :1].long())[..., 0] - q_BTV.amax(-1)
    missed_BT = ~held_BT & MASK_BT.bool()
    torch.testing.assert_close(kept_BT[missed_BT], (gap_BT - least_BT)[missed_BT])
    assert (kept_BT.abs() <= dense_BT.abs() + 1e-12).all()


def test_rows_of_another_batch_are_refused():
    p_BTV = numbers(2, 3, 6)

    with pytest.raises(ShapeError, match=re.escape("3 rows of teacher logits for 4 real")):
        F.token_margins(HeldLogits(rows(p_BTV).logits_NV[1:]), p_BTV, MASK_BT)
