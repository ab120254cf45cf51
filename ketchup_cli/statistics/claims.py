"""What may be claimed from a difference: its rule in one place, for scores and for verdicts."""

from typing import Literal

from ketchup_cli.statistics.pairs import Difference
from ketchup_cli.statistics.power import ALPHA

ITEMS_ASKED = 30
"""Fewest items for any claim."""
SEEDS_ASKED = 3
"""Fewest runs of each system for a claim about the methods and not about these runs."""

Claim = Literal["higher", "lower", "not shown", "no difference", "too few items"]


def claim(found: Difference, p_corrected: float, *, items: int) -> Claim:
    """Return what may be said of the other system against the first.

    no difference: no item's statistics differ, so there is nothing to test. All else: see `shown`.
    """
    if found.value == 0.0 and found.error == 0.0:
        return "no difference"
    return shown(found.interval, p_corrected, items=items)


def shown(
    interval: tuple[float, float] | None,
    p_corrected: float,
    *,
    items: int,
    none: float = 0.0,
) -> Claim:
    """Return what an interval and a test show together.

    higher or lower: the corrected p is below 0.05 and the interval leaves `none` out, on N >= 30
    independent items.

    Args:
        interval: of a mean.
        p_corrected: for the number of tests.
        items: N; what was drawn together is one.
        none: what the mean is where there is no difference.
    """
    if items < ITEMS_ASKED or interval is None:
        return "too few items"
    if p_corrected >= ALPHA or interval[0] <= none <= interval[1]:
        return "not shown"
    return "higher" if interval[0] > none else "lower"


def in_quality(shown: Claim, better: Literal["higher", "lower", "neither"]) -> str:
    """Return the claim in words: `better` and `worse` where the metric has a good end."""
    if shown not in {"higher", "lower"} or better == "neither":
        return shown
    return "better" if shown == better else "worse"
