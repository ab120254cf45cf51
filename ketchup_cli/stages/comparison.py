"""The content of `comparison.json`: figures of every system, and what every pair differs by."""

from pathlib import Path
from typing import Literal, final

import msgspec

from ketchup_cli.errors import Damaged

FILE = "comparison.json"
ROLE = "system-{system}.{run}"
"""Role of the texts of one run; both numbers from 1, systems in the order of the spec."""


@final
class Metric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A metric that systems were compared on."""

    metric: str
    name: str
    """As papers write it."""
    better: Literal["higher", "lower", "neither"]
    """Which end is good."""
    signature: str
    """Settings that change the number, in the metric's own words."""


@final
class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One system on one metric."""

    value: float
    """Over the whole corpus; the mean over runs where there are several."""
    runs: tuple[float, ...]
    """The value of every run."""
    deviation: float | None
    """Standard deviation between runs; null for a single one."""
    interval: tuple[float, float] | None
    """95 %: over items for one run, over items and seeds for several; null for a single item."""


@final
class System(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One system: its runs and its figures."""

    name: str
    generations: tuple[str, ...]
    """Digest of the texts of every run."""
    models: tuple[str | None, ...]
    """Digest of the model that wrote them, where the texts tell."""
    figures: dict[str, Figure]
    """By metric."""


@final
class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two systems on one metric."""

    one: str
    """The system that is held against."""
    other: str
    metric: str
    difference: float
    """Value of `other` less that of `one`."""
    interval: tuple[float, float] | None
    """95 % interval of the difference, not corrected for the number of tests."""
    error: float
    """Standard error of the difference."""
    degrees: float | None
    """Degrees of freedom of that error."""
    test: str
    p: float
    """Two-sided, of this test alone."""
    p_holm: float
    """The same corrected for all tests of the comparison."""
    covers: Literal["items", "items and seeds"]
    """Over what interval and test generalise."""
    detectable: float | None
    """Smallest true difference this test would have found, at `power` and corrected for the number
    of tests; null where no text differs."""
    claim: Literal["higher", "lower", "not shown", "no difference", "too few items"]
    """What may be said of `other`."""
    same_texts: float
    """Share of texts that are equal in both, over all pairs of their runs."""
    sacrebleu_p: float | None
    """What sacreBLEU's paired bootstrap prints for these draws: one-sided, for comparison only."""


@final
class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `comparison.json`."""

    split: str
    examples: int
    metrics: tuple[Metric, ...]
    systems: tuple[System, ...]
    pairs: tuple[Pair, ...]
    tests: int
    """How many the p values are corrected for."""
    level: float
    """Of intervals."""
    alpha: float
    """Below which a corrected p counts."""
    power: float
    resamples: int
    seed: int
    sentences: tuple[str, ...]
    """What may be claimed, what may not, and the smallest difference that could have been shown."""
    warnings: tuple[str, ...]


def read(folder: Path) -> Comparison:
    """Return the comparison in an artifact's folder.

    Raises:
        Damaged: `comparison.json` is missing or not as `compare` writes it.
    """
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Comparison)
    except (OSError, msgspec.DecodeError) as error:
        raise Damaged(f"`{path}` is no comparison: {error}", hint="ketchup verify") from None


def of_metric(comparison: Comparison, metric: str) -> Metric:
    """Return what is known of a metric by its name."""
    return next(item for item in comparison.metrics if item.metric == metric)
