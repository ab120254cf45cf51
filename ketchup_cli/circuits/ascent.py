"""Circuits with bits for parameters, and the rule that teaches them: Reverse Derivative Ascent.

    theta' = theta + R[f](theta, x, y + f(theta, x))_theta       + is XOR

There is no step size: what was wrong is changed, what was right stays. Bits are the bits of an
integer, the first the lowest.

Source: Wilson and Zanasi 2020, arXiv 2101.10488, and its experiments. The last example seen wins a
contradiction, so the order of the examples decides; report more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, final

from ketchup_cli.errors import SpecError

Example = tuple[int, int]
"""Bits in, and the bits wanted."""

MOST_INPUTS = 16
"""Of a table: it has a cell for each of 2^n inputs."""


class Circuit(Protocol):
    """A function of parameters and inputs, with the part of its reverse derivative that teaches."""

    @property
    def parameters(self) -> int:
        """The number of bits of theta."""

    def __call__(self, theta: int, x: int) -> int:
        """Return f(theta, x)."""

    def reverse(self, theta: int, x: int, d: int) -> int:
        """Return what of theta to flip so that the output changes by d."""


@final
@dataclass(frozen=True, slots=True)
class LookUpTable:
    """A cell of `outputs` bits for every one of 2^inputs inputs: f(theta, x) = theta_x.

    It is linear in theta, so the Boolean difference and the formal derivative agree, and one step
    writes the wanted bits into the cell.

    Raises:
        SpecError: more than 16 inputs.
    """

    inputs: int
    outputs: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.inputs <= MOST_INPUTS:
            raise SpecError(
                f"a table of {self.inputs} input bits; it must be 1 to {MOST_INPUTS}",
                hint='--set circuit=pseudo-linear, or fewer features: --set \'features=["a", "b"]\'',
            )

    @property
    def parameters(self) -> int:
        """The bits of all cells."""
        return self.outputs << self.inputs

    def __call__(self, theta: int, x: int) -> int:
        """Return the cell of x."""
        return (theta >> (self.outputs * x)) & ((1 << self.outputs) - 1)

    def reverse(self, theta: int, x: int, d: int) -> int:
        """Return d at the cell of x."""
        del theta
        return d << (self.outputs * x)


@final
@dataclass(frozen=True, slots=True)
class PseudoLinear:
    """One bit: whether few of the chosen inputs are on.

        f(theta, x) = [popcount(theta and x) <= popcount(theta) // divisor]

    Its reverse is the Boolean difference, by trying every bit of theta.
    """

    inputs: int
    divisor: int = 4

    @property
    def parameters(self) -> int:
        """One bit an input."""
        return self.inputs

    def __call__(self, theta: int, x: int) -> int:
        """Return 1 where at most that many are on."""
        return int((theta & x).bit_count() <= theta.bit_count() // self.divisor)

    def reverse(self, theta: int, x: int, d: int) -> int:
        """Return the bits of theta that flip the output, where it is to change."""
        return difference(lambda at: self(at, x), theta, d, bits=self.inputs)


def difference(f: Callable[[int], int], x: int, d: int, *, bits: int) -> int:
    """Return the Boolean difference of f at x, applied to d.

        bdiff[f](x, d)_i = XOR_j d_j (f_j(x) + f_j(x + e_i))

    It is the reverse derivative of f where each of its polynomials is linear in every variable, and
    only there: it breaks the chain rule RD.5 on a copied wire that meets itself in an AND.
    """
    here = f(x)
    flips = ((d & (here ^ f(x ^ (1 << i)))).bit_count() & 1 for i in range(bits))
    return sum(flip << i for i, flip in enumerate(flips))


def step(circuit: Circuit, theta: int, example: Example) -> int:
    """Return theta after one example; the same theta where it was right."""
    x, y = example
    return theta ^ circuit.reverse(theta, x, y ^ circuit(theta, x))


def ascend(circuit: Circuit, examples: Iterable[Example], *, theta: int = 0) -> Iterator[int]:
    """Yield theta after every example, in their order."""
    for example in examples:
        theta = step(circuit, theta, example)
        yield theta


def agreement(circuit: Circuit, theta: int, examples: Iterable[Example]) -> float:
    """Return the share of examples the circuit answers exactly as wanted.

    Raises:
        ZeroDivisionError: there are none.
    """
    right = [circuit(theta, x) == y for x, y in examples]
    return sum(right) / len(right)
