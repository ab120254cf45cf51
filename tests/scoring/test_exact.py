import pytest

from ketchup_cli.errors import DataError
from ketchup_cli.scoring import exact
from ketchup_cli.scoring.exact import (
    corpus_value,
    measure,
    read_flexible,
    read_numeric,
    read_strict,
)

GOLD = "He has 2 * 9 = <<2*9=18>>18 dollars\n#### 18"


def test_exact_match_ignores_white_space_at_the_ends_only() -> None:
    (one,) = measure(["exact"], [" Een huis\n", "een huis", "Een  huis"], [["Een huis"]] * 3)

    assert one.items == (100.0, 0.0, 0.0)
    assert one.value == pytest.approx(100 / 3)


def test_exact_match_takes_any_of_the_references() -> None:
    assert corpus_value("exact", ["b"], [["a", "b"]]) == 100.0


@pytest.mark.parametrize(
    ("text", "strict", "flexible", "numeric"),
    [
        ("so 18\n#### 18", True, True, True),
        ("#### 18.", True, True, True),
        ("#### $18", False, True, True),
        ("####18", False, True, True),
        ("#### 18.00", False, False, True),
        ("The answer is $18.00", False, False, True),
        ("18 dollars...", False, False, True),
        ("18 (that is 9*2)", False, False, False),
        ("The answer is 18 (that is 9*2)", False, False, True),
        ("#### 18\n\nQuestion: what is 5?\n#### 7", True, False, True),
        ("#### 5\n#### 18", False, True, True),
        ("\\boxed{18}", False, True, True),
        ("\\boxed{\\$18}, not 19", False, False, True),
        ("the answer is **18** of 20", False, False, True),
        ("20 - 2 = 18", False, True, True),
        ("nothing", False, False, False),
        ("", False, False, False),
    ],
)
def test_the_three_readings_of_an_answer(
    text: str, strict: bool, flexible: bool, numeric: bool
) -> None:
    names = ["gsm8k-strict", "gsm8k-flexible", "gsm8k-numeric"]

    found = [one.items[0] == 100.0 for one in measure(names, [text], [[GOLD]])]

    assert found == [strict, flexible, numeric]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#### -1,234.5 #### 7", "-1,234.5"),
        ("#### 18, and", "18,"),
        ("####  18", None),
        ("#### x", None),
    ],
)
def test_strict_takes_what_follows_the_first_marker(text: str, found: str | None) -> None:
    assert read_strict(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("3 of 4 is -12", "-12"), ("$1,200.", "$1,200."), ("end ...", "..."), ("5", "5"), ("x", None)],
)
def test_flexible_takes_the_last_match(text: str, found: str | None) -> None:
    assert read_flexible(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#### 1,234.50", "1234.50"),
        ("#### \u221212", "-12"),
        ("#### -$12", "-12"),
        ("#### $-12", "-12"),
        ("it costs €95/hour", "95"),
        ("3,4,5", "5"),
        ("10-3", "3"),
        ("x = -3", "-3"),
        ("between 2,000 and 3,000,000", "3000000"),
        ("The answer is: 7.", "7"),
        ("first #### 3 then \\boxed{4} of 9", "4"),
        ("6\nQ: and 9?", "6"),
        ("6\n\nProblem 2. is 9?", "6"),
        ("Question: 5?", "5"),
        ("none", None),
    ],
)
def test_numeric_reads_a_plain_decimal(text: str, found: str | None) -> None:
    assert read_numeric(text) == found


@pytest.mark.parametrize(
    ("text", "reference"),
    [("#### 1,234", "x\n#### 1234"), ("18", "18"), ("#### $5", "#### $5.")],
)
def test_strict_and_flexible_drop_what_lm_eval_ignores(text: str, reference: str) -> None:
    (one,) = measure(["gsm8k-flexible"], [text], [[reference]])

    assert one.value == 100.0


def test_what_was_read_is_kept_and_misses_are_counted() -> None:
    (one,) = measure(["gsm8k-strict"], ["#### 18", "eighteen"], [[GOLD], [GOLD]])

    assert one.extracted == ("18", None)
    assert one.details == {"no_answer": 50.0}


def test_a_reference_without_a_number_is_refused_with_its_item() -> None:
    with pytest.raises(DataError, match="reference of item 1 holds no number"):
        measure(["gsm8k-numeric"], ["1", "2"], [["1"], ["two"]])


def test_an_answer_that_is_not_found_is_never_right() -> None:
    assert corpus_value("gsm8k-strict", ["#### x"], [["#### x"]]) == 0.0


def test_folding_looks_at_neither_case_nor_spaces():
    texts, references = [" New  York", "new york!"], [["new york"], ["New York"]]

    (found,) = exact.measure(["exact-folded"], texts, references)

    assert found.items == (100.0, 0.0)


def test_a_score_by_group_is_the_mean_of_each():
    (one,) = exact.measure(["exact"], ["a", "b", "c"], [["a"], ["x"], ["c"]])

    found = exact.by_group(one, ["forward", "backward", "backward"])

    assert found.details == {"forward": 100.0, "backward": 50.0}
    assert exact.by_group(one, ["", "", ""]) is one
