"""The published figures on Iris, what they depend on, and the baselines beside them."""

import csv
import random
from pathlib import Path

import pytest

from ketchup_cli.circuits.baselines import logistic, majority
from ketchup_cli.circuits.bits import codes, thresholds, to_bits
from ketchup_cli.circuits.study import (
    Decisions,
    Learner,
    agreement,
    baselines,
    divide,
    make_circuit,
    make_task,
    orders,
)
from ketchup_cli.errors import DataError, SpecError

IRIS = Path(__file__).resolve().parents[2] / "examples" / "iris" / "iris.csv"
ARTICLE = {34: [4.9, 3.1, 1.5, 0.2], 37: [4.9, 3.6, 1.4, 0.1]}
"""The rows that scikit-learn's copy has as the article has them, counted from 0."""


def iris(classes, *, source="uci"):
    with IRIS.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1 : 1 + 50 * classes]
    numbers = [[float(value) for value in row[:4]] for row in rows]
    if source == "scikit-learn":
        for place, row in ARTICLE.items():
            numbers[place] = row
    return Decisions(numbers, [row[4] for row in rows])


def task_of(decisions, code="binary"):
    parts = divide(decisions, per_label=25, held_out=0, seed=0)
    return make_task(*parts, rule="midrange", code=code, look="all")


@pytest.mark.parametrize("code", ["binary", "one-hot"])
@pytest.mark.parametrize(
    ("source", "classes", "published"),
    [("uci", 2, 98.0), ("uci", 3, 73.3), ("scikit-learn", 2, 98.0), ("scikit-learn", 3, 74.7)],
)
def test_the_figures_on_iris_by_the_copy_of_the_data(source, classes, published, code):
    task = task_of(iris(classes, source=source), code)
    learner = Learner(circuit=make_circuit("table", task, divisor=4))

    theta = learner(task.examples(task.learnt))

    share = agreement(learner.circuit, theta, task.examples(task.held))
    assert round(100 * share, 1) == published


def test_the_figure_of_three_classes_depends_on_the_order():
    task = task_of(iris(3))
    learner = Learner(circuit=make_circuit("table", task, divisor=4))

    found = orders(task, learner, count=200, seed=0)

    assert found["least"] < 0.55 < 0.79 < found["largest"]
    assert 0.69 < found["mean"] < 0.72


def test_simpler_rules_are_better_on_three_classes():
    found = baselines(task_of(iris(3)))

    assert found["majority a cell"] == pytest.approx(0.8)
    assert found["logistic regression, same bits"] == pytest.approx(0.8)
    assert found["logistic regression, features"] > 0.94
    assert found["commonest label"] == pytest.approx(1 / 3)


def test_a_majority_answers_what_it_never_saw_with_the_commonest():
    rule = majority([0, 0, 0, 1], ["a", "b", "b", "a"])

    assert [rule(x) for x in (0, 1, 2)] == ["b", "a", "a"]


def test_a_logistic_regression_finds_a_plane_through_random_points():
    random_ = random.Random(0)
    rows = [[random_.uniform(-1, 1), random_.uniform(-1, 1)] for _ in range(200)]
    labels = ["yes" if 2 * a - b > 0.3 else "no" for a, b in rows]

    rule = logistic(rows, labels)

    assert sum(rule(row) == label for row, label in zip(rows, labels, strict=True)) > 190


def test_the_best_theta_is_kept_where_the_last_is_not():
    task = task_of(iris(2))
    circuit = make_circuit("pseudo-linear", task, divisor=4)
    examples = task.examples(task.learnt)

    shares = [
        agreement(circuit, Learner(circuit=circuit, keep=keep)(examples), examples)
        for keep in ("last", "best")
    ]

    assert shares[0] < shares[1]


def test_bits_are_above_the_threshold_only():
    above = thresholds([[0.0, 1.0], [2.0, 2.0], [1.0, 9.0]], "midrange")

    assert above == [1.0, 5.0]
    assert thresholds([[0.0], [1.0], [9.0]], "median") == [1.0]
    assert [to_bits(row, above) for row in ([1.0, 5.0], [1.1, 5.0], [0.0, 6.0])] == [0, 1, 2]


def test_codes_count_or_have_a_bit_each():
    assert codes(["b", "a", "c"], "binary") == ({"a": 0, "b": 1, "c": 2}, 2)
    assert codes(["b", "a"], "binary") == ({"a": 0, "b": 1}, 1)
    assert codes(["b", "a", "c"], "one-hot") == ({"a": 1, "b": 2, "c": 4}, 3)


def test_one_label_cannot_be_learnt():
    one = Decisions([[0.0]], ["a"])

    with pytest.raises(DataError, match="1 labels"):
        make_task(one, one, rule="median", code="binary", look="learnt")


def test_a_pseudo_linear_circuit_refuses_three_labels():
    with pytest.raises(SpecError, match="one bit"):
        make_circuit("pseudo-linear", task_of(iris(3)), divisor=4)
