from typing import Any

import pytest

from ketchup_cli.watching.curves import RATE_UPDATES, Curves

BEGIN = {"event": "begin", "update": 0, "updates": 100, "metric": "bleu", "seconds": 0.0}


def curves_of(*lines: dict[str, Any]) -> Curves:
    curves = Curves()
    for line in lines:
        curves.add(line)
    return curves


def update(number: int, seconds: float, **figures: Any) -> dict[str, Any]:
    return {"update": number, **figures, "seconds": seconds}


def validation(number: int, bleu: float, best: int) -> dict[str, Any]:
    return {"event": "validation", "update": number, "bleu": bleu, "best_update": best}


def test_a_figure_becomes_a_curve_over_the_updates() -> None:
    curves = curves_of(update(1, 0.5, loss=3.0), update(2, 1.0, loss=2.0))

    assert curves.training["loss"].updates == [1, 2]
    assert curves.training["loss"].values == [3.0, 2.0]
    assert curves.training["loss"].range == (2.0, 3.0)
    assert set(curves.training) == {"loss"}


def test_what_was_not_finite_has_no_value() -> None:
    curve = curves_of(update(1, 0.5, loss=None)).training["loss"]

    assert (curve.values, curve.range) == ([None], None)


def test_figures_on_dev_are_kept_apart_from_those_of_updates() -> None:
    curves = curves_of(BEGIN, update(1, 1.0, loss=3.0), validation(1, 20.0, 1))

    assert curves.dev["bleu"].values == [20.0]
    assert set(curves.training) == {"loss"}


def test_the_best_is_what_the_run_says_it_keeps() -> None:
    lines = (validation(0, 20.0, 0), validation(10, 22.0, 10), validation(20, 21.0, 10))
    curves = curves_of(BEGIN, *lines)

    assert (curves.best, curves.best_update) == (22.0, 10)


def test_without_a_validation_there_is_no_best() -> None:
    assert curves_of(BEGIN, update(1, 1.0, loss=3.0)).best is None


def test_the_time_left_is_that_of_the_updates_to_come_at_the_present_pace() -> None:
    curves = curves_of(BEGIN, *(update(number, 2.0 * number) for number in range(1, 11)))

    assert curves.seconds_left() == pytest.approx(2.0 * 90)


def test_the_pace_is_that_of_the_last_updates() -> None:
    slow = [update(number, 10.0 * number) for number in range(1, 21)]
    fast = [update(20 + number, 200.0 + number) for number in range(1, RATE_UPDATES + 1)]

    assert curves_of(BEGIN, *slow, *fast).seconds_left() == pytest.approx(30.0)


def test_a_resume_begins_another_clock() -> None:
    resume = {"event": "resume", "update": 10, "seconds": 0.0}
    lines = [update(number, 5.0 * number) for number in range(1, 11)]
    curves = curves_of(BEGIN, *lines, resume, update(11, 1.0), update(12, 2.0))

    assert curves.seconds_left() == pytest.approx(88.0)
    assert curves.resumed == [10]


def test_a_clock_that_goes_back_without_a_word_is_another_one() -> None:
    curves = curves_of(BEGIN, update(1, 50.0), update(2, 0.5), update(3, 1.0))

    assert curves.seconds_left() == pytest.approx(97 * 0.5)


@pytest.mark.parametrize(
    "lines",
    [(update(1, 1.0), update(2, 2.0)), (BEGIN,), (BEGIN, update(1, 1.0))],
    ids=["no total", "no update", "one update"],
)
def test_what_cannot_be_told_is_not_told(lines: tuple) -> None:
    assert curves_of(*lines).seconds_left() is None


def test_a_run_that_is_through_has_no_time_left() -> None:
    assert curves_of(BEGIN, update(99, 1.0), update(100, 2.0)).seconds_left() == 0


def test_warnings_are_kept_in_order() -> None:
    lines = [{"event": "warning", "update": n, "text": f"beware {n}"} for n in (1, 2)]

    assert curves_of(*lines).warnings == ["beware 1", "beware 2"]


def test_values_of_other_types_are_no_figures() -> None:
    curves = curves_of({"update": True, "loss": 1, "flag": True, "text": "x", "list": [1]})

    assert curves.update == 0
    assert set(curves.training) == {"loss"}
