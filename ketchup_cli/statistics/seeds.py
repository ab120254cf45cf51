"""Seeds as a random factor beside items: how far a mean over runs would move with others of both.

Every run answers the same items, so runs and items are crossed:

    y_ri = mu + item_i + seed_r + (item x seed)_ri

The spread of runs on these items holds seed and item x seed; a bootstrap over items with the runs
held fixed holds item and item x seed. What both hold is taken off once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ketchup_cli.statistics.resampling import LEVEL

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Variance of a mean over runs, or of a difference of such means, by where it comes from."""

    items: float
    """What other items would change."""
    seeds: float
    """What other seeds would change."""
    degrees: float
    """Degrees of freedom of the sum (Satterthwaite); inf where nothing varies."""

    @property
    def error(self) -> float:
        """Standard error: the root of both together."""
        return math.sqrt(self.items + self.seeds)

    def interval(self, value: float, *, level: float = LEVEL) -> tuple[float, float]:
        """Return `value` less and plus t times the standard error."""
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, self.degrees)) * self.error
        return value - half, value + half

    def p(self, value: float) -> float:
        """Return the two-sided p of `value` being 0."""
        from scipy.stats import t

        if self.error == 0.0:
            return 1.0 if value == 0.0 else 0.0
        return 2 * float(t.sf(abs(value) / self.error, self.degrees))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The runs of one system: their values, and the same over resamples of the items."""

    values_R: Floats
    """[R] values, one a seed; R >= 2."""
    resampled_RB: Floats
    """[R, B] the same over resamples of the items, all systems and runs on the same draws."""


def spread(systems: Sequence[Runs], *, items: int) -> Spread:
    """Return the spread of the mean over runs of one system, or of the difference of two.

        seeds  = sum_k s_k^2 / R_k                 s_k^2 the variance of system k's values
        shared = sum_k w_k / R_k                   w_k   the item x seed part, by the bootstrap
        items  = max(0, Var_B(difference) - shared)
        degrees = (items + seeds)^2 / (items^2 / (N - 1) + sum_k (s_k^2 / R_k)^2 / (R_k - 1))

    Runs count as independent draws, of which no two systems share one.

    Args:
        systems: one, or two whose difference is meant.
        items: N.

    Source: Satterthwaite 1946, Welch 1947, for a crossed two-way design (Searle et al. 1992,
    chapter 4). Differs: the items' part is a bootstrap, for metrics that are no means.
    """
    signs = (1.0, -1.0)
    moved_B = sum(
        sign * one.resampled_RB.mean(axis=0)
        for sign, one in zip(signs[: len(systems)], systems, strict=True)
    )
    own = [float(one.values_R.var(ddof=1)) / len(one.values_R) for one in systems]
    shared = sum(_interaction(one) / len(one.values_R) for one in systems)
    by_items = max(0.0, float(moved_B.var()) - shared)
    below = by_items**2 / (items - 1) + sum(
        part**2 / (len(one.values_R) - 1) for part, one in zip(own, systems, strict=True)
    )
    total = by_items + sum(own)
    return Spread(
        items=by_items, seeds=sum(own), degrees=total**2 / below if below > 0 else math.inf
    )


def _interaction(runs: Runs) -> float:
    """Return the variance of one run's value about the runs' mean, from the draw of items."""
    apart_RB = runs.resampled_RB - runs.resampled_RB.mean(axis=0)
    return float(apart_RB.var(axis=1).sum()) / (len(apart_RB) - 1)
