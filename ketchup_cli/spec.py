"""From TOML and `--set` to a frozen spec, and from a spec to canonical bytes.

Precedence: flags and `--set a.b=c`, then `ketchup.toml`, then the defaults of the spec. A key no
spec knows is an error that names the nearest three.
"""

import ast
import difflib
import inspect
import itertools
import json
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

import msgspec

from ketchup_cli.errors import SpecError

Table = dict[str, Any]
AnySpec = TypeVar("AnySpec", bound="Spec")


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all stage specs: frozen, keyword-only, every field documented below it."""

    asides: ClassVar[frozenset[str]] = frozenset()
    """Fields that decide how hard to try and not what is made: no part of an id or a manifest."""

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that came when results existed already: part of an id only where they are set to
    something else, so that those results are still found. Their defaults cannot change."""


def read_toml(path: Path) -> Table:
    """Return the tables of a TOML file.

    Raises:
        SpecError: the file is missing, not UTF-8, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"no file `{path}`", hint="ketchup config init") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"`{path}` is not TOML: {error}", hint=f"mend `{path}`") from None


def parse_assignment(text: str) -> Table:
    """Return `a.b=value` as nested tables; the value is TOML, or else a plain string.

    Raises:
        SpecError: there is no `=` or no key.
    """
    key, sign, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not sign or not all(parts):
        raise SpecError(f"`--set {text}` is not of the form `key=value`", hint="--set seed=1")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """Return `base` with the values of `over` laid on top, table by table."""
    merged: Table = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested tables, and lists of tables, as one table of dotted keys."""
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else key)
    return flat


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Return the `count` known names most like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.3)


def unknown(what: str, name: str, known: Iterable[str], *, hint: str) -> SpecError:
    """Return the error for a name nobody knows, with the nearest three."""
    names = sorted(known)
    close = nearest(name, names) or names[:3]
    listed = ", ".join(f"`{item}`" for item in close)
    return SpecError(f"`{name}` is not {what}; nearest: {listed}", hint=hint)


def check_keys(given: Iterable[str], known: Iterable[str], *, owner: str, hint: str) -> None:
    """Refuse the first key of `given` that is not in `known`.

    Raises:
        SpecError: with the nearest three names.
    """
    names = list(known)
    for key in given:
        if key not in names:
            raise unknown(f"a field of {owner}", key, names, hint=hint)


def resolve(kind: type[AnySpec], table: Mapping[str, Any], *, owner: str) -> AnySpec:
    """Return the spec that `table` describes, defaults filled in.

    Raises:
        SpecError: an unknown key, a missing one, or a value of the wrong type or range.
    """
    hint = f"ketchup config show {owner}"
    _check_nested(kind, table, owner=owner, hint=hint)
    try:
        return msgspec.convert(dict(table), type=kind, strict=True)
    except msgspec.ValidationError as error:
        raise SpecError(f"{owner}: {_lower_first(str(error))}", hint=hint) from None


def _check_nested(
    kind: type[Spec], table: Mapping[str, Any], *, owner: str, hint: str, prefix: str = ""
) -> None:
    by_name = {field.name: field for field in msgspec.structs.fields(kind)}
    check_keys(table, by_name, owner=owner, hint=hint)
    for key, value in table.items():
        inner = by_name[key].type
        _check_choice(inner, value, key=f"{prefix}{key}", hint=hint)
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, Spec):
            _check_nested(inner, value, owner=f"{owner}.{key}", hint=hint, prefix=f"{prefix}{key}.")


def _check_choice(annotation: Any, value: Any, *, key: str, hint: str) -> None:
    """Refuse a word that is none of a field's choices, alone or in a list."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is tuple and isinstance(value, list | tuple):
        for item in value:
            _check_choice(get_args(annotation)[0], item, key=key, hint=hint)
    elif get_origin(annotation) is Literal and isinstance(value, str):
        choices = get_args(annotation)
        if value not in choices:
            raise unknown(f"a value of `{key}`", value, choices, hint=hint)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def to_table(spec: Spec) -> Table:
    """Return the spec as plain tables, every default written out."""
    table = msgspec.to_builtins(spec)
    assert isinstance(table, dict)
    return table


def identity(spec: Spec) -> Table:
    """Return what is stored and what enters the id: no asides, and no later field that says nothing."""
    table: Table = {}
    for entry in msgspec.structs.fields(spec):
        value = getattr(spec, entry.name)
        silent = entry.name in spec.later and value == entry.default
        if entry.name not in spec.asides and not silent:
            table[entry.name] = _stored(value)
    return table


def _stored(value: object) -> object:
    if isinstance(value, Spec):
        return identity(value)
    if isinstance(value, tuple):
        return tuple(_stored(one) for one in value)
    return msgspec.to_builtins(value)


def canonical(value: object) -> bytes:
    """Return the one JSON text of `value`: sorted keys, ASCII, no NaN, no spaces.

    Raises:
        ValueError: a NaN or an infinity is in it.
    """
    plain = msgspec.to_builtins(value)
    text = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def field_docs(kind: type) -> dict[str, str]:
    """Return the string under each field of a class, by field name, base classes included."""
    docs: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if cls.__module__.startswith("ketchup_cli"):
            docs |= _own_field_docs(cls)
    return docs


def _own_field_docs(cls: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    docs: dict[str, str] = {}
    for above, below in itertools.pairwise(body):
        if (
            isinstance(above, ast.AnnAssign)
            and isinstance(above.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[above.target.id] = inspect.cleandoc(below.value.value)
    return docs
