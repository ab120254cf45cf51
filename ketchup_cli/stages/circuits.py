"""Distil a teacher's decisions into a circuit of gates: a netlist, and how faithful it is.

A stage of its own behind `ketchup distill --objective circuits`, for nothing of the training loop has
a meaning here: no text, no gradient of floating point numbers, no batch (two equal mistakes in one
would cancel), no model to save. What it shares with `distill` is the purpose, so it shares the command.

Input by role: `decisions`, one file of rows with numbers and the teacher's decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ketchup_cli.corpora.readers import READERS, format_of, read_parquet
from ketchup_cli.corpora.rows import Row
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.reporting import Reporter
from ketchup_cli.spec import unknown
from ketchup_cli.specs import CircuitsSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from pathlib import Path

    from ketchup_cli.circuits.study import Decisions, Learner, Task

DECISIONS = "decisions"
_HINT = "ketchup distill --objective circuits --decisions decisions.csv"


def plan(spec: CircuitsSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines.

    Raises:
        SpecError: no file of decisions.
    """
    told = f"the first {spec.per_label} rows a label" if spec.per_label else "rows not held out"
    return (
        ("circuit", f"{spec.circuit} from {_file(inputs)}"),
        ("plan", f"{spec.passes} pass(es) over {told}, {spec.orders} orders"),
    )


def run(
    spec: CircuitsSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `netlist.json` and `report.json`.

    Raises:
        SpecError: fields that are not there, or a circuit that cannot answer the labels.
        DataError: rows without a number or a decision, or too few of them.
    """
    from ketchup_cli.circuits import study

    features, decisions = _read(_file(inputs), spec)
    parts = study.divide(
        decisions, per_label=spec.per_label, held_out=spec.held_out, seed=spec.seed
    )
    task = study.make_task(*parts, rule=spec.thresholds, code=spec.code, look=spec.thresholds_from)
    learner = study.Learner(
        circuit=study.make_circuit(spec.circuit, task, divisor=spec.divisor),
        passes=spec.passes,
        keep=spec.keep,
    )
    theta = learner(task.examples(task.learnt))
    document = _netlist(learner, task, theta, features, build)
    found = study.report(task, learner, theta, count=spec.orders, seed=spec.seed)
    build.write_json("report.json", {**found, "gates": len(document["gates"])})
    _tell(found, reporter)
    return {
        "gates": len(document["gates"]),
        **{name: found[name] for name in ("fidelity", "held_out", "learnt", "undecided")},
        "fidelity_over_orders": found["orders"]["mean"],
        "deviation_over_orders": found["orders"]["deviation"],
        "best_baseline": max(found["baselines"].values()),
    }


def _file(inputs: Mapping[str, Input]) -> Path:
    if DECISIONS not in inputs:
        raise SpecError("no file of decisions is named", hint=_HINT)
    return inputs[DECISIONS].path


def _netlist(
    learner: Learner, task: Task, theta: int, features: tuple[str, ...], build: Build
) -> dict[str, Any]:
    from ketchup_cli.circuits import netlist

    inputs = [
        {"name": name, "above": value} for name, value in zip(features, task.above, strict=True)
    ]
    document = netlist.document(
        lambda x: learner.circuit(theta, x),
        features=inputs,
        labels=task.label_codes,
        outputs=task.code_bits,
    )
    build.write_json("netlist.json", document)
    return document


def _tell(found: Mapping[str, Any], reporter: Reporter) -> None:
    spread = found["orders"]
    reporter.note(
        "fidelity",
        f"{found['fidelity']:.1%} of {found['held_out']} held-out rows; over {spread['count']} orders"
        f" {spread['mean']:.1%}, deviation {spread['deviation']:.1%},"
        f" {spread['least']:.1%} to {spread['largest']:.1%}",
    )
    for name, value in found["baselines"].items():
        reporter.note("baseline", f"{value:.1%}  {name}")


def _read(path: Path, spec: CircuitsSpec) -> tuple[tuple[str, ...], Decisions]:
    from ketchup_cli.circuits.study import Decisions

    rows, labels = [], []
    features = spec.features
    for row in _rows(path):
        labels.append(_label(row, spec.decision, path))
        features = features or tuple(str(key) for key in row.fields if key != spec.decision)
        rows.append([_number(row, name, path) for name in features])
    if not rows:
        raise DataError(f"no row in `{path}`", hint="give a file that holds rows")
    return features, Decisions(rows, labels)


def _rows(path: Path) -> Iterator[Row]:
    form = format_of(path)
    records = read_parquet(path, ()) if form == "parquet" else READERS[form](path)
    for record in records:
        if not isinstance(record, Row):
            raise DataError(
                f"`{path}` {record.place}: {record.reason}: {record.detail}", hint="mend the row"
            )
        yield record


def _value(row: Row, name: str, path: Path, *, hint: str) -> object:
    if name not in row.fields:
        raise unknown(f"a field of `{path}`", name, [str(key) for key in row.fields], hint=hint)
    return row.fields[name]


def _number(row: Row, name: str, path: Path) -> float:
    value = _value(row, name, path, hint="--set 'features=[\"NAME\"]'")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"`{path}` {row.place}: field `{name}` is no number",
            hint="mend the row, or name the numbers: --set 'features=[\"NAME\"]'",
        )
    return number


def _label(row: Row, name: str, path: Path) -> str:
    value = _value(row, name, path, hint="--set decision=NAME")
    if not isinstance(value, str | int) or value == "":
        raise DataError(
            f"`{path}` {row.place}: field `{name}` is no decision",
            hint="a decision is a word or a whole number",
        )
    return str(value)
