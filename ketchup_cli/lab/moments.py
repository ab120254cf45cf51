"""Gradients added up in groups, and the figures that can be told from the sums.

No gradient is kept: an estimator's memory is one sum a group.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import SpecError

FEWEST_GROUPS = 8
"""Groups below which a jackknife interval is too wide to tell anything."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with its interval; None where noise leaves no number, or no interval."""

    value: float | None
    low: float | None
    high: float | None


@final
class Moments:
    """Sums over batches of one estimator's gradients.

    Invariant: `sums_GP` holds the sum of the gradients of each group; batch i belongs to group
    i mod G.
    Example: `moments.add(gradient_P, reference_P)` once a batch; `figures(moments, reference)`.
    """

    def __init__(self, groups: int, like_P: Tensor) -> None:
        """Begin with nothing; `like_P` has the size, type and device of a gradient."""
        self._groups = groups
        self._count = 0
        self.sums_GP = like_P.new_zeros(groups, len(like_P))
        self.sizes_G = torch.zeros(groups, dtype=torch.float64)
        self.squares_G = torch.zeros(groups, dtype=torch.float64)
        """Sum over a group of |g|^2."""
        self.cross_G = torch.zeros(groups, dtype=torch.float64)
        """Sum over a group of g . reference."""
        self.norms_G = torch.zeros(groups, dtype=torch.float64)
        """Sum over a group of |g|."""

    def add(self, gradient_P: Tensor, reference_P: Tensor) -> None:
        """Count the gradient of the next batch, and the reference's gradient of the same batch."""
        group = self._count % self._groups
        square = _dot(gradient_P, gradient_P)
        self.sums_GP[group] += gradient_P
        self.sizes_G[group] += 1
        self.squares_G[group] += square
        self.cross_G[group] += _dot(gradient_P, reference_P)
        self.norms_G[group] += math.sqrt(square)
        self._count += 1

    @property
    def counted(self) -> bool:
        """Whether the next batch was counted before, by what `set_group` brought."""
        return self._count // self._groups < int(self.sizes_G[self._count % self._groups])

    def skip(self) -> None:
        """Pass over the next batch."""
        self._count += 1

    def group(self, group: int) -> tuple[Tensor, Tensor]:
        """Return a group's sum [P] and its four figures, in float64."""
        columns = (self.sizes_G, self.squares_G, self.cross_G, self.norms_G)
        return self.sums_GP[group], torch.stack([column[group] for column in columns])

    def set_group(self, group: int, sum_P: Tensor, figures_4: Tensor) -> None:
        """Take over what `group` returned of an equal set of batches."""
        self.sums_GP[group] = sum_P.to(self.sums_GP.device)
        columns = (self.sizes_G, self.squares_G, self.cross_G, self.norms_G)
        for column, figure in zip(columns, figures_4, strict=True):
            column[group] = figure


def _dot(a_P: Tensor, b_P: Tensor) -> float:
    # in float64: a million small products of float32 lose the digits a variance needs
    return float(F.group_products(a_P[None], b_P[None]))


def group_count(batches: int, *, vectors: int, size: int, memory_bytes: int) -> int:
    """Return into how many groups the batches are put: one each where memory allows.

    Args:
        batches: how many gradients each estimator gets.
        vectors: how many estimators there are.
        size: entries of a gradient.
        memory_bytes: what all sums may take together.

    Raises:
        SpecError: it is too little even for a few groups.
    """
    affordable = memory_bytes // (vectors * size * 4)
    if affordable < FEWEST_GROUPS:
        needed = FEWEST_GROUPS * vectors * size * 4
        raise SpecError(
            f"sums of {vectors} gradients of {size:,} weights in {FEWEST_GROUPS} groups take"
            f" {needed:,} bytes; `memory_bytes` is {memory_bytes:,}",
            hint=f"--set parameters=last-block, fewer estimators, or --set memory_bytes={needed}",
        )
    return min(batches, affordable)


def figures(
    own: Moments, reference: Moments, *, unit: Moments, quantile: float
) -> dict[str, Figure]:
    """Return what is known of one estimator.

    Args:
        own: its moments, against the gradients of `reference`.
        reference: those of its reference, against themselves.
        unit: those of the estimator whose trace is 1 in `relative_trace`.
        quantile: half-width of an interval in standard errors.

    Returns:
        `trace` of the covariance and `relative_trace`; `signal_to_noise`; `cosine` and `bias` of the
        true mean against the reference's (|mu - nu| / |nu|), and `plain_cosine` of the sample means,
        all by `functional/covariance.py`; `norm`, the mean length of a gradient.
    """
    count_R = F.left_out(own.sizes_G)
    squares_R, products_R = _pair(own)
    trace_R = F.covariance_trace(squares_R, products_R, count_R)
    unit_R = F.covariance_trace(*_pair(unit), count_R)
    own_R = F.mean_product(squares_R, products_R, count_R)
    other_products_R = _pair(reference)
    other_R = F.mean_product(*other_products_R, count_R)
    cross_products_R = _products(own, reference)
    product_R = F.mean_product(F.left_out(own.cross_G), cross_products_R, count_R)
    tell = _Telling(own.sizes_G, quantile)
    return {
        "trace": tell.positive(trace_R),
        "relative_trace": tell.positive(trace_R / unit_R),
        "signal_to_noise": tell.plain(F.signal_to_noise(squares_R, products_R, count_R)),
        "cosine": tell.plain(F.mean_cosine(product_R, own_R, other_R)),
        "plain_cosine": tell.plain(
            F.mean_cosine(cross_products_R, products_R, other_products_R[1])
        ),
        "bias": tell.root(F.squared_bias(product_R, own_R, other_R)),
        "norm": tell.positive(F.left_out(own.norms_G) / count_R),
    }


def _pair(one: Moments) -> tuple[Tensor, Tensor]:
    """Return `squares` and `products` of a set of vectors with itself."""
    return F.left_out(one.squares_G), _products(one, one)


def _products(one: Moments, other: Moments) -> Tensor:
    return F.left_out_products(F.group_products(one.sums_GP, other.sums_GP).cpu())


@final
@dataclass(frozen=True, slots=True)
class _Telling:
    """Makes figures of replicates."""

    sizes_G: Tensor
    quantile: float

    def plain(self, figure_R: Tensor) -> Figure:
        """Return an interval of equal arms."""
        error = self.quantile * float(F.jackknife_error(figure_R, self.sizes_G))
        value = float(figure_R[0])
        return _figure(value, value - error, value + error)

    def positive(self, figure_R: Tensor) -> Figure:
        """Return an interval of equal factors, for what is above 0."""
        if float(figure_R[0]) <= 0:
            return Figure(value=0.0, low=None, high=None)
        return _map(self.plain(figure_R.clamp(min=0).log()), math.exp)

    def root(self, square_R: Tensor) -> Figure:
        """Return the root of what is told of a square, 0 below 0."""
        return _map(self.plain(square_R), lambda x: math.sqrt(max(0.0, x)))


def _map(told: Figure, change: Callable[[float], float]) -> Figure:
    ends = (told.value, told.low, told.high)
    value, low, high = (None if end is None else change(end) for end in ends)
    return Figure(value=value, low=low, high=high)


def _figure(value: float, low: float, high: float) -> Figure:
    ends = [end if math.isfinite(end) else None for end in (value, low, high)]
    return Figure(value=ends[0], low=ends[1], high=ends[2])
