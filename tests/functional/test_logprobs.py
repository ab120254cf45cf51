import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError, ShapeError

TEMPERATURES = (1.0, 2.0)


def logits(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def softmax(row, temperature=1.0):
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def assert_close(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(
        actual, torch.tensor(expected, dtype=actual.dtype), atol=tolerance, rtol=tolerance
    )


def test_log_probs_are_those_of_the_tokens():
    logits_BTV, tokens_BT = logits(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])

    slow = [
        [math.log(softmax(logits_BTV[b, t].tolist())[tokens_BT[b, t]]) for t in range(3)]
        for b in range(2)
    ]
    assert_close(F.log_probs_of(logits_BTV, tokens_BT), slow)


def test_two_equal_logits_are_worth_half():
    logp_BT = F.log_probs_of(torch.zeros(1, 1, 2), torch.tensor([[1]]))

    assert logp_BT.item() == pytest.approx(-math.log(2))


def test_log_probs_of_half_precision_logits_are_float32():
    logp_BT = F.log_probs_of(torch.zeros(1, 1, 2).bfloat16(), torch.tensor([[1]]))

    assert logp_BT.dtype == torch.float32


def test_tokens_of_another_length_than_the_logits_are_refused():
    with pytest.raises(ShapeError, match="along T"):
        F.log_probs_of(torch.zeros(1, 2, 5), torch.zeros(1, 3, dtype=torch.long))


def test_the_mean_log_prob_is_over_the_vocabulary():
    logits_BTV, tokens_BT = logits(1, 2, 4), torch.tensor([[3, 0]])

    slow = [[sum(map(math.log, softmax(row.tolist()))) / 4 for row in logits_BTV[0]]]
    logp_BT = F.log_probs_of(logits_BTV, tokens_BT)
    assert_close(F.mean_log_prob(logits_BTV, tokens_BT, logp_BT), slow)


@pytest.mark.parametrize("steps", [3, 70, 200], ids=["one block", "two blocks", "many blocks"])
def test_the_entropy_does_not_depend_on_blocks_of_rows(steps):
    logits_BTV = logits(2, steps, 4)

    alone = [F.entropy(logits_BTV[:, t : t + 1]) for t in range(steps)]
    torch.testing.assert_close(F.entropy(logits_BTV), torch.cat(alone, dim=1))


def test_the_entropy_is_minus_the_expected_log_prob():
    logits_BTV = logits(2, 2, 4)

    slow = [
        [-sum(p * math.log(p) for p in softmax(row.tolist())) for row in rows]
        for rows in logits_BTV
    ]
    assert_close(F.entropy(logits_BTV), slow)


def test_the_entropy_of_eight_equal_tokens_is_the_log_of_eight():
    assert F.entropy(torch.zeros(1, 1, 8)).item() == pytest.approx(math.log(8))


def test_a_certain_token_has_no_entropy_and_a_finite_gradient():
    logits_BTV = torch.tensor([[[1e4, 0.0, -1e4]]], requires_grad=True)

    entropy_BT = F.entropy(logits_BTV)
    entropy_BT.sum().backward()

    assert entropy_BT.item() == 0.0
    assert logits_BTV.grad.tolist() == [[[0.0, 0.0, 0.0]]]


def test_statistics_are_those_of_a_slow_loop():
    logits_NV, tokens_N = logits(4, 6), torch.tensor([0, 5, 2, 2])

    stats = F.teacher_statistics(logits_NV, tokens_N, temperatures=TEMPERATURES)

    rows = logits_NV.tolist()
    assert_close(stats.taken_N, [row[a] for row, a in zip(rows, tokens_N, strict=True)])
    assert_close(stats.best_N, [max(row) for row in rows])
    assert_close(stats.mean_N, [sum(row) / 6 for row in rows])
    assert_close(
        stats.lse_NK,
        [[math.log(sum(math.exp(x / tau) for x in row)) for tau in TEMPERATURES] for row in rows],
    )
    assert_close(
        stats.expected_NK,
        [
            [
                sum(p * x for p, x in zip(softmax(row, tau), row, strict=True))
                for tau in TEMPERATURES
            ]
            for row in rows
        ],
    )


def test_taken_less_log_sum_exp_is_the_log_probability():
    logits_NV, tokens_N = logits(3, 6), torch.tensor([0, 5, 2])

    stats = F.teacher_statistics(logits_NV, tokens_N)

    expected_N = F.log_probs_of(logits_NV[None], tokens_N[None])[0]
    torch.testing.assert_close(stats.taken_N - stats.lse_NK[:, 0], expected_N)


def test_statistics_leave_the_logits_as_they_are():
    logits_NV = logits(3, 6)
    before_NV = logits_NV.clone()

    F.teacher_statistics(logits_NV, torch.tensor([0, 5, 2]), temperatures=TEMPERATURES)

    assert torch.equal(logits_NV, before_NV)


def test_an_offset_of_ten_thousand_moves_the_expectation_by_as_much():
    logits_NV, tokens_N = logits(3, 6).float(), torch.tensor([0, 5, 2])

    plain = F.teacher_statistics(logits_NV, tokens_N)
    moved = F.teacher_statistics(logits_NV + 1e4, tokens_N)

    # 1e-3 is a float32 step at 1e4
    torch.testing.assert_close(moved.expected_NK - 1e4, plain.expected_NK, atol=2e-3, rtol=0)


def test_an_impossible_token_does_not_spoil_the_expectation():
    logits_NV = torch.tensor([[0.0, 0.0, -torch.inf]])

    stats = F.teacher_statistics(logits_NV, torch.tensor([0]))

    assert stats.expected_NK.item() == 0.0


def test_statistics_of_half_precision_logits_are_float32():
    stats = F.teacher_statistics(logits(2, 6).bfloat16(), torch.tensor([0, 1]))

    assert {stats.taken_N.dtype, stats.lse_NK.dtype, stats.mean_N.dtype} == {torch.float32}


def top(logits_NV, m, temperatures=TEMPERATURES):
    tokens_N = torch.zeros(len(logits_NV), dtype=torch.long)
    lse_NK = F.teacher_statistics(logits_NV, tokens_N, temperatures=temperatures).lse_NK
    return F.top_entries(logits_NV, m=m, lse_NK=lse_NK, temperatures=temperatures)


@pytest.mark.parametrize(("vocabulary", "m"), [(7, 3), (1500, 4)], ids=["small", "large"])
def test_top_entries_are_those_of_a_sort(vocabulary, m):
    logits_NV = logits(5, vocabulary)

    ids_NM, gaps_NM, tail_NK = top(logits_NV, m)

    for n, row in enumerate(logits_NV.tolist()):
        ranked = sorted(range(vocabulary), key=lambda v, row=row: -row[v])
        assert ids_NM[n].tolist() == ranked[:m]
        assert_close(gaps_NM[n], [row[ranked[0]] - row[v] for v in ranked[:m]])
        likely = [softmax(row, tau) for tau in TEMPERATURES]
        tails = [sum(p[v] for v in ranked[m:]) for p in likely]
        assert_close(tail_NK[n], tails)


def test_ids_are_stored_in_four_bytes():
    assert top(logits(2, 7), 3)[0].dtype == torch.int32


def test_nothing_is_left_of_the_whole_vocabulary():
    assert top(logits(5, 7).float(), 7)[2].abs().max().item() == 0.0


@pytest.mark.parametrize("m", [0, 8])
def test_more_entries_than_tokens_are_refused(m):
    with pytest.raises(ShapeError, match=f"`m` is {m}; it must be 1 to 7"):
        top(logits(2, 7), m)


def test_a_log_sum_exp_for_each_temperature_is_required():
    with pytest.raises(ShapeError, match="2 along K where there are 1 temperatures"):
        F.top_entries(logits(2, 7), m=3, lse_NK=torch.zeros(2, 2))


def test_the_expectation_is_under_the_student():
    teacher_NV, student_NV = logits(3, 5), logits(3, 5, seed=1)

    slow = [
        sum(p * f for p, f in zip(softmax(s.tolist()), t.tolist(), strict=True))
        for t, s in zip(teacher_NV, student_NV, strict=True)
    ]
    assert_close(F.expectation(teacher_NV, student_NV), slow)


def test_a_student_equal_to_the_teacher_expects_what_the_teacher_does():
    logits_NV = logits(3, 5)

    expected_NK = F.teacher_statistics(logits_NV, torch.tensor([0, 1, 2])).expected_NK

    torch.testing.assert_close(F.expectation(logits_NV, logits_NV), expected_NK[:, 0])


def test_the_expectation_leaves_both_logits_as_they_are():
    teacher_NV, student_NV = logits(3, 5), logits(3, 5, seed=1)
    before = (teacher_NV.clone(), student_NV.clone())

    F.expectation(teacher_NV, student_NV)

    assert torch.equal(teacher_NV, before[0])
    assert torch.equal(student_NV, before[1])


def test_tokens_are_chosen_as_often_as_they_are_likely():
    probabilities = [0.1, 0.2, 0.0, 0.7]
    u_B = (torch.arange(1000) + 0.5) / 1000
    logits_BV = torch.tensor(probabilities).log().expand(1000, 4)

    chosen_B = F.choose_by_inverse_cdf(logits_BV, u_B)

    assert torch.bincount(chosen_B, minlength=4).tolist() == [100, 200, 0, 700]


@pytest.mark.parametrize("u", [0.0, 1.0], ids=["lowest", "highest"])
def test_an_impossible_token_is_never_chosen(u):
    logits_BV = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])

    assert F.choose_by_inverse_cdf(logits_BV, torch.tensor([u])).item() in {1, 2}


