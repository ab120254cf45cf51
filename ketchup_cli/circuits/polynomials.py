"""Polynomial maps over the integers or the integers modulo n, and their reverse derivative.

With R, polynomial maps over a commutative ring are a reverse derivative category: the axioms RD.1 to
RD.7 hold exactly, which `tests/circuits` checks on random maps.

Source: Cockett et al. 2019, arXiv 1910.07065. The wording and the numbers of the axioms are
reconstructed; what they say is verified in this model.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import ShapeError

Terms = Mapping[tuple[int, ...], int]
"""Coefficient by exponents: `{(2, 1): 3}` is 3 x0^2 x1."""

Poly = tuple[tuple[tuple[int, ...], int], ...]
"""Terms in order, none of them 0: equal polynomials are equal values."""


@final
@dataclass(frozen=True, slots=True)
class Map:
    """A map of `inputs` numbers to one number for each polynomial; `modulus` 0 is the integers.

    Invariant: coefficients are reduced and no term is 0, so maps that are equal as formal
    polynomials compare equal. Over Z2 that is finer than equality of functions: x^2 is not x.
    Example: `Map.of(2, [{(1, 1): 1}], modulus=2)` is AND.
    """

    inputs: int
    outputs: tuple[Poly, ...]
    modulus: int = 0

    @classmethod
    def of(cls, inputs: int, outputs: Sequence[Terms], *, modulus: int = 0) -> Map:
        """Return the map of some polynomials.

        Raises:
            ShapeError: exponents are not one for each input.
        """
        for exponents in itertools.chain.from_iterable(outputs):
            if len(exponents) != inputs:
                raise ShapeError(f"{len(exponents)} exponents for {inputs} inputs")
        return cls(inputs, tuple(_reduced(terms, modulus) for terms in outputs), modulus)

    def __call__(self, x: Sequence[int]) -> tuple[int, ...]:
        """Return the value at a point."""
        values = (sum(k * _power(x, e) for e, k in poly) for poly in self.outputs)
        return tuple(value % self.modulus if self.modulus else value for value in values)

    def __add__(self, other: Map) -> Map:
        """Return the map that adds the values of both."""
        return self._made([_sum(a, b) for a, b in zip(self.outputs, other.outputs, strict=True)])

    def _made(self, outputs: Sequence[Terms], inputs: int | None = None) -> Map:
        return Map.of(self.inputs if inputs is None else inputs, outputs, modulus=self.modulus)


def variables(count: int, which: Sequence[int], *, modulus: int = 0) -> Map:
    """Return the map that hands on some of its inputs, in this order: identity, projections, copies."""
    units = [tuple(int(j == i) for j in range(count)) for i in which]
    return Map.of(count, [{unit: 1} for unit in units], modulus=modulus)


def zero(inputs: int, outputs: int, *, modulus: int = 0) -> Map:
    """Return the map that is 0 everywhere."""
    return Map.of(inputs, [{}] * outputs, modulus=modulus)


def pair(f: Map, g: Map) -> Map:
    """Return the map whose values are those of f, then those of g, at the same point.

    Raises:
        ShapeError: they have other inputs or another ring.
    """
    _same_ring(f, g)
    if f.inputs != g.inputs:
        raise ShapeError(f"maps of {f.inputs} and of {g.inputs} inputs cannot be paired")
    return Map(f.inputs, f.outputs + g.outputs, f.modulus)


def compose(f: Map, g: Map) -> Map:
    """Return f, then g.

    Raises:
        ShapeError: g does not take as many numbers as f gives, or has another ring.
    """
    _same_ring(f, g)
    if len(f.outputs) != g.inputs:
        raise ShapeError(f"a map of {g.inputs} inputs after one of {len(f.outputs)} outputs")
    found: list[Terms] = []
    for poly in g.outputs:
        total: Terms = {}
        for exponents, coefficient in poly:
            term: Terms = {(0,) * f.inputs: coefficient}
            for number, power in enumerate(exponents):
                for _ in range(power):
                    term = _product(term, dict(f.outputs[number]))
            total = _sum(tuple(total.items()), tuple(term.items()))
        found.append(total)
    return Map.of(f.inputs, found, modulus=f.modulus)


def reverse(f: Map) -> Map:
    """Return the reverse derivative R[f]: A x B -> A.

        R[f](a, b)_i = sum_j (df_j / dx_i)(a) b_j

    with formal partial derivatives: over Z2 that of x^2 is 0.
    """
    count, more = f.inputs, len(f.outputs)
    found: list[Terms] = []
    for i in range(count):
        total: dict[tuple[int, ...], int] = {}
        for j, poly in enumerate(f.outputs):
            beside = tuple(int(other == j) for other in range(more))
            for exponents, coefficient in poly:
                if exponents[i]:
                    lower = tuple(e - (n == i) for n, e in enumerate(exponents))
                    key = lower + beside
                    total[key] = total.get(key, 0) + exponents[i] * coefficient
        found.append(total)
    return Map.of(count + more, found, modulus=f.modulus)


def forward(f: Map) -> Map:
    """Return the derivative D[f]: A x A -> B that R gives.

    D[f](a, v) = pi_1 R[R[f]]((a, 0), v)
    """
    count, more = f.inputs, len(f.outputs)
    twice = reverse(reverse(f))
    at = variables(2 * count, range(2 * count), modulus=f.modulus)
    a, v = (Map(2 * count, part, f.modulus) for part in (at.outputs[:count], at.outputs[count:]))
    point = pair(pair(a, zero(2 * count, more, modulus=f.modulus)), v)
    found = compose(point, twice)
    return Map(2 * count, found.outputs[count:], f.modulus)


def _same_ring(f: Map, g: Map) -> None:
    if f.modulus != g.modulus:
        raise ShapeError(f"maps modulo {f.modulus} and modulo {g.modulus} have no common ring")


def _reduced(terms: Terms, modulus: int) -> Poly:
    kept = {e: k % modulus if modulus else k for e, k in terms.items()}
    return tuple(sorted((e, k) for e, k in kept.items() if k))


def _power(x: Sequence[int], exponents: Sequence[int]) -> int:
    found = 1
    for value, power in zip(x, exponents, strict=True):
        found *= value**power
    return found


def _sum(a: Poly, b: Poly) -> Terms:
    total = dict(a)
    for exponents, coefficient in b:
        total[exponents] = total.get(exponents, 0) + coefficient
    return total


def _product(a: Terms, b: Terms) -> Terms:
    total: dict[tuple[int, ...], int] = {}
    for (e, k), (d, m) in itertools.product(a.items(), b.items()):
        key = tuple(x + y for x, y in zip(e, d, strict=True))
        total[key] = total.get(key, 0) + k * m
    return total
