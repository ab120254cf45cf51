import random

import pytest
from judged import judged

from ketchup_cli.judging.agreeing import agreements, labels_of
from ketchup_cli.judging.measures import PANEL, Resampling
from ketchup_cli.judging.probe import Abilities
from ketchup_cli.judging.report import Report, Terms, make_report
from ketchup_cli.judging.report_lines import lines
from ketchup_cli.judging.tally import figures
from ketchup_cli.statistics.agreement import cohen_kappa

HOW = Resampling(resamples=1000, seed=0)
Verdicts = list[tuple[str | None, str | None]]


def both(verdicts: str) -> Verdicts:
    """Return units in which both orders say the same; a dot is one that came to nothing."""
    words = {"x": "x", "y": "y", "t": "tie", ".": None}
    return [(words[letter], words[letter]) for letter in verdicts]


def drawn(seed: int) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice("xxyt") for _ in range(40))


def test_a_label_is_what_both_orders_say_and_none_where_one_is_missing() -> None:
    rows = judged([("x", "x"), ("x", "y"), ("y", None)], judge="m")

    labels = labels_of(rows)["quality"]["m"]

    assert list(labels.values()) == ["x", "tie", None]


def test_judges_are_held_against_each_other_over_all_units() -> None:
    one, other = drawn(1), drawn(2)
    rows = [*judged(both(one), judge="m"), *judged(both(other), judge="n")]

    (found,) = agreements(rows, how=HOW)

    items = [str(number) for number in range(40)]
    kappa = cohen_kappa(list(one), list(other), items=items, resamples=HOW.resamples, seed=HOW.seed)
    (pair,) = found.pairs
    assert (pair.kappa, pair.interval) == (kappa.value, kappa.interval)
    assert (pair.one, pair.other, pair.units, found.units) == ("m", "n", 40, 40)


def test_one_judge_agrees_with_nobody() -> None:
    assert agreements(judged(both("xyt"), judge="m"), how=HOW) == ()


def test_judges_that_always_say_the_same_word_have_no_coefficient() -> None:
    rows = [*judged(both("xxx"), judge="m"), *judged(both("xxx"), judge="n")]

    (found,) = agreements(rows, how=HOW)

    assert (found.alpha, found.pairs[0].kappa, found.pairs[0].same) == (None, None, 1.0)


def test_the_panel_is_the_mean_over_its_judges_item_by_item() -> None:
    rows = [*judged(both("xxyy"), judge="m"), *judged(both("xttt"), judge="n")]

    found = {one.judge: one for one in figures(rows, panel=("m", "n"), how=HOW)}

    assert found["m"].win_rate == 0.5
    assert found["n"].win_rate == pytest.approx(2.5 / 4)
    assert found[PANEL].win_rate == pytest.approx((1 + 0.75 + 0.25 + 0.25) / 4)
    assert found[PANEL].units == 8


def reported(**controls: str) -> Report:
    rows = [
        row
        for judge, right in controls.items()
        for row in (
            *judged(both("x" * 40), judge=judge),
            *judged(both(right), judge=judge, control="cut", expected="1")[::2],
        )
    ]
    terms = Terms(
        judges={name: Abilities(protocol="text") for name in controls},
        task="Summarise.",
        aspects={"quality": "Better?"},
        systems=("a", "b"),
        how=HOW,
    )
    return make_report(rows, terms)


def test_a_judge_that_fails_its_controls_is_not_of_the_panel() -> None:
    found = reported(one="xxxx", two="xxxx", bad="yyyy")

    claims = {one.judge: one.claim for one in found.figures}
    assert claims["bad"].startswith("nothing is claimed: bad answered 0 of 4 controls rightly")
    assert claims[PANEL] == "the judges together prefer a to b in quality"
    assert found.claims[0] == claims[PANEL]
    assert next(one.units for one in found.figures if one.judge == PANEL) == 80


def test_two_judges_of_which_one_is_believed_make_no_panel() -> None:
    found = reported(one="xxxx", bad="yyyy")

    assert {one.judge for one in found.figures} == {"one", "bad"}


def test_lines_name_the_judge_where_there_are_several() -> None:
    told = [text for label, text in lines(reported(one="xxxx", two="xxyx")) if label == "controls"]

    assert told == ["one: 4 of 4 right (cut 4/4)", "two: 3 of 4 right (cut 3/4)"]
