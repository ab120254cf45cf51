"""Decisions of a teacher made into a circuit: what it learns, how faithful it is, what else there is."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, final

from ketchup_cli.circuits.ascent import (
    Circuit,
    Example,
    LookUpTable,
    PseudoLinear,
    agreement,
    ascend,
)
from ketchup_cli.circuits.baselines import logistic, majority, most_frequent
from ketchup_cli.circuits.bits import Code, Rule, codes, thresholds, to_bits
from ketchup_cli.errors import DataError, SpecError

Keep = Literal["last", "best"]
Drawn = TypeVar("Drawn")


@final
@dataclass(frozen=True, slots=True)
class Decisions:
    """Rows of numbers and what the teacher decided of each; bits and codes as the circuit sees them."""

    rows: Sequence[Sequence[float]]
    labels: Sequence[str]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """How a circuit is taught; a pass takes every example once, in the order it is given."""

    circuit: Circuit
    passes: int = 1
    keep: Keep = "last"
    """best keeps the theta, of all that were passed through, that is right on most examples learnt."""

    def __call__(self, examples: Sequence[Example]) -> int:
        """Return theta."""
        best, share, theta = 0, -1.0, 0
        for theta in ascend(self.circuit, list(examples) * self.passes):
            if self.keep == "best":
                reached = agreement(self.circuit, theta, examples)
                best, share = (theta, reached) if reached > share else (best, share)
        return best if self.keep == "best" else theta


@final
@dataclass(frozen=True, slots=True)
class Task:
    """Decisions as examples: thresholds, codes, and which rows are learnt from and which held out."""

    learnt: Decisions
    held: Decisions
    above: Sequence[float]
    label_codes: dict[str, int]
    code_bits: int

    def examples(self, decisions: Decisions) -> list[Example]:
        """Return rows as bits with the code of their label; a label never learnt has no code, -1."""
        return [
            (to_bits(row, self.above), self.label_codes.get(label, -1))
            for row, label in zip(decisions.rows, decisions.labels, strict=True)
        ]


def make_task(
    learnt: Decisions, held: Decisions, *, rule: Rule, code: Code, look: Literal["learnt", "all"]
) -> Task:
    """Return a task, its thresholds found on the rows learnt from or on all.

    Raises:
        DataError: fewer than two labels among the rows learnt from, or nothing held out.
    """
    if len(set(learnt.labels)) < 2 or not held.labels:
        raise DataError(
            f"{len(set(learnt.labels))} labels to learn and {len(held.labels)} rows held out;"
            " there must be 2 and 1",
            hint="--set held_out=0.5, or more rows",
        )
    looked = [*learnt.rows, *held.rows] if look == "all" else learnt.rows
    label_codes, bits = codes(learnt.labels, code)
    return Task(learnt, held, thresholds(looked, rule), label_codes, bits)


def make_circuit(kind: str, task: Task, *, divisor: int) -> Circuit:
    """Return the untaught circuit.

    Raises:
        SpecError: a table of too many inputs, or one bit for more than two labels.
    """
    if kind == "table":
        return LookUpTable(len(task.above), task.code_bits)
    if task.code_bits > 1:
        raise SpecError(
            f"a pseudo-linear circuit answers one bit; the labels take {task.code_bits}",
            hint="--set code=binary, with two labels",
        )
    if len(task.above) > 16:
        raise SpecError(
            f"{len(task.above)} features; a netlist is written for at most 16",
            hint='--set \'features=["a", "b"]\'',
        )
    return PseudoLinear(len(task.above), divisor)


def divide(
    decisions: Decisions, *, per_label: int, held_out: float, seed: int
) -> tuple[Decisions, Decisions]:
    """Return what is learnt from and what is held out.

    With `per_label` the first rows of every label are learnt, label after label by name, and the
    others held out; else rows are drawn to be held out, and both keep their order.
    """
    numbers = range(len(decisions.labels))
    if per_label:
        groups = [
            [n for n in numbers if decisions.labels[n] == name]
            for name in sorted(set(decisions.labels))
        ]
        learnt = [n for group in groups for n in group[:per_label]]
        held = [n for group in groups for n in group[per_label:]]
    else:
        drawn = shuffled(list(numbers), seed=seed)
        apart = set(drawn[: round(held_out * len(drawn))])
        learnt = [n for n in numbers if n not in apart]
        held = [n for n in numbers if n in apart]
    return _chosen(decisions, learnt), _chosen(decisions, held)


def _chosen(decisions: Decisions, which: Sequence[int]) -> Decisions:
    return Decisions([decisions.rows[n] for n in which], [decisions.labels[n] for n in which])


def shuffled(items: list[Drawn], *, seed: int) -> list[Drawn]:
    """Return the items in the order of a seed."""
    found = list(items)
    random.Random(seed).shuffle(found)
    return found


def orders(task: Task, learner: Learner, *, count: int, seed: int) -> dict[str, float]:
    """Return how fidelity on the held-out rows spreads over orders of the same rows learnt from."""
    learnt, held = task.examples(task.learnt), task.examples(task.held)
    found = [
        agreement(learner.circuit, learner(shuffled(learnt, seed=seed + number)), held)
        for number in range(count)
    ]
    return {
        "count": count,
        "mean": statistics.fmean(found),
        "deviation": statistics.stdev(found) if count > 1 else 0.0,
        "least": min(found),
        "largest": max(found),
    }


def baselines(task: Task) -> dict[str, float]:
    """Return fidelity on the held-out rows of simpler rules, learnt from the same rows."""
    labels = task.learnt.labels
    bits = {
        id(part): [to_bits(row, task.above) for row in part.rows]
        for part in (task.learnt, task.held)
    }
    learnt, held = bits[id(task.learnt)], bits[id(task.held)]
    commonest, cell = most_frequent(labels), majority(learnt, labels)
    spread = [[x >> i & 1 for i in range(len(task.above))] for x in learnt]
    of_bits, of_rows = logistic(spread, labels), logistic(task.learnt.rows, labels)

    def share(rule: Callable[[int], str]) -> float:
        right = [rule(n) == label for n, label in enumerate(task.held.labels)]
        return sum(right) / len(right)

    return {
        "commonest label": share(lambda _: commonest),
        "majority a cell": share(lambda n: cell(held[n])),
        "logistic regression, same bits": share(
            lambda n: of_bits([held[n] >> i & 1 for i in range(len(task.above))])
        ),
        "logistic regression, features": share(lambda n: of_rows(task.held.rows[n])),
    }


def undecided(task: Task, circuit: Circuit, theta: int) -> int:
    """Return how many held-out rows get bits that are no label's code."""
    known = set(task.label_codes.values())
    return sum(circuit(theta, x) not in known for x, _ in task.examples(task.held))


def report(task: Task, learner: Learner, theta: int, *, count: int, seed: int) -> dict[str, Any]:
    """Return everything that is said of a circuit: fidelity, orders, baselines, counts."""
    circuit = learner.circuit
    return {
        "learnt": len(task.learnt.labels),
        "held_out": len(task.held.labels),
        "fidelity": agreement(circuit, theta, task.examples(task.held)),
        "fidelity_learnt": agreement(circuit, theta, task.examples(task.learnt)),
        "undecided": undecided(task, circuit, theta),
        "orders": orders(task, learner, count=count, seed=seed),
        "baselines": baselines(task),
        "parameters": circuit.parameters,
    }
