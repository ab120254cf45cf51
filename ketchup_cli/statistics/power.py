"""What a test could have shown: the smallest detectable difference, and how many items it takes."""

from __future__ import annotations

import math

from ketchup_cli.statistics.quantiles import student_quantile

ALPHA = 0.05
"""Largest corrected p that is called significant."""
POWER = 0.8
"""Chance of finding a difference that is there, unless told otherwise."""


def minimum_detectable(
    error: float, *, degrees: float = math.inf, alpha: float = ALPHA, power: float = POWER
) -> float:
    """Return the smallest true difference a two-sided test finds with this power.

        (t_{1 - alpha/2} + t_{power}) * error

    Args:
        error: standard error of the difference.
        degrees: degrees of freedom of that error; inf takes the normal distribution.
        alpha: level of the test.
        power: chance of finding it.

    Source: Cohen 1988, chapter 2, normal approximation; Bloom 1995 for the form with t.
    """
    return (student_quantile(1 - alpha / 2, degrees) + student_quantile(power, degrees)) * error


def items_needed(
    difference: float, *, variance: float, alpha: float = ALPHA, power: float = POWER
) -> int:
    """Return how many items a two-sided test of a mean needs to find a difference.

        N = ceil(variance * ((z_{1 - alpha/2} + z_{power}) / difference)^2)

    Args:
        difference: the true mean that shall be found, not 0.
        variance: of one item's value.
        alpha: level of the test.
        power: chance of finding it.
    """
    return math.ceil(
        (minimum_detectable(math.sqrt(variance), alpha=alpha, power=power) / difference) ** 2
    )


def win_rate_variance(rate: float, *, ties: float = 0.0) -> float:
    """Return the variance of one item of a win rate: 1 for a win, 1/2 for a tie, 0 for a loss.

    Var = (rate - ties/2) + ties/4 - rate^2
    """
    return rate - ties / 4 - rate**2
