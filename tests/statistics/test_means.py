import math

import numpy
import pytest

from ketchup_cli.statistics.means import clustered, mean_interval

VALUES = {str(item): float(value) for item, value in enumerate([3, 1, 4, 1, 5, 9, 2, 6])}
CLUSTERS = {"0": "a", "1": "a", "2": "b", "5": "b", "6": "b"}


def test_the_error_of_items_that_stand_alone_is_that_of_a_mean() -> None:
    found = clustered(VALUES, {})

    values_N = numpy.array(list(VALUES.values()))
    assert found.mean == pytest.approx(values_N.mean())
    assert found.error == pytest.approx(values_N.std(ddof=1) / math.sqrt(len(values_N)))


def test_the_error_of_clusters_adds_every_product_of_two_of_the_same() -> None:
    found = clustered(VALUES, CLUSTERS)

    mean = sum(VALUES.values()) / len(VALUES)
    products = sum(
        (one - mean) * (other - mean)
        for a, one in VALUES.items()
        for b, other in VALUES.items()
        if CLUSTERS.get(a, a) == CLUSTERS.get(b, b)
    )
    # of eight items five are in clusters a and b: five clusters in all
    assert found.error == pytest.approx(math.sqrt(5 / 4 * products) / len(VALUES))


def test_few_clusters_have_an_interval_by_t_cut_at_the_ends_of_the_scale() -> None:
    found = clustered({"1": 0.0, "2": 1.0, "3": 1.0}, {})

    low, high = mean_interval(found, within=(0.0, 1.0), resamples=100, seed=0) or (0, 0)

    assert (low, high) == (0.0, 1.0)
    assert mean_interval(found, within=(-9, 9), resamples=100, seed=0) == pytest.approx(
        (2 / 3 - 4.302653 / 3, 2 / 3 + 4.302653 / 3), abs=1e-5
    )


def test_one_cluster_has_no_interval() -> None:
    found = clustered(VALUES, dict.fromkeys(VALUES, "a"))

    assert mean_interval(found, within=(0, 9), resamples=100, seed=0) is None
