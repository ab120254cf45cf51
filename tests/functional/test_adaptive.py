import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.functional import adaptive

EXAMPLE = [0.4, 0.3, 0.2, 0.1]
MUS = (0.3, 0.5, 0.9)


@pytest.fixture(params=[1, 64], ids=["looks often", "looks once"], autouse=True)
def _first_look(request, monkeypatch):
    monkeypatch.setattr(adaptive, "_FIRST_LOOK", request.param)


def pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)).unbind()


def logits(*rows):
    return torch.tensor([list(rows)], dtype=torch.float64).log()


def slow_head(p, mu):
    """Take entries from the largest down until mu is reached; of equals the first come first."""
    order = sorted(range(len(p)), key=lambda v: (-p[v], v))
    taken, mass = [], 0.0
    for v in order:
        taken.append(v)
        mass += p[v]
        if mass >= mu:
            break
    return set(taken)


def slow_adaptive(p, q, mu):
    chosen = slow_head(p, mu)
    gaps = [abs(a - b) for a, b in zip(p, q, strict=True)]
    weight = sum(gaps[v] for v in chosen) / sum(gaps)
    forward = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    reverse = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    return weight * forward + (1 - weight) * reverse


def chosen(p, mu):
    (row,) = F.head_entries(torch.tensor([[p]], dtype=torch.float64), mu=mu)[0].tolist()
    return row


@pytest.mark.parametrize("mu", MUS)
def test_the_divergence_is_that_of_a_slow_loop(mu):
    p_BTV, q_BTV = pair(4, 3, 7)

    found_BT, _ = F.adaptive_kl(p_BTV, q_BTV, mu=mu, temperature=2.0)

    slow = [
        [slow_adaptive(p, q, mu) for p, q in zip(p_TV, q_TV, strict=True)]
        for p_TV, q_TV in zip(
            (p_BTV / 2).softmax(-1).tolist(), (q_BTV / 2).softmax(-1).tolist(), strict=True
        )
    ]
    torch.testing.assert_close(found_BT, torch.tensor(slow, dtype=torch.float64))


def test_the_crossing_token_belongs_to_the_head():
    assert chosen(EXAMPLE, 0.5) == [True, True, False, False]


def test_a_token_that_reaches_the_mass_exactly_ends_the_head():
    assert chosen([0.25, 0.5, 0.125, 0.125], 0.75) == [True, True, False, False]


def test_the_smallest_head_is_the_likeliest_token():
    assert chosen(EXAMPLE, 0.0) == [True, False, False, False]


def test_the_largest_head_is_every_token():
    assert chosen([0.5, 0.5, 0.0, 0.0], 1.0) == [True] * 4


def test_of_equal_tokens_the_first_come_first():
    assert chosen([0.1, 0.3, 0.3, 0.3], 0.5) == [False, True, True, False]


def test_entries_that_do_not_reach_the_mass_are_all_the_head():
    assert chosen([0.1, 0.2, 0.1], 0.5) == [True] * 3


@pytest.mark.parametrize("mu", MUS)
def test_the_head_is_the_smallest_set_that_reaches_the_mass(mu):
    p_BTV = pair(50, 4, 12)[0].softmax(-1)

    found_BTV = F.head_entries(p_BTV, mu=mu)

    mass_BT = (p_BTV * found_BTV).sum(-1)
    least_BT = torch.where(found_BTV, p_BTV, 2.0).amin(-1)
    most_left_BT = torch.where(found_BTV, 0.0, p_BTV).amax(-1)
    assert (mass_BT >= mu).all()
    assert (mass_BT - least_BT < mu).all()
    assert (least_BT >= most_left_BT).all()


@pytest.mark.parametrize("mu", MUS)
def test_the_weight_is_a_share(mu):
    _, weight_BT = F.adaptive_kl(*pair(50, 4, 6), mu=mu)

    assert weight_BT.min().item() >= 0
    assert weight_BT.max().item() <= 1


def test_a_student_that_errs_in_the_head_alone_gets_forward_kl():
    p_BTV, q_BTV = logits(EXAMPLE), logits([0.5, 0.2, 0.2, 0.1])

    found_BT, weight_BT = F.adaptive_kl(p_BTV, q_BTV, mu=0.5)

    assert weight_BT.item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(found_BT, F.kl(p_BTV, q_BTV))


def test_a_student_that_errs_in_the_tail_alone_gets_reverse_kl():
    p_BTV, q_BTV = logits(EXAMPLE), logits([0.4, 0.3, 0.05, 0.25])

    found_BT, weight_BT = F.adaptive_kl(p_BTV, q_BTV, mu=0.5)

    assert weight_BT.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(found_BT, F.reverse_kl(p_BTV, q_BTV))


def test_the_example_by_hand():
    p, q = EXAMPLE, [0.25, 0.25, 0.25, 0.25]

    found_BT, weight_BT = F.adaptive_kl(logits(p), logits(q), mu=0.5)

    # gaps .15 .05 .05 .15: half of them in the head
    assert weight_BT.item() == pytest.approx(0.5)
    forward = math.log(4) + sum(x * math.log(x) for x in p)
    reverse = -math.log(4) - sum(math.log(x) for x in p) / 4
    assert found_BT.item() == pytest.approx((forward + reverse) / 2)


