import random

import pytest

from ketchup_cli.judging.measures import Mean, Resampling, Scale, corrected, mean_over_items

RATE = Scale(least=0.0, most=1.0, none=0.5)


def drawn(draw: random.Random, documents: int) -> tuple[dict[str, float], dict[str, str]]:
    """Return wins and losses of five items a document, decided as much by it as by the item."""
    values: dict[str, float] = {}
    clusters: dict[str, str] = {}
    for document in range(documents):
        shared = draw.gauss(0, 1)
        for number in range(5):
            item = f"{document}.{number}"
            values[item] = float(shared + draw.gauss(0, 1) > 0)
            clusters[item] = f"{document}.0"
    return values, clusters


def mean(values: dict[str, float], clusters: dict[str, str], *, seed: int = 0) -> Mean:
    how = Resampling(resamples=300, seed=seed, clusters=clusters)
    return mean_over_items(values, RATE, tests=1, how=how)


@pytest.mark.parametrize("documents", [40, 12], ids=["bootstrap", "t"])
def test_intervals_and_tests_keep_their_word_where_five_items_share_a_document_and_only_so(
    documents: int,
) -> None:
    draw, runs = random.Random(5), 500
    covered, found = {"together": 0, "ignored": 0}, {"together": 0, "ignored": 0}
    for seed in range(runs):
        values, clusters = drawn(draw, documents)
        for name, known in (("together", clusters), ("ignored", {})):
            made = mean(values, known, seed=seed)
            assert made.interval
            assert made.p
            covered[name] += made.interval[0] <= 0.5 <= made.interval[1]
            found[name] += made.p <= 0.05

    # 95 % less and plus two standard errors of 500 draws
    assert 0.93 <= covered["together"] / runs <= 0.97
    assert covered["ignored"] / runs <= 0.88
    # what is not there
    assert 0.03 <= found["together"] / runs <= 0.07
    assert found["ignored"] / runs >= 0.12


def test_an_item_said_twice_is_no_more_evidence() -> None:
    values, _ = drawn(random.Random(1), 8)
    twice = {f"{item}{copy}": value for item, value in values.items() for copy in "ab"}

    found = mean(twice, {item: item[:-1] for item in twice})

    once = mean(values, {})
    assert (found.interval, found.p, found.clusters) == (once.interval, once.p, 40)
    assert found.detectable == pytest.approx(once.detectable)


def test_a_single_document_has_a_mean_and_nothing_else_to_tell() -> None:
    values, clusters = drawn(random.Random(1), 1)

    found = mean(values, clusters)

    assert (found.clusters, found.interval, found.detectable) == (1, None, None)
    assert found.p == 1.0


def test_bounds_take_all_that_is_missing_for_the_worst_and_for_the_best() -> None:
    assert Scale(least=1, most=5, none=3).bounds(8.0, judged=2, missing=2) == (2.5, 4.5)


def test_what_was_not_tested_counts_in_no_correction() -> None:
    assert corrected([0.02, None, 0.01]) == (0.02, None, 0.02)
