import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError


def some(rows=7, entries=11, *, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(rows, entries, generator=generator) for _ in range(2)]


def test_the_three_distances_are_those_measured_one_by_one():
    p_NV, q_NV = some()

    found = F.pair_distances(p_NV, q_NV)

    for name in ("kl", "reverse_kl", "tvd"):
        alone_1N = getattr(F, name)(p_NV[None], q_NV[None])
        torch.testing.assert_close(getattr(found, f"{name}_N"), alone_1N[0])


def test_a_coin_against_a_loaded_one_gives_the_numbers_by_hand():
    coin_NV, loaded_NV = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()

    found = F.pair_distances(coin_NV, loaded_NV)

    assert float(found.kl_N) == pytest.approx(0.5 * math.log(0.25 / 0.09), abs=1e-6)
    assert float(found.reverse_kl_N) == pytest.approx(
        0.9 * math.log(1.8) + 0.1 * math.log(0.2), abs=1e-6
    )
    assert float(found.tvd_N) == pytest.approx(0.4, abs=1e-6)


def test_equal_distributions_are_not_apart_whatever_is_added_to_their_logits():
    p_NV, _ = some()

    found = F.pair_distances(p_NV, p_NV + 5.0)

    for value_N in (found.kl_N, found.reverse_kl_N, found.tvd_N):
        torch.testing.assert_close(value_N, torch.zeros(7), atol=1e-6, rtol=0)


def test_half_precision_is_not_compared_in_half_precision():
    p_NV, q_NV = (x.bfloat16() for x in some())

    assert F.pair_distances(p_NV, q_NV).kl_N.dtype == torch.float32
    assert F.same_choice(p_NV, q_NV).dtype == torch.float32


def test_the_first_choice_is_the_same_where_the_largest_logits_stand_at_one_place():
    p_NV = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    q_NV = torch.tensor([[-9.0, -1.0, -2.0], [0.0, 0.1, 0.0]])

    assert F.same_choice(p_NV, q_NV).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["pair_distances", "same_choice"])
def test_rows_that_do_not_pair_are_refused(name):
    p_NV, q_NV = some()

    with pytest.raises(ShapeError, match="`q_logits_NV` has 6 along N where `p_logits_NV` has 7"):
        getattr(F, name)(p_NV, q_NV[:6])
