import pytest

from ketchup_cli.statistics.claims import claim, in_quality
from ketchup_cli.statistics.pairs import Difference


def found(value: float, low: float, high: float) -> Difference:
    return Difference(
        value=value,
        interval=(low, high),
        error=1.0,
        degrees=99,
        p=0.02,
        test="paired bootstrap",
        covers="items",
    )


def test_an_interval_beside_zero_claims_nothing_where_the_corrected_p_does_not() -> None:
    assert claim(found(2.0, 0.1, 4.0), 0.05, items=100) == "not shown"
    assert claim(found(2.0, 0.1, 4.0), 0.049, items=100) == "higher"


def test_a_small_p_claims_nothing_where_the_interval_holds_zero() -> None:
    assert claim(found(2.0, 0.0, 4.0), 0.01, items=100) == "not shown"
    assert claim(found(-2.0, -4.0, 0.1), 0.01, items=100) == "not shown"


def test_a_claim_has_the_sign_of_the_interval() -> None:
    assert claim(found(-2.0, -4.0, -0.1), 0.01, items=100) == "lower"


def test_a_claim_takes_thirty_items() -> None:
    assert claim(found(2.0, 0.1, 4.0), 0.01, items=29) == "too few items"
    assert claim(found(2.0, 0.1, 4.0), 0.01, items=30) == "higher"


@pytest.mark.parametrize(
    ("shown", "better", "word"),
    [
        ("higher", "higher", "better"),
        ("lower", "higher", "worse"),
        ("lower", "lower", "better"),
        ("higher", "neither", "higher"),
        ("not shown", "higher", "not shown"),
    ],
)
def test_better_is_the_good_end_of_a_metric(shown, better, word) -> None:
    assert in_quality(shown, better) == word