def test_a_choice_does_not_depend_on_the_rest_of_the_batch():
    logits_BV, u_B = logits(8, 50).float(), torch.linspace(0.05, 0.95, 8)

    together_B = F.choose_by_inverse_cdf(logits_BV, u_B)
    alone_B = [F.choose_by_inverse_cdf(logits_BV[b : b + 1], u_B[b : b + 1]) for b in range(8)]

    assert torch.equal(together_B, torch.cat(alone_B))


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
def test_sampling_from_what_is_no_distribution_is_an_error(bad):
    with pytest.raises(NonFiniteError, match="not finite"):
        F.choose_by_inverse_cdf(torch.tensor([[0.0, bad]]), torch.tensor([0.5]))


def test_the_entropy_of_an_empty_batch_is_empty():
    assert F.entropy(torch.zeros(0, 3, 4)).shape == (0, 3)


def test_the_gradient_of_the_entropy_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(F.entropy, logits(2, 3, 4).requires_grad_())


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_mixture_is_the_weighted_sum_of_probabilities(share):
    p_BV, q_BV = logits(4, 5), logits(4, 5) ** 2

    slow_BV = share * p_BV.softmax(-1) + (1 - share) * q_BV.softmax(-1)
    torch.testing.assert_close(F.log_mixture(p_BV, q_BV, share=share).exp(), slow_BV)
