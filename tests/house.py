"""The rules of the house, held against source text: imports, sizes, words, docstrings.

The import rules are read from the table in docs/architecture.md. A violation is one sentence that
begins with the module or the place.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, final

PACKAGE = "ketchup_cli"
FILE_LINES = 350
FUNCTION_LINES = 60
SPEAKERS = ("cli",)
"""Layers that may print."""
UNDONE = re.compile(r"\b(TO[D]O|FI[X]ME|X[X]X)\b(?!\(#\d+\))")
"""A note to do something, without the number of its issue."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the import table."""

    layer: str
    inside: frozenset[str]
    outside: frozenset[str]
    never: frozenset[str]
    reason: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A dotted name, and when it is imported: with its module, when a function runs, or never."""

    name: str
    line: int
    when: Literal["at module level", "in a function", "for types"]


def read_rules(markdown: str) -> dict[str, Rule]:
    """Return the rows of the first table whose first column is `layer`, by layer."""
    lines = iter(markdown.splitlines())
    next(line for line in lines if line.startswith("| layer |"))
    next(lines)
    rules: dict[str, Rule] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        layer, inside, outside, never = (cell.strip() for cell in line.strip("|").split("|"))
        packages, _, reason = never.partition(":")
        rule = Rule(
            layer=layer.strip("`"),
            inside=_literals(inside),
            outside=_literals(outside),
            never=_literals(packages),
            reason=reason.strip(),
        )
        rules[rule.layer] = rule
    return rules


def _literals(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`([^`]+)`", cell))


def rule_of(module: str, rules: Mapping[str, Rule]) -> Rule | None:
    """Return the rule of a module: its own row, or that of the nearest package above."""
    parts = module.removeprefix(f"{PACKAGE}.").split(".")
    names = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((rules[name] for name in names if name in rules), None)


def imports_of(tree: ast.Module) -> Iterator[Imported]:
    """Yield every import of a module."""
    yield from _imports(tree, "at module level")


def _imports(
    node: ast.AST, when: Literal["at module level", "in a function", "for types"]
) -> Iterator[Imported]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Imported(name=alias.name, line=node.lineno, when=when)
    elif isinstance(node, ast.ImportFrom):
        origin = "." * node.level + (node.module or "")
        for alias in node.names:
            yield Imported(name=f"{origin}.{alias.name}", line=node.lineno, when=when)
    elif isinstance(node, ast.If) and _is_for_types(node.test):
        for inner in node.body:
            yield from _imports(inner, "for types")
        for inner in node.orelse:
            yield from _imports(inner, when)
    else:
        below = "in a function" if isinstance(node, Function) and when != "for types" else when
        for inner in ast.iter_child_nodes(node):
            yield from _imports(inner, below)


def _is_for_types(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def import_violations(module: str, source: str, rules: Mapping[str, Rule]) -> list[str]:
    """Return what a module imports against its row of the table."""
    rule = rule_of(module, rules)
    if rule is None:
        return [f"{module}: the import table has no row for it"]
    found = (_broken(item, rule, rules) for item in imports_of(ast.parse(source)))
    return [f"{module}, {sentence}" for sentence in found if sentence]


def _broken(item: Imported, rule: Rule, rules: Mapping[str, Rule]) -> str:
    top, _, rest = item.name.partition(".")
    if not top:
        return f"line {item.line}: relative import `{item.name}`"
    if top == PACKAGE:
        return _broken_inside(item, rest, rule, rules)
    if top in sys.stdlib_module_names:
        return ""
    if top in rule.never and item.when != "for types":
        return f"line {item.line}: {rule.layer} must never import {top}: {rule.reason}"
    if item.when == "at module level" and top not in rule.outside:
        return f"line {item.line}: {rule.layer} must not import {top} at module level"
    return ""


def _broken_inside(item: Imported, rest: str, rule: Rule, rules: Mapping[str, Rule]) -> str:
    layers = {name.partition(".")[0] for name in rules}
    layer = rest.partition(".")[0]
    own = rule.layer.partition(".")[0]
    # `from ketchup_cli import __version__` names no layer
    if layer not in layers or layer in rule.inside or (layer == own and layer == rule.layer):
        return ""
    return f"line {item.line}: {rule.layer} must not import {layer} ({item.when})"


def size_violations(place: str, source: str) -> list[str]:
    """Return the file and the functions in it that are too long."""
    found = []
    lines = len(source.splitlines())
    if lines > FILE_LINES:
        found.append(f"{place}: {lines} lines, {FILE_LINES} at most")
    for function in _functions(ast.parse(source)):
        size = (function.end_lineno or function.lineno) - function.lineno + 1
        if size > FUNCTION_LINES:
            found.append(f"{place}: `{function.name}` has {size} lines, {FUNCTION_LINES} at most")
    return found


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def word_violations(place: str, source: str) -> list[str]:
    """Return notes to do something that name no issue."""
    return [
        f"{place}, line {number}: `{match[0]}` without an issue"
        for number, line in enumerate(source.splitlines(), start=1)
        if (match := UNDONE.search(line))
    ]


def print_violations(module: str, source: str) -> list[str]:
    """Return the calls of `print` in a module outside the layers that speak."""
    if module.removeprefix(f"{PACKAGE}.").partition(".")[0] in SPEAKERS:
        return []
    return [
        f"{module}, line {node.lineno}: `print` outside {', '.join(SPEAKERS)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def docstring_violations(module: str, source: str) -> list[str]:
    """Return public modules, classes, functions and methods without a docstring."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else [module]
    return [f"{name} has no docstring" for name in (*missing, *_undocumented(tree, module))]


def _undocumented(parent: ast.Module | ast.ClassDef, owner: str) -> Iterator[str]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        name = f"{owner}.{node.name}"
        if ast.get_docstring(node) is None and not _is_inherited(node):
            yield name
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node, name)


def _is_inherited(node: ast.ClassDef | Function) -> bool:
    """Return whether a decorator says that the documentation stands elsewhere."""
    names = {getattr(item, "attr", getattr(item, "id", "")) for item in node.decorator_list}
    return bool(names & {"overload", "override"})
