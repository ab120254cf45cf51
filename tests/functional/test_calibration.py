import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError


def some(count, *, seed=0):
    """Confidences, and right answers that have nothing to do with them."""
    generator = torch.Generator().manual_seed(seed)
    conf_N = torch.rand(count, generator=generator, dtype=torch.float64)
    return conf_N, (torch.rand(count, generator=generator) < 0.5).double()


def ece(conf_N, right_N, **settings):
    return float(F.calibration_error(F.calibration_bins(conf_N, right_N, **settings)))


def slow_ece(conf, right, bins):
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            (c, r)
            for c, r in zip(conf, right, strict=True)
            if low < c <= high or (number == 0 and c == 0)
        ]
        if inside:
            mean_conf = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(r for _, r in inside) / len(inside)
            total += len(inside) / len(conf) * abs(accuracy - mean_conf)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_error_is_that_of_a_slow_loop(bins):
    conf_N, right_N = some(200)

    assert ece(conf_N, right_N, bins=bins) == pytest.approx(
        slow_ece(conf_N.tolist(), right_N.tolist(), bins)
    )


def test_nine_tenths_sure_and_right_six_times_of_ten_is_an_error_of_three_tenths():
    conf_N = torch.full((10,), 0.9, dtype=torch.float64)
    right_N = torch.tensor([1.0] * 6 + [0.0] * 4)

    assert ece(conf_N, right_N) == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", range(1, 16))
def test_a_bin_holds_its_right_edge(number, dtype):
    conf_N = torch.tensor([number / 15], dtype=dtype)

    count_K = F.calibration_bins(conf_N, torch.ones(1))[0]

    assert count_K.nonzero().flatten().tolist() == [number - 1]


def test_a_confidence_of_zero_is_in_the_first_bin():
    assert F.calibration_bins(torch.zeros(1), torch.zeros(1))[0, 0].item() == 1


def test_right_answers_drawn_by_their_confidence_have_an_error_that_vanishes():
    generator = torch.Generator().manual_seed(3)
    conf_N = torch.rand(200_000, generator=generator, dtype=torch.float64)
    right_N = (torch.rand(200_000, generator=generator) < conf_N).double()
    few, many = ece(conf_N[:200], right_N[:200]), ece(conf_N, right_N)

    # the mean of 13,000 draws in a bin is off by 0.003 on average
    assert many < 0.006 < few


def test_the_order_does_not_matter():
    conf_N, right_N = some(50)
    order_N = torch.randperm(50, generator=torch.Generator().manual_seed(1))

    assert ece(conf_N[order_N], right_N[order_N]) == pytest.approx(ece(conf_N, right_N), abs=1e-12)


def test_the_bins_of_two_halves_add_up_to_those_of_the_whole():
    conf_N, right_N = some(60)
    halves = [
        F.calibration_bins(conf_N[part], right_N[part]) for part in (slice(25), slice(25, 60))
    ]

    torch.testing.assert_close(sum(halves), F.calibration_bins(conf_N, right_N))


def test_certainty_that_is_always_wrong_has_an_error_of_one():
    assert ece(torch.ones(7), torch.zeros(7)) == 1.0


def test_nothing_at_all_has_no_error():
    assert ece(torch.zeros(0), torch.zeros(0)) == 0.0


def test_confidence_is_the_largest_probability_and_whether_it_is_of_the_right_token():
    logits_NV = torch.tensor([[1.0, 3.0], [2.0, 2.0 - math.log(3)]]).log_softmax(-1)

    conf_N, right_N = F.confidence(logits_NV, torch.tensor([1, 1]))

    torch.testing.assert_close(conf_N, torch.tensor([1 / (1 + math.exp(-2)), 0.75]))
    assert right_N.tolist() == [1.0, 0.0]


def test_confidence_of_half_precision_is_computed_in_float32():
    logits_NV = torch.tensor([[8.0, 0.0, 0.0]], dtype=torch.bfloat16)

    conf_N, right_N = F.confidence(logits_NV, torch.tensor([0]))

    assert {conf_N.dtype, right_N.dtype} == {torch.float32}
    assert conf_N.item() == pytest.approx(1 / (1 + 2 * math.exp(-8)))


def test_no_bins_are_refused():
    with pytest.raises(ShapeError, match="`bins` is 0"):
        F.calibration_bins(torch.zeros(1), torch.zeros(1), bins=0)


def test_the_brier_score_is_that_of_a_slow_loop():
    generator = torch.Generator().manual_seed(3)
    logits_NV = 4 * torch.randn(20, 6, generator=generator, dtype=torch.float64)
    tokens_N = torch.randint(6, (20,), generator=generator)

    found_N = F.brier_scores(logits_NV, tokens_N)

    slow = [
        sum((p - (v == int(a))) ** 2 for v, p in enumerate(row))
        for row, a in zip(logits_NV.softmax(dim=-1).tolist(), tokens_N, strict=True)
    ]
    assert found_N.tolist() == pytest.approx(slow, abs=1e-12)


def test_seven_tenths_on_the_right_of_two_tokens_is_a_brier_score_of_eighteen_hundredths():
    logits_NV = torch.tensor([[0.7, 0.3]], dtype=torch.float64).log()

    assert float(F.brier_scores(logits_NV, torch.tensor([0]))) == pytest.approx(0.18, abs=1e-12)


@pytest.mark.parametrize(("token", "expected"), [(0, 0.0), (1, 2.0)], ids=["right", "wrong"])
def test_all_mass_on_one_token_has_the_least_or_the_largest_brier_score(token, expected):
    logits_NV = torch.tensor([[90.0, -90.0, -90.0]])

    assert float(F.brier_scores(logits_NV, torch.tensor([token]))) == expected


def test_a_brier_score_for_half_precision_logits_is_at_least_float32():
    assert F.brier_scores(torch.zeros(1, 3).bfloat16(), torch.tensor([0])).dtype == torch.float32
