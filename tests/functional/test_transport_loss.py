from itertools import pairwise

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.signals import HeldLogits, TopEntries

VOCABULARY = 9
PLAIN = F.Transport(sweeps=200)
MASK_BT = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
each_way = pytest.mark.parametrize(
    "how",
    [F.Transport(), F.Transport(debiased=True), F.Transport(max_points=2, temperature=2.0)],
    ids=["plain", "debiased", "groups"],
)


def logits(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (*MASK_BT.shape, VOCABULARY)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def rows(logits_BTV, mask_BT=MASK_BT):
    return HeldLogits(logits_BTV[mask_BT.bool()])


def entries(logits_BTV, m, temperature=1.0):
    flat_NV = logits_BTV.flatten(0, 1)
    lse_NK = (flat_NV / temperature).logsumexp(-1, keepdim=True)
    kept = F.top_entries(flat_NV, m=m, lse_NK=lse_NK, temperatures=(temperature,))
    ids, gaps, tail = (x.unflatten(0, logits_BTV.shape[:2]) for x in kept)
    return TopEntries(ids_BTM=ids, gaps_BTM=gaps, tail_BT=tail[..., 0])


def slow_loss(p_BTV, q_BTV, how):
    """The same with every tensor whole and every step autograd's."""
    p_NV, q_NV = ((x[MASK_BT.bool()] / how.temperature).softmax(-1) for x in (p_BTV, q_BTV))

    def cost(a_NV, b_NV):
        cost_NN = (a_NV[:, None] - b_NV[None]).abs().sum(-1)
        return F.transport_cost(cost_NN, smoothing=how.smoothing, sweeps=how.sweeps)

    total = 0.0
    for which in F.point_groups(len(p_NV), how.max_points):
        p, q = p_NV[which], q_NV[which]
        own = cost(p, q) - (cost(p, p) + cost(q, q)) / 2 if how.debiased else cost(p, q)
        total = total + own * len(p) / len(p_NV)
    return total


def gradient(loss, q_BTV):
    q_BTV = q_BTV.clone().requires_grad_()
    return torch.autograd.grad(loss(q_BTV), q_BTV)[0]


@each_way
def test_the_loss_is_the_cost_of_carrying_teacher_to_student(how):
    p_BTV, q_BTV = logits(1), logits(2)

    actual, _ = F.transport_loss(rows(p_BTV), q_BTV, MASK_BT, how=how)
    torch.testing.assert_close(actual, slow_loss(p_BTV, q_BTV, how))


@each_way
def test_the_gradient_is_that_through_every_step(how):
    p_BTV, q_BTV = logits(1), logits(2)

    actual_BTV = gradient(
        lambda q: 3 * F.transport_loss(rows(p_BTV), q, MASK_BT, how=how)[0], q_BTV
    )
    torch.testing.assert_close(actual_BTV, 3 * gradient(lambda q: slow_loss(p_BTV, q, how), q_BTV))


def test_the_whole_vocabulary_as_top_entries_gives_the_dense_loss_and_gradient():
    p_BTV, q_BTV = logits(1), logits(2)
    how = F.Transport(temperature=2.0)
    given = (rows(p_BTV), entries(p_BTV, VOCABULARY, temperature=2.0))

    dense, kept = (F.transport_loss(item, q_BTV, MASK_BT, how=how)[0] for item in given)
    torch.testing.assert_close(kept, dense)
    dense, kept = (
        gradient(lambda q, item=item: F.transport_loss(item, q, MASK_BT, how=how)[0], q_BTV)
        for item in given
    )
    torch.testing.assert_close(kept, dense)


def test_top_entries_come_nearer_the_dense_loss_the_more_are_kept():
    p_BTV, q_BTV = logits(1), logits(2)
    exact, _ = F.transport_loss(rows(p_BTV), q_BTV, MASK_BT, how=PLAIN)

    ladder = [F.transport_loss(entries(p_BTV, m), q_BTV, MASK_BT, how=PLAIN)[0] for m in (1, 2, 4)]
    assert all(below < above for below, above in pairwise([*ladder, exact]))


@each_way
def test_a_single_token_costs_twice_its_total_variation_distance(how):
    mask_BT = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 0]])
    p_BTV, q_BTV = logits(1), logits(2)

    actual, _ = F.transport_loss(rows(p_BTV, mask_BT), q_BTV, mask_BT, how=how)
    wanted = 2 * F.tvd(p_BTV, q_BTV, temperature=how.temperature)[0, 0]
    torch.testing.assert_close(actual, wanted)


def test_a_student_like_its_teacher_pays_for_the_smoothing():
    how = F.Transport(smoothing=0.5)
    loss, _ = F.transport_loss(rows(logits(1)), logits(1), MASK_BT, how=how)

    assert loss > 0.1


