"""What the file of every objective must hold: checked over the whole folder."""

import ast
import inspect
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from ketchup_cli import objectives
from ketchup_cli.spec import field_docs, resolve
from ketchup_cli.specs import DistillSpec

OF_THE_MIX = {"objective", "beside"}
"""Tables of a preset that are about the terms of the loss, and no settings of `distill`."""

every_file = pytest.mark.parametrize("name", objectives.names())


@every_file
def test_a_file_holds_exactly_one_final_objective(name):
    module = import_module(f"ketchup_cli.objectives.{name}")
    finals = [
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if value.__module__ == module.__name__ and getattr(value, "__final__", False)
    ]

    assert finals == [objectives.load(name)]


@every_file
def test_an_objective_is_a_frozen_dataclass_with_slots(name):
    kind = objectives.load(name)

    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert not hasattr(kind(), "__dict__")


@every_file
def test_the_docstring_opens_with_a_sentence_for_the_catalogue(name):
    headline = objectives.headline(name)

    assert headline.endswith(".")
    assert len(headline) <= 90


@every_file
def test_the_docstring_names_its_source(name):
    module = import_module(f"ketchup_cli.objectives.{name}")

    assert "\nSource: " in (module.__doc__ or "")


@every_file
def test_every_field_is_documented_below_it(name):
    kind = objectives.load(name)

    assert {field.name for field in fields(kind)} <= set(field_docs(kind))


@every_file
def test_an_objective_s_file_does_not_import_torch_to_run(name):
    tree = ast.parse(Path(inspect.getfile(objectives.load(name))).read_text())
    top_level = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [
        name
        for node in top_level
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    ]

    assert not [module for module in modules if module and module.startswith("torch")]


@every_file
def test_presets_are_settings_of_distill(name):
    for table in objectives.load(name).presets.values():
        settings = {key: value for key, value in table.items() if key not in OF_THE_MIX}
        objectives.terms([{"name": name, **table.get("objective", {})}, *table.get("beside", ())])
        resolve(DistillSpec, settings, owner="distill")

    assert "default" in objectives.load(name).presets
