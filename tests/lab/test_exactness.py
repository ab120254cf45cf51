"""Figures of sampled gradients against exact ones: every completion of a tabular task listed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from enumerated import inputs_of
from objective_inputs import student_signal
from tabular import TabularTeacher, student_of
from torch import Tensor

from ketchup_cli.lab.estimators import estimators
from ketchup_cli.lab.gradients import gradients
from ketchup_cli.lab.measure import add, references_first
from ketchup_cli.lab.moments import Figure, Moments, figures
from ketchup_cli.lab.report import t_quantile
from ketchup_cli.specs import LabSpec

TASK = TabularTeacher(vocabulary=3, steps=4, seed=1)
SPEC = LabSpec(k=(1, 2, "all"), max_new_tokens=4, baselines=("none", "expected"))
FOUND = estimators(SPEC)
LABELS = [item.label for item in FOUND]
BATCH = 8
"""Completions in a batch; its gradient is the mean of theirs, for none looks at the others."""
WIDE = 4.0
"""Standard errors; one in 16,000 figures of a normal error lies outside."""


@cache
def all_gradients() -> Mapping[str, Tensor]:
    """Return every estimator's gradient on each completion alone, [N, P]."""
    table_SV = student_of(TASK).requires_grad_()
    rows: dict[str, list[Tensor]] = {item.label: [] for item in FOUND}
    for number in range(len(TASK.completions)):
        which = torch.tensor([number])
        # all estimators see what the neediest of them asked for
        neediest = max(FOUND, key=lambda item: item.objective.needs.teacher == "dense").objective
        inputs = inputs_of(TASK, student_of(TASK), neediest, which_X=which)
        student = student_signal(TASK.at(table_SV)[which], inputs.batch)
        inputs = replace(inputs, student=student)
        found = gradients(inputs, FOUND, {"table": table_SV}, counts=(1.0, 1.0))
        for item, gradient_P in found:
            rows[item.label].append(gradient_P)
    return {label: torch.stack(found) for label, found in rows.items()}


@cache
def truth() -> Mapping[str, Mapping[str, float]]:
    """Return the figures by full enumeration."""
    chance_N = TASK.probabilities(student_of(TASK))
    mean = {label: chance_N @ rows_NP for label, rows_NP in all_gradients().items()}
    trace = {
        label: float(chance_N @ rows_NP.square().sum(dim=1) - mean[label].square().sum()) / BATCH
        for label, rows_NP in all_gradients().items()
    }
    unit = trace[FOUND[0].reference]
    told = {}
    for item in FOUND:
        own_P, other_P = mean[item.label], mean[item.reference]
        told[item.label] = {
            "trace": trace[item.label],
            "relative_trace": trace[item.label] / unit,
            "signal_to_noise": float(own_P.square().sum()) / trace[item.label],
            "cosine": float(own_P @ other_P / (own_P.norm() * other_P.norm())),
            "bias": float((own_P - other_P).norm() / other_P.norm()),
        }
    return told


def measured(
    seed: int, *, batches: int, groups: int, quantile: float, labels: Sequence[str] = LABELS
) -> dict[str, dict[str, Figure]]:
    """Return the figures of some estimators on independent batches."""
    chosen = references_first([item for item in FOUND if item.label in labels])
    generator = torch.Generator().manual_seed(seed)
    chance_N = TASK.probabilities(student_of(TASK))
    drawn = torch.multinomial(chance_N, batches * BATCH, replacement=True, generator=generator)
    like_P = student_of(TASK).flatten()
    moments = {item.label: Moments(groups, like_P) for item in chosen}
    for which in drawn.split(BATCH):
        add(moments, ((item, all_gradients()[item.label][which].mean(dim=0)) for item in chosen))
    unit = moments[FOUND[0].reference]
    return {
        item.label: figures(
            moments[item.label], moments[item.reference], unit=unit, quantile=quantile
        )
        for item in chosen
    }


@pytest.fixture(scope="module")
def sampled() -> dict[str, dict]:
    return measured(0, batches=400, groups=40, quantile=WIDE)


def holds(figure: Figure, value: float) -> bool:
    assert figure.low is not None
    assert figure.high is not None
    # a figure without any spread is told up to the rounding of sums
    return figure.low - 1e-9 <= value <= figure.high + 1e-9


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", ["trace", "relative_trace", "signal_to_noise", "cosine"])
def test_the_exact_figure_lies_in_the_interval(sampled, label: str, name: str) -> None:
    assert holds(sampled[label][name], truth()[label][name])


@pytest.mark.parametrize("label", LABELS)
def test_the_exact_bias_lies_in_the_interval(sampled, label: str) -> None:
    told, exact = sampled[label]["bias"], truth()[label]["bias"]

    # beside the reference's own bias, an exact 0, an estimate of its square may fall short of 0
    assert told.low - 1e-6 <= exact <= told.high + 1e-6


@pytest.mark.parametrize("label", LABELS)
def test_an_interval_tells_something(sampled, label: str) -> None:
    told = sampled[label]

    assert told["trace"].high < 2 * told["trace"].low
    assert told["cosine"].high - told["cosine"].low < 1


def test_without_bias_the_truth_has_none() -> None:
    unbiased = [label for label in LABELS if label.startswith("K=1 ")]

    assert len(unbiased) == 8
    for label in unbiased:
        assert truth()[label]["bias"] == pytest.approx(0, abs=1e-12)


NOISY = ("K=1 max none sampled", "K=2 max none sampled")


@cache
def many() -> list[dict[str, dict[str, Figure]]]:
    """Return the figures of sixty short runs."""
    quantile = t_quantile(11)
    return [
        measured(seed, batches=60, groups=12, quantile=quantile, labels=NOISY) for seed in range(60)
    ]


@pytest.mark.parametrize("name", ["trace", "relative_trace", "signal_to_noise", "cosine"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(name: str) -> None:
    exact = truth()[NOISY[1]][name]
    hits = sum(holds(run[NOISY[1]][name], exact) for run in many())

    # 0.95 is meant; sixty runs tell that from 0.85
    assert hits >= 0.86 * len(many())


def test_figures_without_bias_are_right_on_average() -> None:
    for name in ("trace", "signal_to_noise"):
        found = torch.tensor([run[NOISY[0]][name].value for run in many()])
        error = float(found.std()) / len(found) ** 0.5

        assert abs(float(found.mean()) - truth()[NOISY[0]][name]) < 3 * error