def test_with_every_token_in_the_head_it_is_forward_kl():
    p_BTV, q_BTV = pair(5, 4, 6)

    found_BT, _ = F.adaptive_kl(p_BTV, q_BTV, mu=1.0)

    torch.testing.assert_close(found_BT, F.kl(p_BTV, q_BTV))


def test_equals_have_neither_divergence_nor_gradient():
    p_BTV, _ = pair(5, 4, 6)
    q_BTV = p_BTV.clone().requires_grad_()

    found_BT, weight_BT = F.adaptive_kl(p_BTV, q_BTV, mu=0.5)
    found_BT.sum().backward()

    assert found_BT.abs().max().item() == pytest.approx(0, abs=1e-12)
    assert weight_BT.tolist() == torch.full((5, 4), 0.5).tolist()
    assert q_BTV.grad.abs().max().item() == pytest.approx(0, abs=1e-12)


def test_no_gradient_flows_through_the_weight():
    p_BTV, q_BTV = pair(2, 3, 5)
    q_BTV.requires_grad_()

    found_BT, weight_BT = F.adaptive_kl(p_BTV, q_BTV, mu=0.5)

    assert not weight_BT.requires_grad
    constant_BT = weight_BT * F.kl(p_BTV, q_BTV) + (1 - weight_BT) * F.reverse_kl(p_BTV, q_BTV)
    expected, found = (
        torch.autograd.grad(x_BT.sum(), q_BTV)[0] for x_BT in (constant_BT, found_BT)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bucket", [False, True])
def test_extreme_logits_give_finite_value_and_gradient(bucket):
    p_BTV, q_BTV = pair(2, 3, 5)
    q_BTV = (1e4 * q_BTV).float().requires_grad_()

    found_BT, _ = F.adaptive_kl((-1e4 * p_BTV).float(), q_BTV, mu=0.5, bucket=bucket)
    found_BT.sum().backward()

    assert found_BT.isfinite().all()
    assert q_BTV.grad.isfinite().all()


# a truncated teacher: the last entry is the mass of all others


def test_the_tail_of_a_truncated_teacher_is_no_token_of_the_head():
    p_BTV, q_BTV = logits([0.3, 0.3, 0.4]), logits([0.1, 0.5, 0.4])

    _, weight_BT = F.adaptive_kl(p_BTV, q_BTV, mu=0.5, bucket=True)

    # the largest entry is the tail, and the head is the first two all the same
    assert weight_BT.item() == pytest.approx(1, abs=1e-12)


def test_kept_entries_that_just_reach_the_mass_leave_the_tail_outside():
    p_BTV, q_BTV = logits([0.3, 0.3, 0.4]), logits([0.2, 0.2, 0.6])

    _, weight_BT = F.adaptive_kl(p_BTV, q_BTV, mu=0.59, bucket=True)

    assert weight_BT.item() == pytest.approx(0.5)


@pytest.mark.parametrize("mu", [0.7, 1.0])
def test_kept_entries_short_of_the_mass_take_the_tail_into_the_head(mu):
    p_BTV, q_BTV = logits([0.3, 0.3, 0.4]), logits([0.1, 0.1, 0.8])

    found_BT, _ = F.adaptive_kl(p_BTV, q_BTV, mu=mu, bucket=True)

    torch.testing.assert_close(found_BT, F.kl(p_BTV, q_BTV))


def test_the_gap_of_a_tail_is_at_least_that_of_its_mass():
    p_BTV, q_BTV = pair(50, 4, 12)
    p_BTV = p_BTV.sort(dim=-1, descending=True).values
    kept = 6

    def bucket(logits_BTV):
        logp_BTV = logits_BTV.log_softmax(-1)
        tail_BT1 = logp_BTV[..., kept:].logsumexp(-1, keepdim=True)
        return torch.cat([logp_BTV[..., :kept], tail_BT1], dim=-1)

    _, exact_BT = F.adaptive_kl(p_BTV, q_BTV, mu=0.5)
    _, found_BT = F.adaptive_kl(bucket(p_BTV), bucket(q_BTV), mu=0.5, bucket=True)

    # less gap in the tail, so at least as much weight on the head
    reached_BT = p_BTV.softmax(-1)[..., :kept].sum(-1) >= 0.5
    assert reached_BT.any()
    assert (found_BT >= exact_BT - 1e-12)[reached_BT].all()


def test_a_tail_lost_to_rounding_does_not_decide_the_loss():
    p_BTV = torch.tensor([[[0.0, -1.0, -1e30]]])
    q_BTV = torch.tensor([[[0.0, -1.0, -6.0]]])

    found_BT, _ = F.adaptive_kl(p_BTV, q_BTV, mu=0.5, bucket=True)

    assert found_BT.item() < 0.1
