"""How well a model foresaw the tokens of references: calibration, likelihood, agreement, by frequency.

The numbers of every token come from elsewhere; here they become figures with intervals. Means run
over tokens, intervals over examples: what stands in one text is not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.scoring.words import labels

if TYPE_CHECKING:
    from ketchup_cli.scoring.measurement import Floats

Spacing = Literal["width", "mass"]
"""Bins of equal width, or of equally many tokens."""

MEANS = {
    "nll": "nll",
    "brier": "brier",
    "right": "token-accuracy",
    "same_choice": "top1-agreement",
    "kl": "kl",
    "reverse_kl": "reverse-kl",
    "tvd": "tvd",
}
"""Figures that are means over tokens: name of the number of a token, name of the metric."""

BY_FREQUENCY = ("nll", "brier", "ece", "token-accuracy")
"""Metrics that are told by the frequency of the reference token too."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Numbers of the N tokens of all examples, example after example."""

    item_N: Floats
    """Which example each token belongs to, from 0."""
    items: int
    """How many examples there are."""
    values: Mapping[str, Floats]
    """[N] by name: `nll` (nats), `brier`, `confidence`, `right`, and whatever else is known."""
    frequency_N: Floats | None = None
    """How often each token stands in the training text, where that was counted."""


@final
@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens seen at least `low` and less than `high` times in the training text."""

    name: str
    """`0`, `1-9` or `1000+`."""
    low: int
    high: int | None

    def mask(self, tokens: Tokens) -> Floats:
        """Return which of the tokens are in it."""
        assert tokens.frequency_N is not None
        inside_N = tokens.frequency_N >= self.low
        return inside_N if self.high is None else inside_N & (tokens.frequency_N < self.high)


def buckets_of(limits: Sequence[int]) -> tuple[Bucket, ...]:
    """Return the buckets between rising limits: below the first, between two, from the last on."""
    bounds = zip((0, *limits), (*limits, None), strict=True)
    return tuple(
        Bucket(name, low, high) for name, (low, high) in zip(labels(limits), bounds, strict=True)
    )


def bin_edges(conf_N: Floats, *, bins: int, spacing: Spacing) -> Floats:
    """Return the K - 1 inner edges of K bins of confidence.

        width   b / K
        mass    the quantiles b / K of the confidences; equal ones may leave a bin empty

    Args:
        conf_N: [N] confidences.
        bins: K, at least 1.
        spacing: how they are laid.

    Returns:
        [K - 1] in the confidences' own precision: one of exactly b / K is on the left of it.
    """
    import numpy

    inner_K = numpy.arange(1, bins) / bins
    if spacing == "mass":
        inner_K = numpy.quantile(conf_N, inner_K, method="inverted_cdf")
    return numpy.asarray(inner_K, dtype=conf_N.dtype)


def bins_of(conf_N: Floats, edges_K: Floats) -> Floats:
    """Return the bin of every confidence; a bin holds its right edge."""
    import numpy

    return numpy.searchsorted(edges_K, conf_N, side="left")


def reliability(
    tokens: Tokens, edges_K: Floats, *, within: Bucket | None = None
) -> list[dict[str, Any]]:
    """Return a row a bin: its bounds, its tokens, their mean confidence and accuracy.

    Mean and accuracy of an empty bin are None.
    """
    import numpy

    chosen_N = _chosen(tokens, within)
    conf_N, right_N = (
        tokens.values[name][chosen_N].astype(float) for name in ("confidence", "right")
    )
    bins = len(edges_K) + 1
    which_N = bins_of(tokens.values["confidence"][chosen_N], edges_K)
    count_K, conf_K, right_K = (
        numpy.bincount(which_N, weights=weight_N, minlength=bins)
        for weight_N in (numpy.ones_like(conf_N), conf_N, right_N)
    )
    bounds = [0.0, *(float(edge) for edge in edges_K), 1.0]
    return [
        {
            "low": bounds[b],
            "high": bounds[b + 1],
            "tokens": int(count_K[b]),
            "confidence": float(conf_K[b] / count_K[b]) if count_K[b] else None,
            "accuracy": float(right_K[b] / count_K[b]) if count_K[b] else None,
        }
        for b in range(bins)
    ]


def measure(
    tokens: Tokens,
    edges_K: Floats,
    *,
    signature: Callable[[str], str],
    buckets: Sequence[Bucket] = (),
) -> tuple[Measurement, ...]:
    """Return every figure over all tokens, then those of each bucket that has any.

        ece          sum_b |sum of right - confidence in bin b| / N
        perplexity   e^nll
        all others   sum over tokens / N

    Args:
        tokens: with at least one token of every example.
        edges_K: inner edges of the bins, the same for all buckets.
        signature: of a metric by its name.
        buckets: by frequency; a bucket's metric is `<metric>[<bucket>]`.

    Returns:
        Values and statistics in the metric's own unit, not in percent; an item is the mean of an
        example, None where it has no such token.

    Raises:
        DataError: an example has no token.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3, over tokens; Nixon et al. 2019,
    arXiv 1904.01685, for bins of equal mass.
    """
    import numpy

    empty = numpy.flatnonzero(numpy.bincount(tokens.item_N, minlength=tokens.items) == 0)
    if len(empty):
        raise DataError(f"example number {int(empty[0])} has no token to measure")
    found = [*_measure(tokens, edges_K, signature, within=None)]
    for bucket in buckets:
        if bucket.mask(tokens).any():
            found += _measure(tokens, edges_K, signature, within=bucket)
    return tuple(found)


def _measure(
    tokens: Tokens,
    edges_K: Floats,
    signature: Callable[[str], str],
    *,
    within: Bucket | None,
) -> list[Measurement]:
    import numpy

    chosen_N = _chosen(tokens, within)
    item_N = tokens.item_N[chosen_N]
    count_E = numpy.bincount(item_N, minlength=tokens.items).astype(float)
    found: dict[str, Measurement] = {}

    def keep(name: str, sums_EK: Floats, combine: Callable[[Floats], Floats]) -> None:
        full = name if within is None else f"{name}[{within.name}]"
        statistics_EK = numpy.concatenate([sums_EK, count_E[:, None]], axis=1)
        items_E = combine(statistics_EK)
        value = float(combine(statistics_EK.sum(axis=0, keepdims=True))[0])
        found[name] = Measurement(
            metric=full,
            value=value,
            items=tuple(float(item) if item == item else None for item in items_E),
            statistics_NK=statistics_EK,
            combine=combine,
            signature=signature(full),
            details={"tokens": float(count_E.sum())},
        )

    for column, name in MEANS.items():
        if column in tokens.values:
            total_E = numpy.bincount(
                item_N,
                weights=tokens.values[column][chosen_N].astype(float),
                minlength=tokens.items,
            )
            keep(name, total_E[:, None], _token_mean)
            if name == "nll":
                keep("perplexity", total_E[:, None], _perplexity)
    keep("ece", _gaps(tokens, edges_K, chosen_N), calibration_error)
    order = [name for name in _ORDER if name in found]
    return [found[name] for name in order if within is None or name in BY_FREQUENCY]


_ORDER = ("nll", "perplexity", "brier", "ece", *tuple(MEANS.values())[2:])


def calibration_error(sums_RK: Floats) -> Floats:
    """Return the expected calibration error from sums of right - confidence a bin, and the count."""
    import numpy

    gaps_R: Floats = numpy.abs(sums_RK[:, :-1]).sum(axis=1)
    return gaps_R / _counts(sums_RK)


def _token_mean(sums_RK: Floats) -> Floats:
    """Return means from sums and counts; nan of nothing."""
    return sums_RK[:, 0] / _counts(sums_RK)


def _counts(sums_RK: Floats) -> Floats:
    import numpy

    return numpy.where(sums_RK[:, -1] > 0, sums_RK[:, -1], numpy.nan)


def _perplexity(sums_RK: Floats) -> Floats:
    import numpy

    return numpy.exp(_token_mean(sums_RK))


def _gaps(tokens: Tokens, edges_K: Floats, chosen_N: Floats) -> Floats:
    """Return the sums of right - confidence of every example in every bin."""
    import numpy

    conf_N = tokens.values["confidence"][chosen_N]
    gap_N = tokens.values["right"][chosen_N].astype(float) - conf_N.astype(float)
    bins = len(edges_K) + 1
    flat_N = tokens.item_N[chosen_N] * bins + bins_of(conf_N, edges_K)
    size = tokens.items * bins
    return numpy.bincount(flat_N, weights=gap_N, minlength=size).reshape(tokens.items, bins)


def _chosen(tokens: Tokens, within: Bucket | None) -> Floats:
    import numpy

    if within is None:
        return numpy.ones(len(tokens.item_N), dtype=bool)
    return within.mask(tokens)
