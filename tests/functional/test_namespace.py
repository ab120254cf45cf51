import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ketchup_cli import functional as F

SOURCE = Path(F.__file__)
MODULES = sorted(path.stem for path in SOURCE.parent.glob("*.py") if path.stem != "__init__")


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_importing_the_namespace_does_not_import_torch():
    code = "import sys; from ketchup_cli import functional; assert 'torch' not in sys.modules"

    assert run(code).returncode == 0


def test_a_function_is_itself_even_after_its_module_was_imported():
    code = (
        "import ketchup_cli.functional.policy_gradients, ketchup_cli.functional.returns;"
        "from ketchup_cli import functional as F;"
        "assert callable(F.policy_gradient) and callable(F.k_step_returns)"
    )

    assert run(code).returncode == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_is_in_the_namespace(name):
    module = import_module(f"ketchup_cli.functional.{name}")
    public = {
        key
        for key, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not key.startswith("_")
    }

    assert public <= set(F.__all__)


@pytest.mark.parametrize("name", F.__all__)
def test_every_name_of_the_namespace_is_there(name):
    assert getattr(F, name) is not None


def test_types_are_declared_for_exactly_the_names_offered():
    blocks = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    declared = [alias.name for block in blocks for node in block.body for alias in node.names]

    assert sorted(declared) == sorted(F.__all__)


def test_a_name_it_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute `torch`"):
        F.torch  # noqa: B018
