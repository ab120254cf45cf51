"""The axioms of a reverse derivative, each as a largest relative error at a random point.

R[f](x, b) is what a backward pass returns for the cotangent b of f's output: (df/dx)^T b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ketchup_cli.axioms.stops import Stops
from ketchup_cli.axioms.subjects import Point, Subject

ROUNDING = 1e-11
"""Largest relative error of what is equal but for the order of sums in float64."""
DIFFERENCES = 1e-6
"""The same where a derivative is taken by central differences."""

_LEAST = 1e-30
"""Below it a number is 0: what is compared is then compared as it is."""

_STEP = 1e-5
"""Of a central difference: its square and the rounding of the values are then alike small."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one axiom says of one loss."""

    subject: str
    axiom: str
    error: float
    """Largest error over the largest number compared; NaN where something was not finite."""
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return self.error <= self.tolerance


def leaves(point: Point) -> dict[str, Tensor]:
    """Return the same numbers as leaves that take a gradient."""
    return {name: x.detach().clone().requires_grad_() for name, x in point.items()}


def reverse(f: Callable[[Point], Tensor], point: Point, cotangent: Tensor) -> dict[str, Tensor]:
    """Return R[f](x, b) by one backward pass of a fresh evaluation, 0 where nothing reaches.

    A loss keeps its gradient in place and can be differentiated once; hence the fresh one.
    """
    at = leaves(point)
    found = torch.autograd.grad(
        f(at), list(at.values()), cotangent, allow_unused=True, materialize_grads=True
    )
    return dict(zip(at, found, strict=True))


def sums(subject: Subject, *, seed: int = 1) -> Finding:
    """RD.1: R[f + g] = R[f] + R[g] and R[0] = 0; g is quadratic in the same numbers."""
    x, (b, *_) = subject.point, _cotangents(subject, seed)

    def g(at: Point) -> Tensor:
        return torch.ones_like(b) * torch.stack([y.square().sum() for y in at.values()]).sum()

    both = reverse(lambda at: subject.at(at) + g(at), x, b)
    apart = _add(reverse(subject.at, x, b), reverse(g, x, b))
    none = reverse(lambda at: 0 * subject.at(at), x, b)
    error = max(_distance(both, apart), _distance(none, _zeros(x)))
    return _finding(subject, "RD.1", error, ROUNDING)


def linearity(subject: Subject, *, seed: int = 1) -> Finding:
    """RD.2: R[f](x, b + c) = R[f](x, b) + R[f](x, c) and R[f](x, 0) = 0."""
    x, (b, c) = subject.point, _cotangents(subject, seed)
    both = reverse(subject.at, x, b + c)
    apart = _add(reverse(subject.at, x, b), reverse(subject.at, x, c))
    none = reverse(subject.at, x, torch.zeros_like(b))
    error = max(_distance(both, apart), _distance(none, _zeros(x)))
    return _finding(subject, "RD.2", error, ROUNDING)


def chain(subject: Subject, *, seed: int = 1) -> Finding:
    """RD.5: R[f; g](x, c) = R[f](x, R[g](f(x), c)), cut between the student and the loss.

    f makes the student's signals, log-probabilities apart from logits, as the loop hands them over;
    g is the loss.
    """
    x, (c, *_) = subject.point, _cotangents(subject, seed)

    def f(at: Point) -> dict[str, Tensor]:
        made = {name: value.tanh() + value.flip(-1) / 2 for name, value in at.items()}
        return {**made, "student.logp_taken": subject.taken(made)}

    whole = reverse(lambda at: subject.at_signals(f(at)), x, c)
    middle = reverse(subject.at_signals, f(x), c)
    names = sorted(middle)
    flat = torch.cat([middle[name].flatten() for name in names])
    pulled = reverse(lambda at: _flat(f(at), names), x, flat)
    return _finding(subject, "RD.5", _distance(whole, pulled), ROUNDING)


def adjointness(subject: Subject, *, seed: int = 1) -> Finding:
    """<R[f](x, b), v> = <b, D[f](x, v)>, D by central differences, stop-gradients held still."""
    x, (b, *_) = subject.point, _cotangents(subject, seed)
    generator = torch.Generator().manual_seed(seed)
    v = {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in x.items()
    }
    here = leaves(x)
    with Stops() as stops:
        subject.at(here)

    def moved(step: float) -> Tensor:
        there = leaves({name: value + step * v[name] for name, value in x.items()})
        with Stops(stops.held):
            found = subject.at(there)
        return found.detach()

    forward = float((b * (moved(_STEP) - moved(-_STEP))).sum()) / (2 * _STEP)
    products = _flat(reverse(subject.at, x, b), sorted(x)) * _flat(v, sorted(x))
    error = abs(float(products.sum()) - forward) / max(float(products.abs().sum()), _LEAST)
    return _finding(subject, "adjoint", error, DIFFERENCES)


AXIOMS: Mapping[str, Callable[[Subject], Finding]] = {
    "RD.1": sums,
    "RD.2": linearity,
    "RD.5": chain,
    "adjoint": adjointness,
}


def examine(subject: Subject) -> Iterator[Finding]:
    """Yield what every axiom says of a loss."""
    for axiom in AXIOMS.values():
        yield axiom(subject)


def _finding(subject: Subject, axiom: str, error: float, tolerance: float) -> Finding:
    return Finding(subject=subject.name, axiom=axiom, error=error, tolerance=tolerance)


def _cotangents(subject: Subject, seed: int) -> Tensor:
    """Return two random cotangents of the loss, [2, N]."""
    generator = torch.Generator().manual_seed(1000 + seed)
    count = len(subject.at(leaves(subject.point)))
    return torch.randn(2, count, generator=generator, dtype=torch.float64)


def _flat(point: Point, names: Sequence[str]) -> Tensor:
    return torch.cat([point[name].flatten() for name in names])


def _add(one: Point, other: Point) -> dict[str, Tensor]:
    return {name: one[name] + other[name] for name in one}


def _zeros(point: Point) -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in point.items()}


def _distance(one: Point, other: Point) -> float:
    """Return the largest difference over the largest number; NaN where one is not finite."""
    names = sorted(one)
    first, second = _flat(one, names), _flat(other, names)
    largest = float(torch.maximum(first.abs(), second.abs()).max())
    if not math.isfinite(largest):
        return math.nan
    return float((first - second).abs().max()) / max(largest, _LEAST)
