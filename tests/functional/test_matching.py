import math

import pytest
import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError


def states(count: int, *, seed: int, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64)


def all_of(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def slow(hyp: list[list[float]], ref: list[list[float]], counted: list[bool]) -> float:
    """The mean over counted tokens of `hyp` of the largest cosine with any token of `ref`."""

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    best = [max(cosine(h, r) for r in ref) for h, use in zip(hyp, counted, strict=True) if use]
    return sum(best) / len(best)


@pytest.mark.parametrize("seed", range(3))
def test_matching_agrees_with_a_loop_over_pairs(seed):
    hyp_NH, ref_KH = states(4, seed=seed), states(6, seed=seed + 10)
    hyp_N = torch.tensor([False, True, True, False])
    ref_K = torch.tensor([False, True, True, True, True, False])

    precision, recall, f1 = F.greedy_match(hyp_NH, ref_KH, hyp_N, ref_K)

    # float64 sums of a few numbers
    assert precision == pytest.approx(slow(hyp_NH.tolist(), ref_KH.tolist(), hyp_N.tolist()))
    assert recall == pytest.approx(slow(ref_KH.tolist(), hyp_NH.tolist(), ref_K.tolist()))
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_matching_by_hand():
    # one of two tokens of the hypothesis is in the reference, the other at a right angle to it
    hyp_NH, ref_KH = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0]])

    assert F.greedy_match(hyp_NH, ref_KH, all_of(2), all_of(1)) == pytest.approx((0.5, 1.0, 2 / 3))


def test_both_ways_about_change_precision_and_recall_about():
    a, b = states(3, seed=1), states(5, seed=2)

    forth = F.greedy_match(a, b, all_of(3), all_of(5))
    back = F.greedy_match(b, a, all_of(5), all_of(3))

    assert (forth[0], forth[1]) == pytest.approx((back[1], back[0]))


@pytest.mark.parametrize("empty", ["hypothesis", "reference"])
def test_a_side_without_counted_tokens_matches_nothing(empty):
    none, some = torch.zeros(2, dtype=torch.bool), all_of(2)
    hyp_N, ref_K = (none, some) if empty == "hypothesis" else (some, none)

    assert F.greedy_match(states(2, seed=1), states(2, seed=2), hyp_N, ref_K) == (0.0, 0.0, 0.0)


def test_states_of_other_widths_are_refused():
    with pytest.raises(ShapeError, match="along H"):
        F.greedy_match(states(2, seed=1), states(2, seed=2, width=4), all_of(2), all_of(2))
