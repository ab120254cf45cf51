import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup_cli.watching.sparkline import GAP, LEVELS, sparkline

NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def test_a_rising_line_shows_every_level() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], width=8) == LEVELS


def test_the_lowest_is_the_bottom_and_the_highest_the_top() -> None:
    assert sparkline([-5.0, 10.0, -5.0], width=10) == "▁█▁"


def test_a_curve_without_a_slope_lies_in_the_middle() -> None:
    assert sparkline([3.0, 3.0], width=8) == "▄▄"


def test_many_values_are_means_of_equal_shares() -> None:
    assert sparkline([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], width=3) == sparkline([1, 5, 9], width=3)


def test_what_is_not_finite_is_a_gap() -> None:
    assert sparkline([0.0, None, 1.0], width=3) == f"▁{GAP}█"


@pytest.mark.parametrize("values", [[], [None, None]], ids=["nothing", "no number"])
def test_without_a_number_there_is_no_curve(values: list) -> None:
    assert sparkline(values, width=4) == GAP * len(values)


@given(st.lists(NUMBERS, max_size=40), st.integers(1, 20))
def test_a_curve_is_as_long_as_there_are_values_and_width_at_most(values: list, width: int) -> None:
    drawn = sparkline(values, width=width)

    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= {*LEVELS, GAP}
