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

    higher or lower: the corrected p is below 0.05 and the interval leaves 0 out, on N >= 30 items.
    no difference: no item's statistics differ, so there is nothing to test.
    """
    if found.value == 0.0 and found.error == 0.0:
        return "no difference"
    if items < ITEMS_ASKED or found.interval is None:
        return "too few items"
    low, high = found.interval
    if p_corrected < ALPHA and (low > 0.0 or high < 0.0):
        return "higher" if low > 0.0 else "lower"
    return "not shown"


def in_quality(shown: Claim, better: Literal["higher", "lower", "neither"]) -> str:
    """Return the claim in words: `better` and `worse` where the metric has a good end."""
    if shown not in {"higher", "lower"} or better == "neither":
        return shown
    return "better" if shown == better else "worse"
