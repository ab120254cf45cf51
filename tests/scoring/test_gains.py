"""Keep and new: by hand, over samples, and where a side is empty."""

import pytest

from ketchup_cli.errors import SpecError
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.report import make_report, measurements
from ketchup_cli.scoring.settings import Settings

REFERENCES = (("a",), ("b",), ("c",), ("d",), ("e",))
BASE = (("a", "x"), ("x", "b"), ("c", "c"), ("x", "x"), ("x", "x"))


def items_of(samples, base=BASE):
    return Items(
        ids=tuple("12345"),
        hypotheses=tuple(several[0] for several in samples),
        references=REFERENCES,
        samples=tuple(samples),
        base=base,
    )


def values(samples, base=BASE, names=("exact",)):
    found = measurements(names, items_of(samples, base), Settings())
    return {one.metric: one.value for one in found["exact"]}


def test_what_is_kept_and_what_is_new_are_shares_of_what_the_base_solved_and_did_not():
    now = (("x", "a"), ("x", "x"), ("x", "x"), ("d", "x"), ("x", "x"))

    found = values(now)

    assert found["exact/keep"] == pytest.approx(100 / 3)
    assert found["exact/new"] == pytest.approx(50.0)


def test_a_model_held_against_itself_keeps_all_and_gains_nothing():
    assert values(BASE) == {"exact": 40.0, "exact/keep": 100.0, "exact/new": 0.0}


def test_one_text_of_each_is_a_sample():
    now = tuple((several[0],) for several in BASE)
    items = Items(
        ids=tuple("12345"),
        hypotheses=tuple(several[0] for several in now),
        references=REFERENCES,
        base=BASE,
    )
    found = {one.metric: one.value for one in measurements(["exact"], items, Settings())["exact"]}

    assert found["exact/keep"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("base", "left", "warning"),
    [
        ((("x",),) * 5, "exact/new", "no exact/keep: the base solved nothing"),
        (REFERENCES, "exact/keep", "no exact/new: the base solved everything"),
    ],
    ids=["nothing", "everything"],
)
def test_a_side_that_is_empty_is_left_out_and_told(base, left, warning):
    report = make_report(["exact"], items_of(BASE, base), Settings(resamples=100))

    assert [score.metric for score in report.scores] == ["exact", left]
    assert warning in report.warnings


def test_a_base_needs_a_metric_of_right_or_wrong():
    with pytest.raises(SpecError, match="needs a metric that is right or wrong"):
        measurements(["bleu"], items_of(BASE), Settings())
