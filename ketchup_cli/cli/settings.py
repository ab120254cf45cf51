"""From layers of settings to one complete spec, remembering where each value came from.

Order, later wins: the spec's defaults, the objective's preset, the stage's table in
`ketchup.toml`, flags and `--set`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from ketchup_cli.cli.project import Project
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import (
    Spec,
    Table,
    identity,
    merge,
    parse_assignment,
    resolve,
    to_table,
    unknown,
)
from ketchup_cli.spec import flatten as flatten
from ketchup_cli.stages import Stage

DEFAULT_PRESET = "default"

TEXT_FLAG = "--pseudo-targets"
"""The flag that names teacher text, and lets the first term learn from it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Settings of one origin, laid over those before it."""

    origin: str
    table: Table


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A complete spec and, for every setting that is not a default, where it came from."""

    spec: Spec
    table: Table
    """The spec as plain tables, its asides among them."""
    origins: Mapping[str, str]
    """Dotted key to origin; a key that is absent has its default."""

    @property
    def identity(self) -> Table:
        """The spec as plain tables: what is stored and what enters the id."""
        return identity(self.spec)


def typed(origin: str, table: Table) -> tuple[Layer, ...]:
    """Return what a flag says as a layer; none where it was not typed, so that its value is None."""
    given = {key: value for key, value in table.items() if value is not None}
    return (Layer(origin=origin, table=given),) if given else ()


def calculator_flag(*tables: str, asked: bool) -> tuple[Layer, ...]:
    """Return what `--calculator` sets in these tables; nothing where it was not typed."""
    return typed("--calculator", {name: {"calculator": True} for name in tables} if asked else {})


def check_k(objective: str) -> None:
    """Refuse `--k` beside an objective that has no such field.

    Raises:
        SpecError: the objective is unknown, or has no K.
    """
    from dataclasses import fields

    from ketchup_cli import objectives

    kind: Any = objectives.load(objective)
    if "k" not in {field.name for field in fields(kind)}:
        raise SpecError(
            f"`--k` belongs to `ketchup`; `{objective}` has no such field",
            hint="leave out --k, or take --objective ketchup",
        )


def set_layers(assignments: Sequence[str]) -> tuple[Layer, ...]:
    """Return a layer for every `--set a.b=c`, in the order they were typed."""
    return tuple(Layer(origin="--set", table=parse_assignment(text)) for text in assignments)


def resolve_settings(
    stage: Stage, project: Project, flags: Sequence[Layer], *, preset: str | None = None
) -> Settings:
    """Return the complete settings of a stage.

    Args:
        stage: whose spec is resolved.
        project: whose table for the stage lies under the flags.
        flags: what the command line says, in the order it was typed.
        preset: name of the objective's preset; None takes the default one.

    Raises:
        SpecError: an unknown key, preset or objective, or a value of the wrong type or range.
    """
    layers = [*_project_layer(stage, project), *flags]
    objective = _resolve_objective(layers, preset) if stage.name == "distill" else None
    if objective is not None:
        layers = [objective.preset, *map(_without_objective, layers)]
    # from the stage's own defaults: a table inside may have others than its type has by itself
    table = to_table(stage.spec())
    for layer in layers:
        table = merge(table, layer.table)
    origins = _origins(layers)
    if objective is not None:
        table["objective"] = objective.terms
        origins |= objective.origins
    spec = resolve(stage.spec, table, owner=stage.name)
    return Settings(spec=spec, table=to_table(spec), origins=origins)


def _project_layer(stage: Stage, project: Project) -> list[Layer]:
    table = project.tables.get(stage.name)
    return [Layer(origin=str(project.path), table=table)] if table else []


def _origins(layers: Sequence[Layer]) -> dict[str, str]:
    origins: dict[str, str] = {}
    for layer in layers:
        for key in flatten(layer.table):
            origins[key] = layer.origin
    return origins


Terms = tuple[Table, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Objective:
    """The complete terms of a loss, and the settings that go with them."""

    terms: Terms
    origins: Mapping[str, str]
    preset: Layer


def _resolve_objective(layers: Sequence[Layer], preset: str | None) -> _Objective:
    from ketchup_cli import objectives

    terms: Terms = ({"name": "ketchup"},)
    origins: dict[str, str] = {}
    for layer in layers:
        before, terms = _flat_terms(terms), _fold(terms, layer.table.get("objective"))
        for key, value in _flat_terms(terms).items():
            if before.get(key, ...) != value:
                origins[key] = layer.origin
    chosen = f"preset {preset or DEFAULT_PRESET}"
    below = _preset(str(terms[0].get("name", "")), preset)
    own, beside = below.pop("objective", {}), below.pop("beside", ())
    origins |= {f"objective.0.{key}": chosen for key in own if key not in terms[0]}
    if len(terms) == 1:  # whoever names more has made the mix
        terms = (*terms, *beside)
        origins |= dict.fromkeys(_flat_terms(({}, *beside)), chosen)
    terms = (merge(own, terms[0]), *terms[1:])
    if origins.get("objective.0.prefixes") == TEXT_FLAG:
        terms = _without_needless_prefixes(terms)
    return _Objective(
        terms=tuple(dict(term) for term in objectives.to_tables(objectives.terms(terms))),
        origins=origins,
        preset=Layer(origin=chosen, table=below),
    )


def _without_needless_prefixes(terms: Terms) -> Terms:
    """Return the terms as they were before the flag, where some learn from teacher text anyway.

    Its name is then all that the flag adds: half of a pair, say, is teacher text by itself.
    """
    from ketchup_cli import objectives

    before = ({key: value for key, value in terms[0].items() if key != "prefixes"}, *terms[1:])
    return before if objectives.reads_teacher_text(before) else terms


def _flat_terms(terms: Terms) -> Table:
    return flatten(terms, "objective")


def _without_objective(layer: Layer) -> Layer:
    table = {key: value for key, value in layer.table.items() if key != "objective"}
    return Layer(origin=layer.origin, table=table)


def _fold(terms: Terms, value: Any) -> Terms:
    """Return the terms after one layer: a list replaces them, a table changes the first.

    A table that names another objective starts afresh: settings of one say nothing of another.
    """
    if value is None:
        return terms
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, list | tuple):
        if not value or not all(isinstance(item, Mapping) for item in value):
            raise SpecError("`objective` holds no terms", hint='[[distill.objective]] name = "kl"')
        return tuple(dict(item) for item in value)
    if not isinstance(value, Mapping):
        raise SpecError(f"`objective={value}` is not a term", hint="--set objective.name=kl")
    name = value.get("name", terms[0].get("name"))
    if name != terms[0].get("name"):
        return (dict(value),)
    return (merge(terms[0], value), *terms[1:])


def _preset(name: str, preset: str | None) -> Table:
    from ketchup_cli import objectives

    presets = objectives.load(name).presets
    if preset is not None and preset not in presets:
        raise unknown(f"a preset of {name}", preset, presets, hint=f"ketchup objectives {name}")
    return dict(presets.get(preset or DEFAULT_PRESET, {}))
