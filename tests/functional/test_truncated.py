import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.signals import TopEntries

VOCABULARY = 12
KEPT = (1, 2, 4, 8, 11, 12)
both_tails = pytest.mark.parametrize("tail", ["bucket", "renormalise"])


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 10, 3, VOCABULARY)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).unbind()


def truncate(logits_BTV, m, *, temperature=1.0, gap_dtype=torch.float64):
    flat_NV = logits_BTV.flatten(0, 1)
    lse_NK = (flat_NV / temperature).logsumexp(-1, keepdim=True)
    entries = F.top_entries(flat_NV, m=m, lse_NK=lse_NK, temperatures=(temperature,))
    ids, gaps, tail = (x.unflatten(0, logits_BTV.shape[:2]) for x in entries)
    return TopEntries(ids_BTM=ids, gaps_BTM=gaps.to(gap_dtype), tail_BT=tail[..., 0])


def tail_mass(q_logits_BTV, top):
    q_BTV = q_logits_BTV.softmax(-1)
    return 1 - q_BTV.gather(-1, top.ids_BTM.long()).sum(-1)


def gradient(function, q_logits_BTV):
    q_logits_BTV = q_logits_BTV.clone().requires_grad_()
    return torch.autograd.grad(function(q_logits_BTV).sum(), q_logits_BTV)[0]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_bucket_is_one_more_token(temperature):
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV, 4, temperature=temperature)

    def merged(logits_BTV):
        probabilities_BTV = (logits_BTV / temperature).softmax(-1)
        kept_BTM = probabilities_BTV.gather(-1, top.ids_BTM.long())
        return torch.cat([kept_BTM, 1 - kept_BTM.sum(-1, keepdim=True)], dim=-1)

    p_BTX, q_BTX = merged(p_BTV), merged(q_BTV)
    slow_BT = (p_BTX * (p_BTX / q_BTX).log()).sum(-1)
    actual_BT = F.kl_truncated(top, q_BTV, tail="bucket", temperature=temperature)
    torch.testing.assert_close(actual_BT, slow_BT)


def test_renormalising_scales_the_kept_entries_up():
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV, 4)

    kept_BTM = p_BTV.softmax(-1).gather(-1, top.ids_BTM.long())
    kept_BTM = kept_BTM / kept_BTM.sum(-1, keepdim=True)
    logq_BTM = q_BTV.log_softmax(-1).gather(-1, top.ids_BTM.long())
    slow_BT = (kept_BTM * (kept_BTM.log() - logq_BTM)).sum(-1)
    torch.testing.assert_close(F.kl_truncated(top, q_BTV, tail="renormalise"), slow_BT)


def test_a_bucket_worked_by_hand():
    # teacher 1/2, 1/4, 1/4 with one entry kept; student 1/4, 1/4, 1/2
    top = truncate(torch.tensor([[[2.0, 1.0, 1.0]]]).log(), 1)
    q_BTV = torch.tensor([[[1.0, 1.0, 2.0]]]).log()

    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert F.kl_truncated(top, q_BTV).item() == pytest.approx(expected)


@both_tails
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_whole_vocabulary_gives_the_dense_divergence(tail, temperature):
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV, VOCABULARY, temperature=temperature)

    actual_BT = F.kl_truncated(top, q_BTV, tail=tail, temperature=temperature)
    torch.testing.assert_close(actual_BT, F.kl(p_BTV, q_BTV, temperature=temperature))


def test_rounding_leaves_no_tail_beyond_the_whole_vocabulary():
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV, VOCABULARY)
    rounded = replace(top, tail_BT=torch.full_like(top.tail_BT, 1e-8))

    torch.testing.assert_close(F.kl_truncated(rounded, q_BTV), F.kl(p_BTV, q_BTV))


@both_tails
def test_the_whole_vocabulary_in_float32_is_dense_to_a_hundred_thousandth(tail):
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV.float(), VOCABULARY, gap_dtype=torch.float32)

    actual_BT = F.kl_truncated(top, q_BTV.float(), tail=tail)
    torch.testing.assert_close(actual_BT.double(), F.kl(p_BTV, q_BTV), atol=1e-5, rtol=0)


def test_the_bucket_is_a_lower_bound_that_grows_with_the_entries_kept():
    p_BTV, q_BTV = pair()

    ladder = [F.kl_truncated(truncate(p_BTV, m), q_BTV) for m in KEPT]
    ladder.append(F.kl(p_BTV, q_BTV))

    assert all((below_BT <= above_BT + 1e-12).all() for below_BT, above_BT in pairwise(ladder))


@pytest.mark.parametrize("m", KEPT[:-1])
def test_the_bucket_misses_the_divergence_inside_the_tail(m):
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV, m)

    def inside(logits_BTV):
        return logits_BTV.scatter(-1, top.ids_BTM.long(), -1e30).softmax(-1)

    p_in_BTV, q_in_BTV = inside(p_BTV), inside(q_BTV)
    missed_BT = top.tail_BT * torch.xlogy(p_in_BTV, p_in_BTV / q_in_BTV).nan_to_num().sum(-1)
    gap_BT = F.kl(p_BTV, q_BTV) - F.kl_truncated(top, q_BTV)
    torch.testing.assert_close(gap_BT, missed_BT)


