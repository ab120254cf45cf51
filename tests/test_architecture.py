from collections.abc import Iterator
from pathlib import Path

import house
import pytest

ROOT = Path(__file__).resolve().parent.parent
RULES = house.read_rules((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
WRITTEN = ("ketchup_cli", "tests", "scripts", "benchmarks", "examples")
"""Folders whose Python we write by hand."""


def modules() -> Iterator[tuple[str, str]]:
    """Yield dotted name and source of every module of the package, `__init__` kept in the name."""
    for path in sorted((ROOT / house.PACKAGE).rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text("utf-8")


def files() -> Iterator[tuple[str, str]]:
    """Yield path and source of every Python file of the repository."""
    for folder in WRITTEN:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


# the tree as it is


def test_every_import_is_one_the_table_allows():
    found = [
        sentence
        for name, source in modules()
        for sentence in house.import_violations(name, source, RULES)
    ]

    assert found == []


def test_every_row_of_the_table_is_a_layer_there_is():
    layers = {name.removeprefix(f"{house.PACKAGE}.") for name, _ in modules()}
    packages = {name.rpartition(".")[0] for name in layers}

    assert set(RULES) - layers - packages == set()


def test_every_layer_a_row_allows_has_a_row_itself():
    allowed = {layer for rule in RULES.values() for layer in rule.inside}

    assert allowed - set(RULES) == set()


def test_the_table_has_no_layer_that_may_import_one_above_itself():
    order = list(RULES)
    upward = [
        (rule.layer, layer)
        for rule in RULES.values()
        for layer in rule.inside
        if order.index(layer) > order.index(rule.layer) and not rule.layer.endswith("__init__")
    ]

    assert upward == []


def test_no_file_and_no_function_is_too_long():
    found = [line for place, source in files() for line in house.size_violations(place, source)]

    assert found == []


def test_nothing_is_left_to_do_without_an_issue():
    found = [line for place, source in files() for line in house.word_violations(place, source)]

    assert found == []


def test_only_the_command_line_prints():
    found = [line for name, source in modules() for line in house.print_violations(name, source)]

    assert found == []


def test_everything_public_is_documented():
    found = [
        line for name, source in modules() for line in house.docstring_violations(name, source)
    ]

    assert found == []


# planted violations: the checker can fail

PLANTED_IMPORTS = {
    "maths that loads models": (
        "functional.returns",
        "def f():\n    from transformers import T5Model",
        "functional must never import transformers",
    ),
    "maths that knows objectives": (
        "functional.returns",
        "from ketchup_cli.objectives import names",
        "functional must not import objectives (at module level)",
    ),
    "a store that reads tensors": (
        "store.verify",
        "def f():\n    import torch",
        "store must never import torch: to the store an artifact is bytes",
    ),
    "an objective that computes": (
        "objectives.kl",
        "import torch.nn.functional",
        "objectives must never import torch",
    ),
    "a heavy door": ("cli.app", "import torch", "cli must not import torch at module level"),
    "a package nobody listed": (
        "scoring.bleu",
        "import pandas",
        "scoring must not import pandas at module level",
    ),
    "a heavy package in a class body": (
        "cli.app",
        "class A:\n    import rich",
        "cli must not import rich at module level",
    ),
    "a stage that knows the command line": (
        "stages.train",
        "def f():\n    from ketchup_cli.cli.console import Console",
        "stages must not import cli (in a function)",
    ),
    "a loop that scores": (
        "train.loop",
        "from ketchup_cli import scoring",
        "train must not import scoring (at module level)",
    ),
    "a model that borrows a type of the store": (
        "models.load",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ketchup_cli.store.find import Input",
        "models must not import store (for types)",
    ),
    "a namespace that is not lazy": (
        "functional.__init__",
        "import torch",
        "functional.__init__ must never import torch",
    ),
    "a table of stages that is heavy": (
        "stages.__init__",
        "import torch",
        "stages.__init__ must never import torch",
    ),
    "a table of stages that imports its stages": (
        "stages.__init__",
        "from ketchup_cli.stages.train import run",
        "stages.__init__ must not import stages",
    ),
    "a relative import": ("store.find", "from . import layout", "relative import"),
    "a layer without a row": ("helpers", "", "the import table has no row for it"),
}


@pytest.mark.parametrize(
    ("module", "source", "sentence"), PLANTED_IMPORTS.values(), ids=PLANTED_IMPORTS
)
def test_a_planted_import_is_found(module, source, sentence):
    (found,) = house.import_violations(f"ketchup_cli.{module}", source, RULES)

    assert sentence in found


ALLOWED_IMPORTS = {
    "a heavy package in a function of the door": ("cli.about", "def f():\n    import torch"),
    "torch as a type of an objective": (
        "objectives.kl",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor",
    ),
    "the version": ("cli.app", "from ketchup_cli import __version__"),
    "the namespace of maths": ("objectives.kl", "from ketchup_cli import functional as F"),
    "a neighbour of one's own layer": ("store.find", "from ketchup_cli.store.names import names"),
    "the standard library": ("store.find", "import json"),
}


@pytest.mark.parametrize(("module", "source"), ALLOWED_IMPORTS.values(), ids=ALLOWED_IMPORTS)
def test_an_allowed_import_is_not_found(module, source):
    assert house.import_violations(f"ketchup_cli.{module}", source, RULES) == []


def test_a_file_of_351_lines_is_found():
    source = "x = 1\n" * 351

    assert house.size_violations("a.py", source) == ["a.py: 351 lines, 350 at most"]


def test_a_function_of_61_lines_is_found_inside_a_class_too():
    source = "class A:\n    @final\n    def f(self):\n" + "        x = 1\n" * 60

    assert house.size_violations("a.py", source) == ["a.py: `f` has 61 lines, 60 at most"]


def test_a_file_of_350_lines_and_a_function_of_60_pass():
    source = "def f():\n" + "    x = 1\n" * 59 + "x = 1\n" * 290

    assert house.size_violations("a.py", source) == []


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "XX" + "X"])
def test_a_note_without_an_issue_is_found(word):
    (found,) = house.word_violations("a.py", f"x = 1\n# {word}: later\n")

    assert found.startswith("a.py, line 2")


def test_a_note_with_an_issue_passes():
    assert house.word_violations("a.py", "# TO" + "DO(#12): later\n") == []


def test_a_print_in_a_stage_is_found():
    (found,) = house.print_violations("ketchup_cli.stages.train", "def f():\n    print(1)\n")

    assert found.startswith("ketchup_cli.stages.train, line 2")


def test_a_print_of_the_command_line_passes():
    assert house.print_violations("ketchup_cli.cli.console", "print(1)\n") == []


def test_public_things_without_docstrings_are_found_and_private_ones_are_not():
    source = (
        "def f(): ...\n"
        "def _g(): ...\n"
        "class A:\n"
        "    def m(self): ...\n"
        "    def _n(self): ...\n"
        "    def __init__(self): ...\n"
        "class _B:\n"
        "    def m(self): ...\n"
    )

    found = house.docstring_violations("ketchup_cli.a", source)

    assert [sentence.partition(" ")[0] for sentence in found] == [
        "ketchup_cli.a",
        "ketchup_cli.a.f",
        "ketchup_cli.a.A",
        "ketchup_cli.a.A.m",
    ]
