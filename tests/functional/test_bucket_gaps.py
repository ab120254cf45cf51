"""What a divergence loses when all but the teacher's largest entries are one bucket."""

import math

import pytest
import torch
from objective_inputs import make_batch, teacher_signal

from ketchup_cli import functional as F
from ketchup_cli.signals import Needs

LN_2 = math.log(2)
BATCH = make_batch()
VOCABULARY = 20
GENERATOR = torch.Generator().manual_seed(5)
SHAPE = (*BATCH.tokens_BT.shape, VOCABULARY)
P_BTV, Q_BTV = (3 * torch.randn(2, *SHAPE, generator=GENERATOR, dtype=torch.float64)).unbind()
KEPT = (1, 4, 12)
every_size = pytest.mark.parametrize("kept", KEPT)
ROUNDING = 1e-12


def top(kept):
    needs = Needs(teacher="top")
    return teacher_signal(P_BTV, BATCH, student_BTV=Q_BTV, needs=needs, top=kept).top


def gap(measure, kept):
    """Return what is lost at every step, whatever the mask says."""
    return measure(P_BTV, Q_BTV) - measure(*F.bucketed(top(kept), Q_BTV))


def tails(kept):
    """Return both tails' mass, and both log-distributions inside, minus infinity elsewhere."""
    inside_BTV = torch.zeros(SHAPE).scatter(-1, top(kept).ids_BTM.long(), 1.0) == 0
    found = []
    for logits_BTV in (P_BTV, Q_BTV):
        log_BTV = logits_BTV.log_softmax(-1).masked_fill(~inside_BTV, -torch.inf)
        found += [log_BTV.logsumexp(-1).exp(), log_BTV.log_softmax(-1)]
    return found


def kl_inside(a_BTV, b_BTV):
    return torch.where(a_BTV.isinf(), 0.0, a_BTV.exp() * (a_BTV - b_BTV)).nansum(-1)


def skew(alpha):
    return lambda p, q: F.skew_kl(p, q, alpha=alpha)


def skew_reverse(alpha):
    return lambda p, q: F.skew_reverse_kl(p, q, alpha=alpha)


@every_size
def test_forward_kl_loses_the_teacher_s_tail_times_the_divergence_inside(kept):
    p_tail_BT, p_BTV, _, q_BTV = tails(kept)

    torch.testing.assert_close(gap(F.kl, kept), p_tail_BT * kl_inside(p_BTV, q_BTV))


@every_size
def test_reverse_kl_loses_the_student_s_tail_times_the_divergence_inside(kept):
    _, p_BTV, q_tail_BT, q_BTV = tails(kept)

    torch.testing.assert_close(gap(F.reverse_kl, kept), q_tail_BT * kl_inside(q_BTV, p_BTV))


def test_what_reverse_kl_loses_has_no_bound():
    # the student's tail sits where the teacher has next to nothing
    p_BTV = torch.tensor([[[2.0, 0.0, -1e3]]], dtype=torch.float64)
    q_BTV = torch.tensor([[[0.0, -1e3, 0.0]]], dtype=torch.float64)
    bucket_p = torch.cat([p_BTV[..., :1], p_BTV[..., 1:].logsumexp(-1, keepdim=True)], dim=-1)
    bucket_q = torch.cat([q_BTV[..., :1], q_BTV[..., 1:].logsumexp(-1, keepdim=True)], dim=-1)

    lost = F.reverse_kl(p_BTV, q_BTV) - F.reverse_kl(bucket_p, bucket_q)

    assert lost.item() == pytest.approx(500)


@every_size
def test_jensen_shannon_loses_at_most_half_of_both_tails_times_ln_2(kept):
    p_tail_BT, _, q_tail_BT, _ = tails(kept)

    assert (gap(F.js, kept) <= 0.5 * (p_tail_BT + q_tail_BT) * LN_2 + ROUNDING).all()


@every_size
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("weighting", ["published", "continuous"])
def test_a_generalised_jensen_shannon_divergence_loses_what_its_halves_can(kept, beta, weighting):
    p_tail_BT, _, q_tail_BT, _ = tails(kept)
    of_p = beta if weighting == "published" else 1 - beta
    ratio_BT = (1 - beta) * q_tail_BT / (beta * p_tail_BT)
    bound_BT = of_p * p_tail_BT * ratio_BT.log1p() + (1 - of_p) * q_tail_BT * (1 / ratio_BT).log1p()

    lost_BT = gap(lambda p, q: F.generalised_js(p, q, beta=beta, weighting=weighting), kept)

    assert (lost_BT <= bound_BT + ROUNDING).all()


@every_size
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.8])
def test_the_published_form_loses_at_most_its_share_of_the_tails_times_ln_2(kept, beta):
    p_tail_BT, _, q_tail_BT, _ = tails(kept)

    lost_BT = gap(lambda p, q: F.generalised_js(p, q, beta=beta), kept)

    assert (lost_BT <= (beta * p_tail_BT + (1 - beta) * q_tail_BT) * LN_2 + ROUNDING).all()


@every_size
def test_total_variation_loses_at_most_the_smaller_tail(kept):
    p_tail_BT, _, q_tail_BT, _ = tails(kept)

    assert (gap(F.tvd, kept) <= p_tail_BT.minimum(q_tail_BT) + ROUNDING).all()


@every_size
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_skew_kl_loses_a_bounded_share_of_the_teacher_s_tail(kept, alpha):
    p_tail_BT, _, q_tail_BT, _ = tails(kept)
    bound_BT = p_tail_BT * ((1 - alpha) * q_tail_BT / (alpha * p_tail_BT)).log1p()

    assert (gap(skew(alpha), kept) <= bound_BT + ROUNDING).all()


@every_size
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_skew_reverse_kl_loses_a_bounded_share_of_the_student_s_tail(kept, alpha):
    p_tail_BT, _, q_tail_BT, _ = tails(kept)
    bound_BT = q_tail_BT * ((1 - alpha) * p_tail_BT / (alpha * q_tail_BT)).log1p()

    assert (gap(skew_reverse(alpha), kept) <= bound_BT + ROUNDING).all()


@pytest.mark.parametrize("measure", [F.kl, F.reverse_kl, F.js, F.tvd, skew(0.1), skew_reverse(0.1)])
def test_nothing_is_gained_and_less_is_lost_the_more_is_kept(measure):
    lost = torch.stack([gap(measure, kept) for kept in (*KEPT, VOCABULARY)])

    assert (lost >= -ROUNDING).all()
    assert (lost.diff(dim=0) <= ROUNDING).all()
    assert lost[-1].abs().max().item() == pytest.approx(0, abs=ROUNDING)
