"""A learnt function as gates: AND, XOR and the constant 1, a JSON document any program can read.

    f(x) = XOR over S of c_S AND_{i in S} x_i       the algebraic normal form

Wires are numbered: the inputs first, then the gates in order, each of which reads wires before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ketchup_cli.errors import DataError

Gate = Mapping[str, Any]
FORMAT = 1


def normal_form(f: Callable[[int], int], *, inputs: int) -> list[int]:
    """Return the sets S with c_S = 1, as bits, of a function of one bit.

    The Moebius transform over Z2: every coefficient is the XOR of f over the subsets of S.
    """
    table = [f(x) & 1 for x in range(1 << inputs)]
    for bit in range(inputs):
        for x in range(1 << inputs):
            if x >> bit & 1:
                table[x] ^= table[x ^ (1 << bit)]
    return [x for x, coefficient in enumerate(table) if coefficient]


def gates(f: Callable[[int], int], *, inputs: int, outputs: int) -> dict[str, Any]:
    """Return the gates of a function, and the wire of every output.

    A product shares its wire with all that contain it; nothing is minimised beyond that.
    """
    made: list[Gate] = []
    products: dict[int, int] = {1 << bit: bit for bit in range(inputs)}

    def wire(gate: Gate) -> int:
        made.append(gate)
        return inputs + len(made) - 1

    def joined(which: int) -> Gate:
        top = 1 << (which.bit_length() - 1)
        return {"op": "and", "of": [product(which ^ top), products[top]]}

    def product(which: int) -> int:
        if which not in products:
            products[which] = wire(joined(which) if which else {"op": "one"})
        return products[which]

    def bit(output: int) -> Callable[[int], int]:
        return lambda x: f(x) >> output

    ends = []
    for output in range(outputs):
        of = [product(term) for term in normal_form(bit(output), inputs=inputs)]
        ends.append(of[0] if len(of) == 1 else wire({"op": "xor", "of": of}))
    return {"gates": made, "outputs": ends}


def evaluate(netlist: Mapping[str, Any], x: int) -> int:
    """Return the output bits of a netlist for input bits.

    Raises:
        DataError: a gate of an unknown kind, or one that reads a wire after it.
    """
    wires = [x >> bit & 1 for bit in range(len(netlist["inputs"]))]
    for gate in netlist["gates"]:
        of = gate.get("of", [])
        if any(not 0 <= number < len(wires) for number in of):
            raise DataError(f"gate {len(wires)} of the netlist reads a wire that is not before it")
        if gate["op"] == "one":
            wires.append(1)
        elif gate["op"] == "and":
            wires.append(int(all(wires[number] for number in of)))
        elif gate["op"] == "xor":
            wires.append(sum(wires[number] for number in of) & 1)
        else:
            raise DataError(f"`{gate['op']}` is no gate of a netlist; they are and, xor, one")
    return sum(wires[end] << place for place, end in enumerate(netlist["outputs"]))


def document(
    f: Callable[[int], int],
    *,
    features: Sequence[Mapping[str, Any]],
    labels: Mapping[str, int],
    outputs: int,
) -> dict[str, Any]:
    """Return the whole netlist: inputs with their thresholds, gates, and what the outputs mean."""
    return {
        "format": FORMAT,
        "inputs": list(features),
        **gates(f, inputs=len(features), outputs=outputs),
        "labels": dict(labels),
    }
