"""The objectives: every file here that does not start with an underscore, `base` apart, is one.

A spec names them as tables: `name`, `weight`, `prefixes`, and the objective's own fields.
"""

import ast
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec

from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.base import Objective, Term
from ketchup_cli.signals import Prefixes
from ketchup_cli.spec import Table, unknown

__all__ = [
    "Objective",
    "Term",
    "build",
    "headline",
    "load",
    "names",
    "reads_teacher_text",
    "terms",
    "to_tables",
]

_TERM_FIELDS = ("name", "weight", "prefixes")


def names() -> tuple[str, ...]:
    """Return the names of all objectives, sorted."""
    stems = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(sorted(stem for stem in stems if stem != "base" and not stem.startswith("_")))


def headline(name: str) -> str:
    """Return the first line of an objective's docstring, without importing it.

    Raises:
        SpecError: there is no such objective.
    """
    _check_name(name)
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def load(name: str) -> type[Objective]:
    """Return the class of an objective.

    Raises:
        SpecError: there is no such objective.
    """
    _check_name(name)
    module = import_module(f"{__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Objective)
        and value.__module__ == module.__name__
        and getattr(value, "__final__", False)
    )
    return found


def build(table: Mapping[str, Any]) -> tuple[Term, ...]:
    """Return the terms that a table of the spec describes, defaults filled in.

    They are one a share of the objective, or a single one where the table names `prefixes`.

    Raises:
        SpecError: an unknown objective or field, or a value of the wrong type or range.
    """
    if not isinstance(table.get("name"), str):
        raise SpecError("a term of the objective has no `name`", hint="--objective ketchup")
    name = table["name"]
    kind = load(name)
    hint = f"ketchup objectives {name}"
    own = {key: value for key, value in table.items() if key not in _TERM_FIELDS}
    known = [field.name for field in fields(cast(Any, kind))]
    for key in own:
        if key not in known:
            shown = [f"objective.{item}" for item in (*known, "weight", "prefixes")]
            raise unknown(f"a field of {name}", f"objective.{key}", shown, hint=hint)
    _check_choices(kind, own, hint)
    try:
        objective = msgspec.convert(own, type=kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        raise SpecError(f"objective {name}: {text[:1].lower()}{text[1:]}", hint=hint) from None
    weight = _weight(table.get("weight", 1.0), name)
    shares: Mapping[Prefixes, float] = objective.shares
    if table.get("prefixes") is not None:
        shares = {_prefixes(table["prefixes"], name, objective.needs.prefixes): 1.0}
    return tuple(
        Term(name=name, weight=weight * share, prefixes=prefixes, objective=objective)
        for prefixes, share in shares.items()
        if share > 0
    )


def terms(tables: Iterable[Mapping[str, Any]]) -> tuple[Term, ...]:
    """Return the terms of a loss.

    Raises:
        SpecError: there is none, one cannot be built, or two do not go together.
    """
    built = tuple(term for table in tables for term in build(table))
    if not built:
        raise SpecError("the objective has no terms", hint="--objective ketchup")
    _check_parts(built)
    seen: set[tuple[str, str]] = set()
    temperatures: dict[str, float] = {}
    for term in built:
        if (term.name, term.prefixes) in seen:
            raise SpecError(
                f"objective `{term.name}` stands twice on completions of `{term.prefixes}`",
                hint="give one term the sum of the weights",
            )
        seen.add((term.name, term.prefixes))
        if term.needs.teacher == "none":
            continue
        asked = term.needs.temperature
        if temperatures.setdefault(term.prefixes, asked) != asked:
            raise SpecError(
                f"terms on completions of `{term.prefixes}` ask for teacher temperatures "
                f"{temperatures[term.prefixes]:g} and {asked:g}; a batch has one",
                hint="give both terms the same temperature",
            )
    return built


def reads_teacher_text(tables: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether some of these terms learn from pseudo-targets.

    Raises:
        SpecError: one cannot be built.
    """
    return any(term.teacher_text for table in tables for term in build(table))


def to_tables(terms: Iterable[Term]) -> tuple[Table, ...]:
    """Return the terms as plain tables, every default written out."""
    return tuple(
        {
            "name": term.name,
            "weight": term.weight,
            "prefixes": term.prefixes,
            **msgspec.to_builtins(term.objective),
        }
        for term in terms
    )


def _check_parts(built: Iterable[Term]) -> None:
    """Refuse terms that cannot share the one teacher there is."""
    listening = [term for term in built if term.needs.any_teacher]
    training = [term for term in listening if term.objective.teacher_part is not None]
    if len({term.objective.teacher_part for term in training}) > 1:
        shown = " and ".join(f"`{term.name}`" for term in training)
        raise SpecError(
            f"{shown} train different parts of one teacher",
            hint="give both the same `module`, `rank` and `teacher_rate`",
        )
    others = [term for term in listening if term not in training]
    for term in training:
        part = term.objective.teacher_part
        if others and part is not None and part.kind == "full":
            raise SpecError(
                f"`{term.name}` trains the whole teacher; `{others[0].name}` asks for the teacher as"
                " it came",
                hint="--set objective.module=lora",
            )


def _check_name(name: str) -> None:
    if name not in names():
        raise unknown("an objective", name, names(), hint="ketchup objectives")


def _check_choices(kind: type[Objective], own: Mapping[str, Any], hint: str) -> None:
    """Refuse a word that is none of a field's choices, with the nearest of them."""
    hints = get_type_hints(kind)
    for key, value in own.items():
        choices = get_args(hints[key]) if get_origin(hints[key]) is Literal else ()
        if choices and isinstance(value, str) and value not in choices:
            raise unknown(f"a value of `objective.{key}`", value, choices, hint=hint)


def _weight(value: Any, name: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise SpecError(
            f"the weight of `{name}` is `{value}`; it must be a number above 0",
            hint="--set objective.weight=1.0",
        )
    return float(value)


def _prefixes(value: Any, name: str, offered: tuple[Prefixes, ...]) -> Prefixes:
    if value not in get_args(Prefixes):
        raise unknown(
            "a source of completions", str(value), get_args(Prefixes), hint=f"prefixes={offered[0]}"
        )
    if value not in offered:
        listed = ", ".join(f"`{item}`" for item in offered)
        raise SpecError(
            f"objective `{name}` cannot learn from completions of `{value}`, only of {listed}",
            hint=f"--set objective.prefixes={offered[0]}",
        )
    return cast(Prefixes, value)
