"""Which estimators a spec asks for, and which reference each of them is held against."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, final

from ketchup_cli import objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives import Objective, Term
from ketchup_cli.signals import Needs
from ketchup_cli.spec import Table
from ketchup_cli.specs import LabSpec

AXES = ("value", "baseline", "ending", "clip", "immediate", "k")
"""Fields of ketchup a spec lists values of; the last varies fastest."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """An objective whose gradient is measured; `reference` is the label of another, or its own."""

    label: str
    objective: Objective
    table: Table
    """The objective with every field written out."""
    reference: str


def estimators(spec: LabSpec) -> tuple[Estimator, ...]:
    """Return what is measured, references among it, each once, in the order of the spec.

    Raises:
        SpecError: nothing is asked for, an unknown objective or field, or an objective that needs
            more than the student's completions and one teacher.
    """
    found: dict[str, Estimator] = {}
    for label, table, reference in _asked(spec):
        for name, of in ((label, table), reference):
            if name not in found:
                found[name] = _estimator(name, of, reference=reference[0])
        found[label] = replace(found[label], reference=reference[0])
    if not found:
        raise SpecError("there is no estimator to measure", hint="--set 'k=[1, 2, 4]'")
    _check(spec, tuple(found.values()))
    return tuple(found.values())


Named = tuple[str, Table]


def _asked(spec: LabSpec) -> Iterator[tuple[str, Table, Named]]:
    """Yield label, table and reference of every estimator of the spec."""
    for point in _grid(spec):
        table = _ketchup(spec, point)
        yield _grid_label(spec, point), table, _reference(spec, str(point["value"]))
    for table in spec.objectives:
        yield _label(table), dict(table), _reference(spec, spec.values[0])


def _grid(spec: LabSpec) -> Iterator[Mapping[str, Any]]:
    lists = (spec.values, spec.baselines, spec.endings, spec.clips, spec.immediate, spec.k)
    for point in product(*lists):
        yield dict(zip(AXES, point, strict=True))


def _ketchup(spec: LabSpec, point: Mapping[str, Any]) -> Table:
    """Return the objective at a point of the grid."""
    shared = {"form": spec.form, "normalise": spec.normalise, "entropy": spec.entropy}
    k = spec.max_new_tokens if point["k"] == "all" else point["k"]
    return {"name": "ketchup", **shared, **point, "k": k}


def _grid_label(spec: LabSpec, point: Mapping[str, Any]) -> str:
    """Return the words that tell one point from the others; K, value and sampling always."""
    words = [f"K={point['k']}", str(point["value"])]
    if len(spec.baselines) > 1:
        words.append(str(point["baseline"]))
    if len(spec.endings) > 1:
        words.append(str(point["ending"]))
    if len(spec.clips) > 1:
        words.append(f"clip={point['clip']:g}")
    return " ".join([*words, str(point["immediate"])])


def _label(table: Mapping[str, Any]) -> str:
    own = [f"{key}={value}" for key, value in table.items() if key != "name"]
    return " ".join([str(table.get("name", "")), *own])


def _reference(spec: LabSpec, value: str) -> Named:
    if len(spec.reference) > 1:
        raise SpecError(f"{len(spec.reference)} references are given; there is room for one")
    if spec.reference:
        (table,) = spec.reference
        return _label(table), dict(table)
    first = {"baseline": spec.baselines[0], "ending": "paper", "clip": 0.0}
    point = {"value": value, **first, "immediate": "sampled", "k": 1}
    return _grid_label(spec, point), _ketchup(spec, point)


def _estimator(label: str, table: Table, *, reference: str) -> Estimator:
    term = _term(table)
    (complete,) = objectives.to_tables([term])
    return Estimator(
        label=label, objective=term.objective, table=dict(complete), reference=reference
    )


def _term(table: Table) -> Term:
    (term,) = objectives.terms([{**table, "prefixes": "student"}])
    needs = term.needs
    if needs.hidden or needs.reference or needs.reward or needs.trainable_teacher:
        raise SpecError(
            f"`{term.name}` needs more than the student's completions and one frozen teacher's"
            " logits; the laboratory brings no more",
            hint="ketchup objectives",
        )
    return term


def merged_needs(found: tuple[Estimator, ...]) -> Needs:
    """Return what all estimators need together.

    Raises:
        SpecError: they ask for different teacher temperatures.
    """
    needs = found[0].objective.needs
    for estimator in found[1:]:
        try:
            needs = needs | estimator.objective.needs
        except ValueError as error:
            raise SpecError(str(error), hint="give all objectives one temperature") from None
    return needs


def _check(spec: LabSpec, found: tuple[Estimator, ...]) -> None:
    merged_needs(found)
    paired = [item.label for item in found if item.table.get("baseline") == "leave-one-out"]
    if paired and spec.samples < 2:
        raise SpecError(
            f"`{paired[0]}` compares the samples of a prompt, and a batch has {spec.samples}",
            hint="--set samples=2",
        )
