import math
import random

import numpy
import pytest

from ketchup_cli.errors import DataError
from ketchup_cli.scoring import foresight
from ketchup_cli.scoring.foresight import Bucket, Tokens
from ketchup_cli.scoring.measurement import intervals


def some(items: int = 12, *, seed: int = 0) -> Tokens:
    """A few tokens an example; who is sure is right more often."""
    draw = numpy.random.default_rng(seed)
    lengths = draw.integers(1, 9, size=items)
    count = int(lengths.sum())
    conf_N = draw.random(count).astype(numpy.float32)
    return Tokens(
        item_N=numpy.repeat(numpy.arange(items), lengths),
        items=items,
        values={
            "nll": draw.exponential(size=count).astype(numpy.float32),
            "brier": (2 * draw.random(count)).astype(numpy.float32),
            "confidence": conf_N,
            "right": (draw.random(count) < conf_N).astype(numpy.float32),
        },
        frequency_N=draw.integers(0, 30, size=count),
    )


def measured(tokens: Tokens, *, bins: int = 5, spacing: str = "width", edges: tuple[int, ...] = ()):
    inner = foresight.bin_edges(tokens.values["confidence"], bins=bins, spacing=spacing)
    buckets = foresight.buckets_of(edges) if edges else ()
    found = foresight.measure(
        tokens, inner, signature=lambda name: f"{name}|bins:{bins}", buckets=buckets
    )
    return {one.metric: one for one in found}


def slow_ece(conf, right, bins):
    total = 0.0
    for number in range(bins):
        inside = [
            (c, r)
            for c, r in zip(conf, right, strict=True)
            if number / bins < c <= (number + 1) / bins or (number == 0 and c == 0)
        ]
        total += abs(sum(r - c for c, r in inside))
    return total / len(conf)


def test_means_run_over_tokens_and_not_first_over_examples() -> None:
    tokens = some()

    found = measured(tokens)

    assert found["nll"].value == pytest.approx(float(tokens.values["nll"].mean()), rel=1e-6)
    assert found["brier"].value == pytest.approx(float(tokens.values["brier"].mean()), rel=1e-6)
    assert found["perplexity"].value == pytest.approx(math.exp(found["nll"].value))
    assert found["token-accuracy"].value == pytest.approx(float(tokens.values["right"].mean()))


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_calibration_error_is_that_of_a_slow_loop(bins: int) -> None:
    tokens = some(40)

    found = measured(tokens, bins=bins)

    conf, right = (tokens.values[name].tolist() for name in ("confidence", "right"))
    assert found["ece"].value == pytest.approx(slow_ece(conf, right, bins), abs=1e-6)


def test_the_calibration_error_is_the_one_training_logs() -> None:
    import torch

    from ketchup_cli import functional as F

    tokens = some(40)

    bins_3K = F.calibration_bins(
        *(torch.tensor(tokens.values[name]) for name in ("confidence", "right"))
    )

    value = measured(tokens, bins=F.CALIBRATION_BINS)["ece"].value
    assert value == pytest.approx(float(F.calibration_error(bins_3K)), abs=1e-6)


def test_nine_tenths_sure_and_right_six_times_of_ten_is_an_error_of_three_tenths() -> None:
    tokens = Tokens(
        item_N=numpy.repeat([0, 1], 5),
        items=2,
        values={
            "nll": numpy.ones(10),
            "brier": numpy.ones(10),
            "confidence": numpy.full(10, 0.9),
            "right": numpy.array([1.0] * 6 + [0.0] * 4),
        },
    )

    assert measured(tokens)["ece"].value == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize("number", range(1, 16))
def test_a_bin_holds_its_right_edge(number: int) -> None:
    conf_N = numpy.array([number / 15], dtype=numpy.float32)
    edges_K = foresight.bin_edges(conf_N, bins=15, spacing="width")

    assert foresight.bins_of(conf_N, edges_K).tolist() == [number - 1]


def test_bins_of_equal_mass_hold_equally_many_tokens() -> None:
    tokens = some(200)
    conf_N = tokens.values["confidence"]
    edges_K = foresight.bin_edges(conf_N, bins=8, spacing="mass")

    counts = [row["tokens"] for row in foresight.reliability(tokens, edges_K)]

    assert max(counts) - min(counts) <= 1
    assert sum(counts) == len(conf_N)


def test_a_row_of_reliability_is_the_mean_of_its_tokens() -> None:
    tokens = some(60)
    conf_N, right_N = tokens.values["confidence"], tokens.values["right"]
    edges_K = foresight.bin_edges(conf_N, bins=4, spacing="width")

    row = foresight.reliability(tokens, edges_K)[2]

    inside = (conf_N > 0.5) & (conf_N <= 0.75)
    assert (row["low"], row["high"], row["tokens"]) == (0.5, 0.75, int(inside.sum()))
    assert row["confidence"] == pytest.approx(float(conf_N[inside].mean()), rel=1e-6)
    assert row["accuracy"] == pytest.approx(float(right_N[inside].mean()))


