import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import runs
import tiny
import torch

from ketchup_cli.objectives import Objective, Term
from ketchup_cli.signals import Inputs, Needs, TokenLoss
from ketchup_cli.specs import ValidationSpec
from ketchup_cli.train.loop import train
from ketchup_cli.train.metrics import read_metrics
from ketchup_cli.train.sides import CHOSEN, REJECTED, Sides

BOTH_FALL = ((-1.0, -1.0), (-1.1, -2.0), (-1.2, -3.0))
ONE_FALLS = {
    "the student's": ((-1.0, -1.0), (-0.9, -2.0), (-0.8, -3.0)),
    "the teacher's": ((-1.0, -1.0), (-2.0, -0.9), (-3.0, -0.8)),
}


def judged(sides: Sides, periods: Sequence[tuple[float, float]], count: int = 2) -> list[str]:
    """Judge after every period, each of two updates around the given means."""
    found = []
    for number, (chosen, rejected) in enumerate(periods):
        for shift in (-0.3, 0.3):
            sides.note({CHOSEN: chosen + shift, REJECTED: rejected - shift, "loss": 1.0})
        found.append(sides.judge(10 * number, count=count))
    return found


def test_both_sides_falling_is_told_with_its_evidence() -> None:
    *before, sentence = judged(Sides(), BOTH_FALL)

    assert before == ["", ""]
    assert "2 validations in a row" in sentence
    assert "the teacher's side from -1 to -1.2" in sentence
    assert "the student's from -1 to -3" in sentence


@pytest.mark.parametrize("side", ONE_FALLS)
def test_one_side_falling_alone_is_no_warning(side: str) -> None:
    assert judged(Sides(), ONE_FALLS[side]) == ["", "", ""]


def test_a_fall_that_goes_on_is_told_once() -> None:
    periods = (*BOTH_FALL, (-1.3, -4.0), (-1.4, -5.0))

    assert [bool(text) for text in judged(Sides(), periods)] == [False, False, True, False, False]


def test_a_fall_that_began_again_is_told_again() -> None:
    periods = (*BOTH_FALL, (-0.5, -4.0), (-0.6, -5.0), (-0.7, -6.0))

    found = [bool(text) for text in judged(Sides(), periods)]
    assert found == [False, False, True, False, False, True]


def test_a_count_of_nothing_never_warns() -> None:
    assert judged(Sides(), BOTH_FALL, count=0) == ["", "", ""]


def test_validations_of_other_objectives_are_not_counted() -> None:
    sides = Sides()
    sides.note({"loss": 1.0})

    assert sides.judge(10, count=1) == ""
    assert sides.history == []


@pytest.mark.parametrize("told", [2, 3], ids=["before the warning", "after it"])
def test_it_goes_on_where_it_was_after_a_checkpoint(told: int) -> None:
    periods = (*BOTH_FALL, (-1.3, -4.0))
    straight, first, second = Sides(), Sides(), Sides()
    wanted = judged(straight, periods)
    judged(first, periods[:told])
    second.restore(json.loads(json.dumps(first.to_facts())))

    assert judged(second, periods[told:])[0] == wanted[told].replace("20", "0")
    assert second.history == [pytest.approx(pair) for pair in straight.history]


class Falling(Objective):
    """Likelihood that reports two sides, each lower by one nat from update to update."""

    def __init__(self) -> None:
        self.calls = 0

    @property
    def needs(self) -> Needs:
        return Needs()

    def __call__(self, inputs: Inputs) -> TokenLoss:
        self.calls += 1
        sides = dict.fromkeys((CHOSEN, REJECTED), torch.tensor(-float(self.calls)))
        return TokenLoss(loss_BT=-inputs.student.logp_taken_BT, metrics=sides)


def test_a_run_in_which_both_fall_says_so_and_logs_it(tmp_path: Path) -> None:
    validation = ValidationSpec(metric="loss", every=1, guard=2, probe=0)
    reporter = tiny.SilentReporter()
    run = runs.make_run(
        tmp_path, spec=runs.make_spec(updates=4, validation=validation), reporter=reporter
    )
    term = Term(name="falling", weight=1.0, prefixes="data", objective=Falling())
    train(replace(run, terms=(term,)))
    lines = read_metrics(tmp_path / "metrics.jsonl")

    (text,) = [text for label, text in reporter.notes if label == "warning"]
    assert "both log-probabilities fell 2 validations in a row" in text
    logged = [line for line in lines if line.get("event") == "warning"]
    assert [(line["update"], line["text"]) for line in logged] == [(3, text)]
