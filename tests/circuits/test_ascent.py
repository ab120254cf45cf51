"""Reverse Derivative Ascent of tables and pseudo-linear circuits."""

import random

import pytest

from ketchup_cli.circuits.ascent import (
    LookUpTable,
    PseudoLinear,
    agreement,
    ascend,
    difference,
    step,
)
from ketchup_cli.circuits.netlist import document, evaluate
from ketchup_cli.errors import DataError, SpecError

CIRCUITS = {"table": LookUpTable(3, 2), "pseudo-linear": PseudoLinear(5, 2)}


def bits(circuit, random_):
    return random_.getrandbits(circuit.parameters), random_.randrange(1 << circuit.inputs)


@pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS)
def test_the_reverse_is_the_boolean_difference_in_the_parameters(circuit):
    random_ = random.Random(0)
    for _ in range(40):
        theta, x = bits(circuit, random_)
        d = random_.randrange(2)

        wanted = difference(lambda at: circuit(at, x), theta, d, bits=circuit.parameters)  # noqa: B023
        assert circuit.reverse(theta, x, d) == wanted


@pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS)
def test_a_right_answer_changes_nothing(circuit):
    random_ = random.Random(1)
    for _ in range(40):
        theta, x = bits(circuit, random_)

        assert step(circuit, theta, (x, circuit(theta, x))) == theta


def test_one_pass_learns_any_consistent_table():
    random_ = random.Random(2)
    for _ in range(50):
        table = LookUpTable(4, 3)
        examples = [(x, random_.randrange(8)) for x in random_.sample(range(16), 12)]

        *_, theta = ascend(table, examples)
        assert agreement(table, theta, examples) == 1


def test_of_two_contradictions_the_last_wins():
    *_, theta = ascend(LookUpTable(1), [(0, 1), (0, 0), (0, 1)])

    assert LookUpTable(1)(theta, 0) == 1


def test_a_table_of_more_than_16_bits_is_refused():
    with pytest.raises(SpecError, match="17 input bits"):
        LookUpTable(17)


@pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS)
def test_a_netlist_is_the_circuit_on_every_input(circuit):
    theta, _ = bits(circuit, random.Random(3))
    features = [{"name": f"x{n}"} for n in range(circuit.inputs)]

    netlist = document(
        lambda x: circuit(theta, x),
        features=features,
        labels={},
        outputs=getattr(circuit, "outputs", 1),
    )

    every = range(1 << circuit.inputs)
    assert [evaluate(netlist, x) for x in every] == [circuit(theta, x) for x in every]


@pytest.mark.parametrize("value", [0, 1])
def test_a_netlist_can_be_constant(value):
    netlist = document(lambda _: value, features=[{"name": "x"}], labels={}, outputs=1)

    assert [evaluate(netlist, x) for x in (0, 1)] == [value, value]


@pytest.mark.parametrize(
    ("gate", "words"),
    [({"op": "nand", "of": [0]}, "no gate"), ({"op": "and", "of": [1]}, "before")],
)
def test_a_netlist_that_makes_no_sense_is_refused(gate, words):
    with pytest.raises(DataError, match=words):
        evaluate({"inputs": [{}], "gates": [gate], "outputs": [1]}, 0)
