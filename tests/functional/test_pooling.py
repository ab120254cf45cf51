import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])


def random(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_sparsemax(scores: list[float]) -> list[float]:
    """The threshold by halving: what is above it adds up to 1."""
    low, high = min(scores) - 1.0, max(scores)
    for _ in range(200):
        middle = (low + high) / 2
        total = sum(max(0.0, score - middle) for score in scores)
        low, high = (middle, high) if total > 1 else (low, middle)
    return [max(0.0, score - low) for score in scores]


@pytest.mark.parametrize("seed", range(5))
def test_sparsemax_is_the_nearest_point_of_the_simplex(seed: int) -> None:
    scores_N = 1.5 * random(7, seed=seed)

    shares_N = F.sparsemax(scores_N)

    assert shares_N.tolist() == pytest.approx(slow_sparsemax(scores_N.tolist()), abs=1e-12)
    assert float(shares_N.sum()) == pytest.approx(1.0)


def test_sparsemax_by_hand() -> None:
    # the first two share 1: 1.0 + 0.6 - 2 tau = 1, tau = 0.3; the last lies below it
    assert F.sparsemax(torch.tensor([1.0, 0.6, 0.1])).tolist() == pytest.approx([0.7, 0.3, 0.0])


def test_layers_are_summed_by_their_weights() -> None:
    layers, weights_N = [random(2, 4, 3, seed=n) for n in range(3)], torch.tensor([0.5, 0.0, 2.0])

    mixed_BTH = F.mixed_layers(layers, weights_N, MASK)

    assert torch.allclose(mixed_BTH, 0.5 * layers[0] + 2.0 * layers[2])


def test_normalised_layers_have_mean_0_and_variance_1_over_a_text_and_padding_has_no_say() -> None:
    layer_BTH = 3.0 + random(2, 4, 3)
    one = F.mixed_layers([layer_BTH], torch.ones(1), MASK, normalise=True)
    layer_BTH[0, 3] += 100.0
    other = F.mixed_layers([layer_BTH], torch.ones(1), MASK, normalise=True)

    own = one[0, :3]
    assert float(own.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(own.var(unbiased=False)) == pytest.approx(1.0, abs=1e-9)
    assert torch.allclose(other[0, :3], own)


def test_the_mean_state_is_over_tokens_alone() -> None:
    states_BTH = random(2, 4, 3)

    mean_BH = F.mean_state(states_BTH, MASK)

    assert torch.allclose(mean_BH[0], (states_BTH[0, 0] + states_BTH[0, 1] + states_BTH[0, 2]) / 3)
    assert torch.allclose(mean_BH[1], (states_BTH[1, 0] + states_BTH[1, 1]) / 2)


def test_features_of_a_text_its_reference_and_its_source_by_hand() -> None:
    text, reference, source = (torch.tensor([[value]]) for value in (2.0, 3.0, 5.0))

    assert F.comet_features(text, [reference, source]).tolist() == [[2, 3, 6, 1, 10, 3]]
    assert F.comet_features(text, [source]).tolist() == [[2, 5, 10, 3]]


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError, match="other_BH"):
        F.comet_features(random(2, 3), [random(2, 4)])
    with pytest.raises(ShapeError, match="mask_BT"):
        F.mean_state(random(2, 4, 3), MASK[:, :3])