@both_tails
@pytest.mark.parametrize("gap_dtype", [torch.float16, torch.float64], ids=["rounded", "exact"])
def test_a_truncated_divergence_is_never_negative(tail, gap_dtype):
    p_BTV, _ = pair()
    top = truncate(p_BTV, 4, gap_dtype=gap_dtype)

    # the student that would profit most from rounding is the teacher itself
    assert F.kl_truncated(top, p_BTV, tail=tail).min().item() >= -1e-12


def test_the_bucket_is_zero_for_the_teacher_itself():
    p_BTV, _ = pair()

    assert F.kl_truncated(truncate(p_BTV, 4), p_BTV).abs().max().item() < 1e-12


@pytest.mark.parametrize("m", KEPT[:-1])
def test_the_bucket_s_gradient_is_exact_on_kept_entries(m):
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV, m)
    ids_BTM = top.ids_BTM.long()

    actual_BTV = gradient(lambda q: F.kl_truncated(top, q), q_BTV)
    dense_BTV = gradient(lambda q: F.kl(p_BTV, q), q_BTV)
    torch.testing.assert_close(actual_BTV.gather(-1, ids_BTM), dense_BTV.gather(-1, ids_BTM))


@pytest.mark.parametrize("m", KEPT)
def test_the_bucket_s_gradient_errs_by_at_most_twice_the_tail(m):
    p_BTV, q_BTV = pair()
    top = truncate(p_BTV, m)

    actual_BTV = gradient(lambda q: F.kl_truncated(top, q), q_BTV)
    dense_BTV = gradient(lambda q: F.kl(p_BTV, q), q_BTV)
    error_BT = (actual_BTV - dense_BTV).abs().sum(-1)
    assert (error_BT <= 2 * top.tail_BT + 1e-12).all()


def test_the_optimum_under_renormalisation_is_the_teacher_cut_to_its_top():
    p_BTV, _ = pair()
    top = truncate(p_BTV, 4)
    cut_BTV = torch.full_like(p_BTV, -60.0).scatter(
        -1, top.ids_BTM.long(), p_BTV.gather(-1, top.ids_BTM.long())
    )

    assert F.kl_truncated(top, cut_BTV, tail="renormalise").abs().max().item() < 1e-12


@both_tails
def test_gaps_too_large_for_half_precision_do_no_harm(tail):
    top = TopEntries(
        ids_BTM=torch.tensor([[[2, 0]]]),
        gaps_BTM=torch.tensor([[[0.0, math.inf]]], dtype=torch.float16),
        tail_BT=torch.zeros(1, 1),
    )
    q_BTV = torch.zeros(1, 1, 4, requires_grad=True)

    loss_BT = F.kl_truncated(top, q_BTV, tail=tail)
    loss_BT.sum().backward()

    assert loss_BT.item() == pytest.approx(math.log(4))
    assert q_BTV.grad.isfinite().all()


def test_a_student_without_mass_in_the_tail_still_has_a_gradient():
    p_BTV, _ = pair()
    top = truncate(p_BTV.float(), 4)
    q_BTV = torch.full_like(p_BTV, -1e4).float().scatter(-1, top.ids_BTM.long(), 0.0)

    slope_BTV = gradient(lambda q: F.kl_truncated(top, q), q_BTV)

    assert slope_BTV.isfinite().all()
    assert tail_mass(q_BTV, top).abs().max().item() < 1e-6
    pulled_BT = slope_BTV.clamp(max=0).scatter(-1, top.ids_BTM.long(), 0.0).sum(-1)
    # a float32 step at 1e4 is 1e-3, and enters as a factor
    torch.testing.assert_close(pulled_BT, -top.tail_BT.float(), atol=0, rtol=2e-3)


@both_tails
def test_the_gradient_is_that_of_finite_differences(tail):
    p_BTV, q_BTV = (x_BTV[:2] for x_BTV in pair())
    top = truncate(p_BTV, 4, temperature=2.0)

    def weighted(q_logits_BTV):
        loss_BT = F.kl_truncated(top, q_logits_BTV, tail=tail, temperature=2.0)
        return loss_BT * torch.tensor([0.5, -2.0, 3.0])

    assert torch.autograd.gradcheck(weighted, q_BTV.requires_grad_())


@both_tails
def test_a_truncated_divergence_does_not_depend_on_blocks_of_rows(tail):
    p_BTV, q_BTV = pair()
    many = [x_BTV.repeat(8, 1, 1) for x_BTV in (p_BTV, q_BTV)]

    few_BT = F.kl_truncated(truncate(p_BTV, 4), q_BTV, tail=tail)
    many_BT = F.kl_truncated(truncate(many[0], 4), many[1], tail=tail)

    torch.testing.assert_close(many_BT, few_BT.repeat(8, 1))


def test_no_gradient_reaches_the_teacher_s_entries():
    p_BTV, q_BTV = pair()
    entries = truncate(p_BTV, 4)
    top = replace(entries, gaps_BTM=entries.gaps_BTM.requires_grad_())

    F.kl_truncated(top, q_BTV.requires_grad_()).sum().backward()

    assert top.gaps_BTM.grad is None


def test_entries_of_another_batch_are_refused():
    p_BTV, q_BTV = pair()

    with pytest.raises(ShapeError, match="`q_logits_BTV` has 9 along B"):
        F.kl_truncated(truncate(p_BTV, 4), q_BTV[:9])
