"""The evaluator: equal to Python's own reading of what it reads, and unimpressed by all else."""

import ast
import operator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup_cli.models.generation.arithmetic import (
    DEEPEST,
    LARGEST,
    LONGEST,
    answer,
    outcomes,
    rest_of,
    written,
)

OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def slowly(expression: str) -> Fraction:
    """Evaluate by Python's parser, number by number as it is spelt."""

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant):
            return Fraction(ast.get_source_segment(expression, node) or "")
        if isinstance(node, ast.UnaryOp):
            return -walk(node.operand)
        assert isinstance(node, ast.BinOp)
        return OPERATIONS[type(node.op)](walk(node.left), walk(node.right))

    return walk(ast.parse(expression, mode="eval").body)


numbers = st.one_of(
    st.integers(0, 10**6).map(str),
    st.decimals(0, 1000, places=2).map(str),
    st.integers(0, 99).map(lambda n: f".{n:02d}"),
).map(lambda text: text.lstrip("0") or "0")

expressions = st.recursive(
    numbers.map(lambda text: "0" + text if text.startswith(".") else text),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", " - ", "* "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-{text}"),
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(expressions)
def test_a_result_is_that_of_exact_fractions(expression: str) -> None:
    found = answer(expression)

    try:
        value = slowly(expression)
    except ZeroDivisionError:
        assert found.refusal == "division by zero"
        return
    assert found.refusal in {None, "out of range"}
    assert found.text == (written(value) or "")


@settings(max_examples=60)
@given(st.text(alphabet="0123456789.,+-*/() =<>x", max_size=LONGEST + 20))
def test_any_text_has_an_answer_or_a_refusal(text: str) -> None:
    found = answer(text)

    assert bool(found.text) == (found.refusal is None)


@settings(max_examples=60)
@given(st.text())
def test_any_text_at_all_can_be_read_through(text: str) -> None:
    list(outcomes(text))

    assert isinstance(rest_of(text), str)
    assert answer(text).refusal == "malformed" or set(text) <= set("0123456789.,+-*/() ")


@pytest.mark.parametrize(
    "expression",
    [
        "(" * LONGEST,
        "-" * (LONGEST - 1) + "1",
        "9" * LONGEST,
        "*".join(["9" * 19] * 10),
        "/".join(["7"] * 100),
        "+".join(f"1/{n}" for n in range(2, 42)),
    ],
    ids=["open", "signs", "digits", "large", "quotients", "denominators"],
)
def test_the_longest_expressions_are_refused_or_answered(expression: str) -> None:
    assert len(expression) <= LONGEST
    assert answer(expression).refusal in {None, "malformed", "out of range"}


READ = {
    "95*7": "665",
    "1,200/4": "300",
    "12,345,678": "12345678",
    ".5*10": "5",
    "0.1+0.2": "0.3",
    "1/3": "0.3333333333",
    "2/3": "0.6666666667",
    "3-5": "-2",
    "-(2+3)*-.5": "2.5",
    "2 * (3 + 4) ": "14",
    "10-4-3": "3",
    "24/4/2": "3",
    "2+3*4": "14",
    "58+28.999999999999996": "87",
    "0/5": "0",
    str(LARGEST - 1): str(LARGEST - 1),
}


@pytest.mark.parametrize(("expression", "result"), READ.items(), ids=READ)
def test_results_are_written_as_texts_write_them(expression: str, result: str) -> None:
    assert answer(expression).text == result


REFUSED = {
    "": "malformed",
    "2**3": "malformed",
    "2//3": "malformed",
    "1 2": "malformed",
    "5.": "malformed",
    "10,00": "malformed",
    "1,0000": "malformed",
    "(1": "malformed",
    "1)": "malformed",
    "*1": "malformed",
    "1+": "malformed",
    "1e5": "malformed",
    "__import__('os')": "malformed",
    "\u0663+1": "malformed",
    "1\n+1": "malformed",
    "(" * DEEPEST + "1" + ")" * DEEPEST: "malformed",
    "1" + " " * LONGEST: "malformed",
    "1/0": "division by zero",
    "1/(2-2)": "division by zero",
    str(LARGEST): "out of range",
    "1/30000000000": "out of range",
}


@pytest.mark.parametrize(("expression", "refusal"), REFUSED.items(), ids=[*map(repr, REFUSED)])
def test_what_is_no_sum_is_refused(expression: str, refusal: str) -> None:
    assert answer(expression).refusal == refusal


RESTS = {
    "so <<95*7=": "665>>",
    "<<95*7=6": "65>>",
    "<<95*7=665": ">>",
    "<<95*7=665>": ">",
    "<<95*7=665>>": "",
    "<<95*7=665>>665 - 172 =": "",
    "<<95*7=7": "",
    "<<95*7": "",
    "95*7=": "",
    "<<x*7=": "",
    "<<1/0=": "",
    "<<1=1>> and <<2+2=": "4>>",
    "<<<2+2=": "4>>",
    "<<2+2=4=": "",
}


@pytest.mark.parametrize(("text", "rest"), RESTS.items(), ids=RESTS)
def test_what_is_put_completes_what_was_begun(text: str, rest: str) -> None:
    assert rest_of(text) == rest


def test_every_expression_of_a_text_has_its_outcome() -> None:
    text = "<<2+2=4>> <<2+2=5>> <<2+2=> <<1/0=>> <<x=1>> <<7>> <<9999999999999999=1>> <<1+1=2"

    assert list(outcomes(text)) == [
        "completed",
        "begun otherwise",
        "begun otherwise",
        "division by zero",
        "malformed",
        "malformed",
        "out of range",
        "unfinished",
    ]