def test_debiased_a_student_like_its_teacher_pays_nothing_and_has_no_gradient():
    how = F.Transport(debiased=True, smoothing=0.5, sweeps=200)

    def loss(q_BTV):
        return F.transport_loss(rows(logits(1)), q_BTV, MASK_BT, how=how)[0]

    assert loss(logits(1)).item() == pytest.approx(0.0, abs=1e-12)
    assert gradient(loss, logits(1)).abs().max().item() < 1e-9


def test_descent_on_the_loss_brings_the_two_sets_of_points_together():
    p_BTV, q_BTV = logits(1), logits(2).requires_grad_()
    optimizer = torch.optim.Adam([q_BTV], lr=0.2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss, _ = F.transport_loss(
            rows(p_BTV), q_BTV, MASK_BT, how=F.Transport(smoothing=0.05, sweeps=10)
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < 0.3 * losses[0]


def test_a_student_that_mistakes_one_token_for_another_has_the_loss_of_one_that_does_not():
    # the plan finds the teacher's point wherever it is: which token it stands at is not seen
    q_BTV = logits(1)
    real_NV = q_BTV[MASK_BT.bool()]
    mistaken_BTV = q_BTV.clone()
    mistaken_BTV[MASK_BT.bool()] = real_NV.roll(1, dims=0)

    right, wrong = (
        F.transport_loss(rows(logits(1)), x, MASK_BT, how=PLAIN)[0] for x in (q_BTV, mistaken_BTV)
    )
    torch.testing.assert_close(wrong, right)
    assert F.masked_mean(F.tvd(logits(1), mistaken_BTV), MASK_BT) > 0.3


def test_the_same_batch_twice_has_the_same_loss():
    p_BTV, q_BTV = logits(1), logits(2)
    once, _ = F.transport_loss(rows(p_BTV), q_BTV, MASK_BT, how=F.Transport())

    mask_BT = MASK_BT.repeat(2, 1)
    doubled = rows(p_BTV.repeat(2, 1, 1), mask_BT)
    twice, _ = F.transport_loss(doubled, q_BTV.repeat(2, 1, 1), mask_BT, how=F.Transport())
    torch.testing.assert_close(twice, once)


def test_rows_short_of_a_sum_of_one_are_reported():
    p_BTV, q_BTV = logits(1), logits(2)
    few, many = (F.Transport(sweeps=sweeps) for sweeps in (1, 200))

    short, none = (
        F.transport_loss(rows(p_BTV), q_BTV, MASK_BT, how=how)[1].item() for how in (few, many)
    )
    assert short > 1e-3
    assert none < 1e-9


def test_a_batch_without_tokens_costs_nothing():
    mask_BT = torch.zeros_like(MASK_BT)
    q_BTV = logits(2).requires_grad_()

    loss, _ = F.transport_loss(rows(logits(1), mask_BT), q_BTV, mask_BT, how=F.Transport())
    loss.backward()

    assert loss.item() == 0
    assert not q_BTV.grad.any()


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(0, 4, []), (4, 4, [4]), (5, 4, [2, 3]), (10, 4, [3, 3, 4])],
)
def test_groups_are_of_like_size(count, most, sizes):
    groups = F.point_groups(count, most)

    assert [which.stop - which.start for which in groups] == sizes
    assert [which.start for which in groups[1:]] == [which.stop for which in groups[:-1]]


def test_no_tensor_over_pairs_and_vocabulary_is_made(monkeypatch):
    # 8 points of 64 entries in blocks of one row: nothing larger than the student's own logits
    monkeypatch.setattr("ketchup_cli.functional.distances._BLOCK_ENTRIES", {"cpu": 64})
    generator = torch.Generator().manual_seed(0)
    p_NV, q_NV = torch.randn(2, 8, 64, generator=generator)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in [out] if isinstance(x, torch.Tensor))
            return out

    with Watch():
        mask_BT = torch.ones(1, 8)
        q_BTV = q_NV[None].requires_grad_()
        F.transport_loss(HeldLogits(p_NV), q_BTV, mask_BT, how=F.Transport())[0].backward()

    assert max(sizes) == q_NV.numel()


def test_debiasing_takes_all_of_the_teacher_s_logits():
    with pytest.raises(ShapeError, match="all of the teacher"):
        F.transport_loss(entries(logits(1), 4), logits(2), MASK_BT, how=F.Transport(debiased=True))


def test_rows_of_another_batch_are_refused():
    with pytest.raises(ShapeError, match="5 rows of teacher logits for 6 real tokens"):
        F.transport_loss(
            HeldLogits(rows(logits(1)).logits_NV[1:]), logits(2), MASK_BT, how=F.Transport()
        )
