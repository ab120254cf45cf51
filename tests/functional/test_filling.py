import itertools

import pytest
import torch
from scipy import stats

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

GENERATOR = torch.Generator().manual_seed(0)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_every_count_of_hidden_tokens_from_one_to_all_is_equally_likely(size: int) -> None:
    rows = 4000
    mask_BT = torch.zeros(rows, size + 2)
    mask_BT[:, :size] = 1
    count_B = F.drawn_places(uniform(rows), uniform(rows, size + 2), mask_BT).sum(dim=1)

    drawn = torch.bincount(count_B, minlength=size + 1)
    assert drawn[0] == 0
    # one in a thousand for a fair draw; the seed is fixed
    assert size == 1 or stats.chisquare(drawn[1:].numpy()).pvalue > 1e-3


def test_every_place_is_hidden_equally_often() -> None:
    places_BT = F.drawn_places(uniform(4000), uniform(4000, 5), torch.ones(4000, 5))

    # half of the tokens and half a token more: (1 + 2 + 3 + 4 + 5) / 5 of 5
    share_T = places_BT.double().mean(dim=0)
    torch.testing.assert_close(
        share_T, torch.full((5,), 0.6, dtype=torch.float64), atol=0.03, rtol=0
    )


def test_nothing_is_hidden_where_nothing_may_be() -> None:
    mask_BT = torch.tensor([[1, 0, 1], [0, 0, 0]])

    places_BT = F.drawn_places(torch.tensor([0.99, 0.99]), torch.zeros(2, 3), mask_BT)

    assert places_BT.tolist() == [[True, False, True], [False, False, False]]


def test_the_least_certain_tokens_are_those_of_the_smallest_log_probability() -> None:
    logp_BT = torch.tensor([[-3.0, -1.0, -2.0, -9.0], [-1.0, -1.0, -1.0, -9.0]])
    mask_BT = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])

    chosen_BT = F.least_certain(logp_BT, mask_BT, torch.tensor([2, 1]))

    assert chosen_BT.tolist() == [[True, False, True, False], [True, False, False, False]]


def test_all_are_hidden_where_more_are_asked_for_than_there_are() -> None:
    chosen_BT = F.least_certain(torch.zeros(1, 3), torch.tensor([[1, 1, 0]]), torch.tensor([5]))

    assert chosen_BT.tolist() == [[True, True, False]]


@pytest.mark.parametrize("steps", [1, 3, 4, 10])
def test_the_hidden_tokens_begin_with_all_and_never_become_more(steps: int) -> None:
    size_B = torch.arange(1, 40)
    counts = [F.hidden_counts(size_B, step, steps=steps) for step in range(steps)]

    assert torch.equal(counts[0], size_B)
    assert all(bool((after <= before).all()) for before, after in itertools.pairwise(counts))
    assert int(torch.stack(counts).min()) == 1


def test_ten_tokens_in_ten_steps_are_one_less_hidden_every_time() -> None:
    counts = [int(F.hidden_counts(torch.tensor([10]), step, steps=10)) for step in range(10)]

    assert counts == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_numbers_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match="`u_BT` has 2 along T"):
        F.drawn_places(torch.zeros(1), torch.zeros(1, 2), torch.ones(1, 3))
