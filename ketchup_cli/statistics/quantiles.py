"""Quantiles of Student's t, without `scipy.stats`: it takes 20 MB and most of a second to load."""

from __future__ import annotations

import math


def student_quantile(share: float, degrees: float = math.inf) -> float:
    """Return the value below which `share` of Student's t lies.

    Args:
        share: in (0, 1).
        degrees: of freedom; inf is the normal distribution.
    """
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if math.isinf(degrees) else stdtrit(degrees, share))
