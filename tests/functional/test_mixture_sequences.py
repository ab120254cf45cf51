"""The mixture of whole completions, against every completion of an enumerated task."""

import math

import pytest
import torch
from tabular import TabularTeacher, assert_close, student_of

from ketchup_cli import functional as F

TASK = TabularTeacher(seed=3)
STUDENT_SV = student_of(TASK)
P_N, Q_N = TASK.probabilities(TASK.logits_SV), TASK.probabilities(STUDENT_SV)
SHARES = (0.25, 0.5, 0.85)
every_share = pytest.mark.parametrize("share", SHARES)


def log_odds(student_SV, share):
    return F.prefix_log_odds(
        TASK.log_probs(TASK.logits_SV),
        TASK.log_probs(student_SV),
        TASK.mask_NT,
        student_share=share,
    )


def half(side, odds_NT, student_SV=STUDENT_SV):
    steps_NT = F.kl_to_mixture(TASK.at(TASK.logits_SV), TASK.at(student_SV), odds_NT, side=side)
    return F.zero_padding(steps_NT, TASK.mask_NT).sum(dim=1)


def from_middle(weight_N, share):
    middle_N = (1 - share) * P_N + share * Q_N
    return (weight_N * (weight_N / middle_N).log()).sum()


@every_share
def test_the_odds_are_those_of_a_slow_loop(share):
    logp_NT, logq_NT = TASK.log_probs(TASK.logits_SV), TASK.log_probs(STUDENT_SV)

    slow_NT = torch.zeros_like(logp_NT)
    for n, tokens in enumerate(TASK.completions):
        for t in range(len(tokens)):
            p, q = logp_NT[n, :t].sum().exp(), logq_NT[n, :t].sum().exp()
            slow_NT[n, t] = ((1 - share) * p / (share * q)).log()
    assert_close(log_odds(STUDENT_SV, share), slow_NT)


def test_what_stands_on_padding_does_not_matter():
    junk_NT = torch.where(TASK.mask_NT.bool(), TASK.log_probs(STUDENT_SV), torch.nan)

    odds_NT = F.prefix_log_odds(
        TASK.log_probs(TASK.logits_SV), junk_NT, TASK.mask_NT, student_share=0.5
    )

    assert torch.equal(odds_NT, log_odds(STUDENT_SV, 0.5))


@every_share
def test_with_the_odds_of_prefixes_the_next_token_is_that_of_mixed_completions(share):
    weight_NT1 = log_odds(STUDENT_SV, share).sigmoid()[..., None]
    p_NTV = TASK.at(TASK.logits_SV).softmax(-1)
    q_NTV = TASK.at(STUDENT_SV).softmax(-1)
    m_NTV = weight_NT1 * p_NTV + (1 - weight_NT1) * q_NTV

    taken_NT = m_NTV.gather(-1, TASK.tokens_NT[..., None]).squeeze(-1)

    product_N = torch.where(TASK.mask_NT.bool(), taken_NT, 1.0).prod(dim=1)
    assert_close(product_N, (1 - share) * P_N + share * Q_N)


@every_share
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_the_exact_half_of_completions_is_the_sum_over_its_own_prefixes(side, share):
    weight_N = P_N if side == "teacher" else Q_N

    summed = (weight_N * half(side, log_odds(STUDENT_SV, share))).sum()

    assert_close(summed, from_middle(weight_N, share))


@every_share
def test_the_mixture_of_conditionals_bounds_the_exact_divergence_from_above(share):
    constant_NT = torch.full_like(log_odds(STUDENT_SV, share), math.log((1 - share) / share))
    exact = (1 - share) * from_middle(P_N, share) + share * from_middle(Q_N, share)

    conditional = (1 - share) * (P_N * half("teacher", constant_NT)).sum()
    conditional += share * (Q_N * half("student", constant_NT)).sum()

    assert conditional.item() > exact.item() > 0


@every_share
def test_a_whole_completion_is_never_further_than_the_cost_of_its_share(share):
    odds_NT = log_odds(STUDENT_SV, share)

    assert (P_N * half("teacher", odds_NT)).sum().item() <= -math.log(1 - share)
    assert (Q_N * half("student", odds_NT)).sum().item() <= -math.log(share)


def both_halves(student_SV, odds_NT, share):
    """Sampling is not differentiated: the completions' probabilities are constants."""
    teacher = (P_N * half("teacher", odds_NT, student_SV)).sum()
    student = (Q_N * half("student", odds_NT, student_SV)).sum()
    return (1 - share) * teacher + share * student


@every_share
def test_a_gradient_through_the_odds_would_cancel_between_the_halves(share):
    odds_NT = log_odds(STUDENT_SV, share).requires_grad_()
    weight_NT1 = odds_NT.sigmoid()[..., None]
    p_NTV = TASK.at(TASK.logits_SV).softmax(-1)
    q_NTV = TASK.at(STUDENT_SV).softmax(-1)
    logm_NTV = (weight_NT1 * p_NTV + (1 - weight_NT1) * q_NTV).log()
    mass_N11 = ((1 - share) * P_N)[:, None, None], (share * Q_N)[:, None, None]
    visits_NTV = mass_N11[0] * p_NTV + mass_N11[1] * q_NTV

    loss = -(visits_NTV * logm_NTV * TASK.mask_NT[..., None]).sum()
    (slope_NT,) = torch.autograd.grad(loss, odds_NT)

    # steps of one state share their odds: its gradient is the sum over the completions through it
    of_state_S = torch.zeros(len(TASK.states), dtype=torch.float64)
    of_state_S.index_add_(0, TASK.state_NT.flatten(), slope_NT.flatten())
    assert slope_NT.abs().max().item() > 1e-4
    assert_close(of_state_S, torch.zeros_like(of_state_S))


@every_share
def test_the_gradient_of_both_halves_is_that_of_the_student_s_next_token_alone(share):
    odds_NT = log_odds(STUDENT_SV, share)

    found_SV = TASK.gradient_of(lambda x: both_halves(x, odds_NT, share), STUDENT_SV)

    weight_NT1 = odds_NT.sigmoid()[..., None]
    p_NTV, q_NTV = TASK.at(TASK.logits_SV).softmax(-1), TASK.at(STUDENT_SV).softmax(-1)
    ratio_NTV = (q_NTV / (weight_NT1 * p_NTV + (1 - weight_NT1) * q_NTV)).log()

    def one_step(student_SV):
        steps_NT = (TASK.at(student_SV).softmax(-1) * ratio_NTV).sum(-1)
        return share * (Q_N[:, None] * steps_NT * TASK.mask_NT).sum()

    assert_close(found_SV, TASK.gradient_of(one_step, STUDENT_SV))
