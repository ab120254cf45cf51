"""Two systems on one metric: the difference, its interval, a test, and what the test could show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from ketchup_cli.statistics.resampling import (
    LEVEL,
    Summed,
    percentile_interval,
    shuffled_differences,
    whole,
)
from ketchup_cli.statistics.seeds import Runs, Spread, spread
from ketchup_cli.statistics.significance import (
    bootstrap_p,
    mcnemar_p,
    randomisation_p,
    sacrebleu_bootstrap_p,
    sign_flip_p,
)

if TYPE_CHECKING:
    from ketchup_cli.statistics.resampling import Floats

BOOTSTRAP = "paired bootstrap"
RANDOMISATION = "approximate randomisation"
SIGN_FLIP = "sign-flip permutation"
MCNEMAR = "exact McNemar"
SEEDS_TOO = "t over items and seeds"
RIGHT = 100.0
"""Value of an item that is right, where items are right or wrong."""

Covers = Literal["items", "items and seeds"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """All runs of one system on one metric.

    Invariant: every system of a comparison has the same items and was resampled by the same draws.
    """

    runs: tuple[Summed, ...]
    """One for every seed."""
    resampled: tuple[Floats, ...]
    """[B] values of each over resamples of the items."""
    items_RN: Floats | None
    """[R, N] values of the items where the metric is their mean, else None."""

    @property
    def values(self) -> tuple[float, ...]:
        """The value of every run."""
        return tuple(whole(run) for run in self.runs)

    @property
    def value(self) -> float:
        """The mean over runs."""
        return sum(self.values) / len(self.runs)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How differences are tested."""

    randomise: bool = False
    """Whether a metric of the whole corpus is tested by randomisation, not by bootstrap."""
    trials: int = 10_000
    """Random changes of sides or of signs."""
    seed: int = 0
    """Decides them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The other system less the first, on one metric."""

    value: float
    interval: tuple[float, float] | None
    """At `LEVEL`; None for a single item."""
    error: float
    """Standard error."""
    degrees: float
    """Degrees of freedom of the error."""
    p: float
    """Two-sided, before any correction."""
    test: str
    covers: Covers
    """Over what the interval and the test generalise."""
    sacrebleu_p: float | None = None
    """What sacrebleu's paired bootstrap prints for the same draws, where that is the test."""


def value_interval(system: System) -> tuple[float, float] | None:
    """Return the interval of a system's value: over items and seeds, or of one run over items."""
    count = len(system.runs[0].statistics_NK)
    if count < 2:
        return None
    if len(system.runs) < 2:
        return percentile_interval(system.resampled[0])
    return spread([_runs(system)], items=count).interval(system.value)


def difference(one: System, other: System, settings: Settings) -> Difference:
    """Return how far `other` is above `one`, with interval and test.

    With two runs or more on both sides, seeds are a random factor beside items, and the test is
    that of `Spread`. Otherwise runs are taken as they are: percentile bootstrap over items, and
    McNemar where items are right or wrong, sign flips where the metric is a mean over items, or
    else the bootstrap or randomisation.
    """
    count = len(one.runs[0].statistics_NK)
    value = other.value - one.value
    if count < 2:
        return Difference(
            value=value,
            interval=None,
            error=0.0,
            degrees=0.0,
            p=1.0,
            test="none: one item",
            covers="items",
        )
    if min(len(one.runs), len(other.runs)) >= 2:
        return _over_seeds(value, spread([_runs(other), _runs(one)], items=count))
    moved_B = _mean_of_runs(other) - _mean_of_runs(one)
    test, p = _test(one, other, settings, moved_B)
    return Difference(
        value=value,
        interval=percentile_interval(moved_B, level=LEVEL),
        error=float(moved_B.std()),
        degrees=count - 1,
        p=p,
        test=test,
        covers="items",
        sacrebleu_p=sacrebleu_bootstrap_p(moved_B, value) if test == BOOTSTRAP else None,
    )


def _over_seeds(value: float, found: Spread) -> Difference:
    return Difference(
        value=value,
        interval=found.interval(value),
        error=found.error,
        degrees=found.degrees,
        p=found.p(value),
        test=SEEDS_TOO,
        covers="items and seeds",
    )


def _runs(system: System) -> Runs:
    import numpy

    return Runs(values_R=numpy.asarray(system.values), resampled_RB=numpy.stack(system.resampled))


def _mean_of_runs(system: System) -> Floats:
    """Return [B] means over runs, over resamples of the items."""
    return sum(system.resampled[1:], start=system.resampled[0]) / len(system.runs)


def _test(one: System, other: System, settings: Settings, moved_B: Floats) -> tuple[str, float]:
    """Return name and p of the test for systems whose runs are taken as they are."""
    alone = len(one.runs) == len(other.runs) == 1
    if one.items_RN is not None and other.items_RN is not None:
        sides = (one.items_RN, other.items_RN)
        if alone and all(_right_or_wrong(items_RN) for items_RN in sides):
            return MCNEMAR, mcnemar_p(*_only(sides[0][0], sides[1][0]))
        apart_N = sides[1].mean(axis=0) - sides[0].mean(axis=0)
        return SIGN_FLIP, sign_flip_p(apart_N, trials=settings.trials, seed=settings.seed)
    value = other.value - one.value
    if alone and settings.randomise:
        shuffled_B = shuffled_differences(
            one.runs[0], other.runs[0], trials=settings.trials, seed=settings.seed
        )
        return RANDOMISATION, randomisation_p(shuffled_B, value)
    return BOOTSTRAP, bootstrap_p(moved_B, value)


def _right_or_wrong(items_RN: Floats) -> bool:
    import numpy

    return bool(numpy.isin(items_RN, (0.0, RIGHT)).all())


def _only(one_N: Floats, other_N: Floats) -> tuple[int, int]:
    """Return how many items each of two systems alone gets right."""
    return int((one_N > other_N).sum()), int((one_N < other_N).sum())