def test_an_empty_bin_has_neither_confidence_nor_accuracy() -> None:
    tokens = some(1)
    edges_K = numpy.array([2.0], dtype=numpy.float32)

    row = foresight.reliability(tokens, edges_K)[1]

    assert (row["tokens"], row["confidence"], row["accuracy"]) == (0, None, None)


def test_buckets_are_named_by_what_is_in_them() -> None:
    names = [bucket.name for bucket in foresight.buckets_of((1, 2, 10, 1000))]

    assert names == ["0", "1", "2-9", "10-999", "1000+"]


def test_every_token_is_in_one_bucket() -> None:
    tokens = some(30)

    inside = sum(bucket.mask(tokens).astype(int) for bucket in foresight.buckets_of((1, 5, 20)))

    assert inside.tolist() == [1] * len(tokens.item_N)


def test_the_figure_of_a_bucket_is_that_of_its_tokens_alone() -> None:
    tokens = some(40)

    found = measured(tokens, edges=(10,))

    rare_N = tokens.frequency_N < 10
    conf, right = (tokens.values[name][rare_N].tolist() for name in ("confidence", "right"))
    assert found["nll[0-9]"].value == pytest.approx(
        float(tokens.values["nll"][rare_N].mean()), rel=1e-6
    )
    assert found["ece[0-9]"].value == pytest.approx(slow_ece(conf, right, 5), abs=1e-6)
    assert found["nll[0-9]"].signature == "nll[0-9]|bins:5"


def test_the_buckets_together_are_the_whole() -> None:
    tokens = some(40)

    found = measured(tokens, edges=(3, 12))

    shares = [
        (found[f"brier[{bucket.name}]"].value, float(bucket.mask(tokens).mean()))
        for bucket in foresight.buckets_of((3, 12))
    ]
    assert sum(value * share for value, share in shares) == pytest.approx(found["brier"].value)


def test_a_bucket_without_tokens_has_no_figure() -> None:
    found = measured(some(), edges=(10, 1000))

    assert "nll[10-999]" in found
    assert "nll[1000+]" not in found


def test_what_a_teacher_adds_is_measured_where_it_is_there() -> None:
    tokens = some()
    apart_N = numpy.linspace(0, 1, len(tokens.item_N))

    more = Tokens(item_N=tokens.item_N, items=tokens.items, values={**tokens.values, "kl": apart_N})

    assert measured(more)["kl"].value == pytest.approx(0.5)
    assert "kl" not in measured(tokens)


def test_the_order_of_examples_changes_no_figure() -> None:
    tokens = some(30)
    order = list(range(30))
    random.Random(1).shuffle(order)
    places = numpy.concatenate([numpy.flatnonzero(tokens.item_N == item) for item in order])

    other = Tokens(
        item_N=numpy.concatenate([
            numpy.full(int((tokens.item_N == item).sum()), new) for new, item in enumerate(order)
        ]),
        items=30,
        values={name: value_N[places] for name, value_N in tokens.values.items()},
    )

    for name, one in measured(other).items():
        assert one.value == pytest.approx(measured(tokens)[name].value, rel=1e-6)


def test_intervals_lie_around_the_mean_and_narrow_with_more_examples() -> None:
    few, many = (measured(some(items))["nll"] for items in (20, 2000))

    ((low, high),) = intervals([few], resamples=200, seed=0)
    ((lower, higher),) = intervals([many], resamples=200, seed=0)

    assert low < few.value < high
    assert higher - lower < (high - low) / 4


def test_a_bucket_that_a_resample_may_miss_has_no_interval() -> None:
    tokens = some(20)
    frequency_N = numpy.full(len(tokens.item_N), 50)
    frequency_N[0] = 1
    lone = Tokens(item_N=tokens.item_N, items=20, values=tokens.values, frequency_N=frequency_N)
    found = measured(lone, edges=(10,))

    rare, often = intervals([found["nll[0-9]"], found["nll[10+]"]], resamples=100, seed=0)

    assert rare is None
    assert often is not None


def test_an_example_without_a_token_is_refused() -> None:
    tokens = some(3)
    gap = Tokens(item_N=tokens.item_N + 1, items=4, values=tokens.values)

    with pytest.raises(DataError, match="example number 0 has no token"):
        measured(gap)


def test_a_bucket_knows_its_bounds() -> None:
    tokens = some(30)

    assert Bucket("5-8", 5, 9).mask(tokens).tolist() == [5 <= n < 9 for n in tokens.frequency_N]
