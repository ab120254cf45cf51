"""RD.1 to RD.7 on random polynomial maps over Z2, Z3 and the integers; exact, no tolerance."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup_cli.circuits.ascent import difference
from ketchup_cli.circuits.polynomials import (
    Map,
    compose,
    forward,
    pair,
    reverse,
    variables,
    zero,
)
from ketchup_cli.errors import ShapeError

AND = Map.of(2, [{(1, 1): 1}], modulus=2)
COPY = variables(1, [0, 0], modulus=2)

axiom = settings(max_examples=10, deadline=None, derandomize=True)
rings = st.sampled_from([2, 3, 0])


@st.composite
def maps(draw, inputs, outputs, modulus, degree=2):
    exponents = st.tuples(*[st.integers(0, degree)] * inputs).filter(lambda e: sum(e) <= degree)
    terms = st.dictionaries(exponents, st.integers(-3, 3), max_size=3)
    return Map.of(inputs, [draw(terms) for _ in range(outputs)], modulus=modulus)


@axiom
@given(data=st.data(), modulus=rings)
def test_rd1_the_reverse_of_a_sum_is_the_sum(data, modulus):
    f, g = (data.draw(maps(3, 2, modulus)) for _ in "fg")

    assert reverse(f + g) == reverse(f) + reverse(g)
    assert reverse(zero(3, 2, modulus=modulus)) == zero(5, 3, modulus=modulus)


@axiom
@given(data=st.data(), modulus=rings)
def test_rd2_the_reverse_is_additive_in_what_comes_back(data, modulus):
    r = reverse(data.draw(maps(2, 2, modulus)))
    a, b, c = (variables(6, range(n, n + 2), modulus=modulus) for n in (0, 2, 4))

    nothing = zero(6, 2, modulus=modulus)
    assert compose(pair(a, b + c), r) == compose(pair(a, b), r) + compose(pair(a, c), r)
    assert compose(pair(a, nothing), r) == nothing


@pytest.mark.parametrize("modulus", [2, 3, 0])
def test_rd3_the_reverse_of_identity_and_of_projections_puts_back(modulus):
    identity = variables(2, [0, 1], modulus=modulus)
    second = variables(3, [1], modulus=modulus)

    assert reverse(identity) == variables(4, [2, 3], modulus=modulus)
    nothing = zero(4, 1, modulus=modulus)
    assert reverse(second) == pair(pair(nothing, variables(4, [3], modulus=modulus)), nothing)


@axiom
@given(data=st.data(), modulus=rings)
def test_rd4_the_reverse_of_a_pair_is_the_sum_of_both(data, modulus):
    f, g = (data.draw(maps(2, n, modulus)) for n in (1, 2))
    a, b, c = (variables(5, which, modulus=modulus) for which in ([0, 1], [2], [3, 4]))

    both = compose(pair(a, b), reverse(f)) + compose(pair(a, c), reverse(g))
    assert reverse(pair(f, g)) == both
    assert reverse(zero(2, 0, modulus=modulus)) == zero(2, 2, modulus=modulus)


@axiom
@given(data=st.data(), modulus=rings)
def test_rd5_the_chain_rule(data, modulus):
    f, g = data.draw(maps(2, 2, modulus)), data.draw(maps(2, 1, modulus))
    a, c = variables(3, [0, 1], modulus=modulus), variables(3, [2], modulus=modulus)

    back = compose(pair(compose(a, f), c), reverse(g))
    assert reverse(compose(f, g)) == compose(pair(a, back), reverse(f))


@axiom
@given(data=st.data(), modulus=rings)
def test_rd6_the_reverse_is_linear_in_what_comes_back(data, modulus):
    r = reverse(data.draw(maps(2, 1, modulus)))
    a, b, d = (variables(4, which, modulus=modulus) for which in ([0, 1], [2], [3]))
    nothing = zero(4, 2, modulus=modulus)

    moved = compose(pair(pair(a, b), pair(nothing, d)), forward(r))
    assert moved == compose(pair(a, d), r)


@axiom
@given(data=st.data(), modulus=rings)
def test_rd7_the_second_derivative_is_symmetric(data, modulus):
    f = data.draw(maps(2, 1, modulus, degree=3))
    a, v, w = (variables(6, range(n, n + 2), modulus=modulus) for n in (0, 2, 4))
    nothing, twice = zero(6, 2, modulus=modulus), forward(forward(f))

    one, other = (compose(pair(pair(a, x), pair(y, nothing)), twice) for x, y in ((v, w), (w, v)))
    assert one == other


@axiom
@given(data=st.data(), modulus=rings)
def test_reverse_and_forward_are_adjoint(data, modulus):
    f = data.draw(maps(2, 2, modulus))
    a, b, v = (data.draw(st.tuples(*[st.integers(-2, 2)] * 2)) for _ in "abv")

    back, ahead = reverse(f)((*a, *b)), forward(f)((*a, *v))
    difference_of = sum(x * y for x, y in zip(back, v, strict=True)) - sum(
        x * y for x, y in zip(b, ahead, strict=True)
    )
    assert (difference_of % modulus if modulus else difference_of) == 0


@axiom
@given(data=st.data())
def test_a_composite_has_the_value_of_one_after_the_other(data):
    f, g = data.draw(maps(2, 2, 0)), data.draw(maps(2, 1, 0))
    x = data.draw(st.tuples(st.integers(-3, 3), st.integers(-3, 3)))

    assert compose(f, g)(x) == g(f(x))


def test_the_formal_derivative_of_a_square_over_z2_is_zero_and_the_boolean_one_is_not():
    square = Map.of(1, [{(2,): 1}], modulus=2)

    assert reverse(square) == zero(2, 1, modulus=2)
    assert difference(lambda x: square([x])[0], 1, 1, bits=1) == 1


def test_the_boolean_difference_breaks_the_chain_rule_on_a_copy_that_meets_itself():
    whole = difference(lambda x: compose(COPY, AND)([x])[0], 1, 1, bits=1)
    back = difference(lambda x: AND([x & 1, x >> 1])[0], 0b11, 1, bits=2)
    chained = difference(lambda x: x | x << 1, 1, back, bits=1)

    assert (whole, chained) == (1, 0)


@axiom
@given(data=st.data())
def test_both_derivatives_agree_where_every_variable_stands_alone(data):
    exponents = st.tuples(*[st.integers(0, 1)] * 3)
    f = Map.of(3, [data.draw(st.dictionaries(exponents, st.just(1)))], modulus=2)
    x, d = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 1))
    bits = tuple(x >> i & 1 for i in range(3))

    formal = reverse(f)((*bits, d))
    boolean = difference(lambda at: f([at >> i & 1 for i in range(3)])[0], x, d, bits=3)
    assert sum(bit << i for i, bit in enumerate(formal)) == boolean


def test_an_inverter_that_is_its_own_reverse_is_not_additive():
    wrong = Map.of(2, [{(0, 1): 1, (0, 0): 1}], modulus=2)

    at_nothing = compose(pair(variables(1, [0], modulus=2), zero(1, 1, modulus=2)), wrong)
    assert at_nothing != zero(1, 1, modulus=2)


@pytest.mark.parametrize("join", [pair, compose], ids=["pair", "compose"])
def test_maps_that_do_not_fit_are_refused(join):
    with pytest.raises(ShapeError):
        join(zero(2, 3), zero(4, 1))
    with pytest.raises(ShapeError, match="no common ring"):
        join(zero(2, 2, modulus=2), zero(2, 2))
