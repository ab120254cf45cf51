import pytest
import torch

from ketchup_cli.errors import SpecError
from ketchup_cli.lab.moments import Figure, Moments, figures, group_count


def moments_of(rows_NP: torch.Tensor, *, groups: int = 8) -> Moments:
    moments = Moments(groups, rows_NP[0])
    for row_P in rows_NP:
        moments.add(row_P, row_P)
    return moments


def told(rows_NP: torch.Tensor, *, groups: int = 8) -> dict[str, Figure]:
    own = moments_of(rows_NP, groups=groups)
    return figures(own, own, unit=own, quantile=2.0)


def rows(count: int, *, mean: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return mean + torch.randn(count, 5, generator=generator)


def test_batches_go_round_the_groups():
    moments = moments_of(torch.eye(10), groups=4)

    assert moments.sizes_G.tolist() == [3, 3, 2, 2]
    assert moments.sums_GP[1].nonzero().flatten().tolist() == [1, 5, 9]


def test_the_number_of_groups_moves_no_figure_only_intervals():
    one, other = told(rows(40), groups=8), told(rows(40), groups=40)

    for name, figure in one.items():
        assert figure.value == pytest.approx(other[name].value, rel=1e-5)
    assert one["trace"].low != other["trace"].low


def test_the_mean_length_is_that_of_the_single_gradients():
    rows_NP = rows(12)

    assert told(rows_NP)["norm"].value == pytest.approx(float(rows_NP.norm(dim=1).mean()))


def test_gradients_that_are_all_alike_have_no_spread_and_one_direction():
    found = told(torch.ones(16, 5))

    assert found["trace"] == Figure(value=0.0, low=None, high=None)
    assert found["cosine"].value == pytest.approx(1)


def test_a_mean_lost_in_noise_is_told_as_nothing_rather_than_a_number():
    # each vector and its opposite: the mean is 0, and the noise says so
    half_NP = rows(8, mean=0.0)
    found = told(torch.cat([half_NP, -half_NP]), groups=16)

    assert found["cosine"] == Figure(value=None, low=None, high=None)
    assert found["signal_to_noise"].value < 0


@pytest.mark.parametrize(
    ("memory_bytes", "groups"),
    [(1 << 30, 81), (10 * 4000 * 20, 20), (10 * 4000 * 8, 8)],
    ids=["one each", "what fits", "the fewest"],
)
def test_there_are_as_many_groups_as_memory_allows(memory_bytes: int, groups: int):
    found = group_count(81, vectors=10, size=1000, memory_bytes=memory_bytes)

    assert found == groups


def test_memory_for_too_few_groups_is_an_error_that_says_how_much_it_takes():
    with pytest.raises(SpecError, match=r"in 8 groups take 320,000 bytes") as caught:
        group_count(81, vectors=10, size=1000, memory_bytes=319_999)

    assert "memory_bytes=320000" in (caught.value.hint or "")
