import math

import pytest
from scipy.stats import norm, t

from ketchup_cli.statistics.quantiles import student_quantile


@pytest.mark.parametrize("share", [0.025, 0.5, 0.8, 0.975])
def test_quantiles_are_those_of_another_library(share: float) -> None:
    for degrees in (1, 2.5, 29, 1e6):
        assert student_quantile(share, degrees) == float(t.ppf(share, degrees))

    assert student_quantile(share) == student_quantile(share, math.inf) == float(norm.ppf(share))
