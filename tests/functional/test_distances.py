import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.functional import distances


def points(count, seed=0, vocabulary=9):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, vocabulary, generator=generator, dtype=torch.float64)
    return (2 * logits).softmax(-1)


def slow_costs(p_NV, q_KV):
    rows = [[sum(abs(x - y) for x, y in zip(p, q, strict=True)) for q in q_KV] for p in p_NV]
    return torch.tensor(rows, dtype=torch.float64)


def kept(p_NV, m):
    ids_NM = p_NV.topk(m).indices
    p_NM = p_NV.gather(1, ids_NM)
    return ids_NM, p_NM, 1 - p_NM.sum(-1)


@pytest.fixture(params=[3, 1 << 17], ids=["small blocks", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setitem(distances._BLOCK_ENTRIES, "cpu", request.param)


@pytest.mark.usefixtures("blocks")
def test_costs_are_the_l1_distances_of_all_pairs():
    p_NV, q_KV = points(5), points(4, seed=1)

    torch.testing.assert_close(F.l1_costs(p_NV, q_KV), slow_costs(p_NV.tolist(), q_KV.tolist()))


def test_a_cost_is_twice_the_total_variation_distance():
    p_NV, q_NV = points(5), points(5, seed=1)

    tvd_1N = F.tvd(p_NV.log()[None], q_NV.log()[None])
    torch.testing.assert_close(F.l1_costs(p_NV, q_NV).diagonal(), 2 * tvd_1N[0])


@pytest.mark.usefixtures("blocks")
def test_the_gradient_of_the_costs_is_that_of_finite_differences():
    pair = [points(count, seed).requires_grad_() for seed, count in enumerate((5, 4))]

    assert torch.autograd.gradcheck(F.l1_costs, pair)


def test_equal_points_get_no_gradient():
    p_NV = points(4)
    q_NV = p_NV.clone().requires_grad_()

    F.l1_costs(p_NV, q_NV).diagonal().sum().backward()

    assert not q_NV.grad.any()


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("m", [1, 4])
def test_kept_costs_merge_all_other_entries_into_one(m):
    p_NV, q_KV = points(5), points(4, seed=1)
    ids_NM, p_NM, tail_N = kept(p_NV, m)

    def merged(row_V, ids_M):
        own_M = row_V[ids_M]
        return torch.cat([own_M, 1 - own_M.sum(0, keepdim=True)])

    slow_NK = torch.stack([
        torch.stack([(merged(p, ids) - merged(q, ids)).abs().sum() for q in q_KV])
        for p, ids in zip(p_NV, ids_NM, strict=True)
    ])
    torch.testing.assert_close(F.kept_l1_costs(ids_NM, p_NM, tail_N, q_KV), slow_NK)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("m", [1, 4])
def test_the_gradient_of_kept_costs_is_that_of_finite_differences(m):
    q_KV = points(4, seed=1).requires_grad_()
    entries = kept(points(5), m)

    assert torch.autograd.gradcheck(lambda q_KV: F.kept_l1_costs(*entries, q_KV), [q_KV])


def test_kept_costs_are_too_small_by_at_most_twice_the_smaller_tail():
    p_NV, q_KV = points(5), points(4, seed=1)
    for m in range(1, 9):
        ids_NM, p_NM, tail_N = kept(p_NV, m)
        missing_NK = F.l1_costs(p_NV, q_KV) - F.kept_l1_costs(ids_NM, p_NM, tail_N, q_KV)
        q_tail_NK = 1 - q_KV.t()[ids_NM].sum(dim=1)

        assert (missing_NK >= -1e-12).all()
        assert (missing_NK <= 2 * torch.minimum(tail_N[:, None], q_tail_NK) + 1e-12).all()


def test_entries_of_the_whole_vocabulary_give_the_exact_costs():
    p_NV, q_KV = points(5), points(4, seed=1)
    ids_NM, p_NM, _ = kept(p_NV, 9)
    tail_N = torch.zeros(5, dtype=torch.float64)

    actual_NK = F.kept_l1_costs(ids_NM, p_NM, tail_N, q_KV)
    torch.testing.assert_close(actual_NK, F.l1_costs(p_NV, q_KV))


def test_distributions_over_other_vocabularies_are_refused():
    with pytest.raises(ShapeError, match="along V"):
        F.l1_costs(points(2), points(2, vocabulary=8))
