"""What the documents say about the code is true: commands, links, pins, the example objective."""

import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch
import typer
from command_lines import parse
from objective_inputs import make_inputs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ketchup_cli.cli.app import build_app
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives import Objective
from ketchup_cli.stages import STAGES

ROOT = Path(__file__).resolve().parent.parent
PROSE = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
SCRIPTS = sorted((ROOT / "examples").rglob("*.sh"))
FENCES = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILLED_IN = re.compile(r'="\$\w+"')
LINKS = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def render() -> ModuleType:
    return loaded(ROOT / "scripts" / "render_docs.py")


# generated documents


def test_the_generated_documents_are_current(render):
    assert render.stale(ROOT, render.rendered(ROOT)) == []


def test_a_document_that_was_edited_by_hand_is_found(render, tmp_path):
    documents = render.rendered(ROOT)
    for name, text in documents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "docs" / "cli.md").write_text("# Commands\n", encoding="utf-8")

    assert render.stale(tmp_path, documents) == ["docs/cli.md"]


def test_a_document_that_is_missing_is_found(render, tmp_path):
    assert render.stale(tmp_path, {"docs/cli.md": ""}) == ["docs/cli.md"]


# commands


def command_lines(text: str) -> Iterator[str]:
    """Yield the `ketchup` lines of a shell text, continued lines joined, a loop's numbers filled in."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.strip().removeprefix("$ ")
        if words.startswith("ketchup "):
            yield FILLED_IN.sub("=1", words)


def documented_lines() -> list[str]:
    blocks = [
        content
        for path in PROSE
        for language, content in FENCES.findall(path.read_text(encoding="utf-8"))
        if language in {"bash", "console"}
    ]
    scripts = [path.read_text(encoding="utf-8") for path in SCRIPTS]
    return sorted({line for text in (*blocks, *scripts) for line in command_lines(text)})


def examples_of_help() -> list[str]:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    return re.findall(r"^  Example: (ketchup .+)$", text, re.MULTILINE)


def test_there_are_command_lines_to_hold_against_the_code():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert len(list(command_lines(readme))) >= 8
    assert len(examples_of_help()) >= len(STAGES)


@pytest.mark.parametrize("line", documented_lines())
def test_a_command_line_of_the_documents_parses(line):
    assert f"{line} ".startswith(f"ketchup {parse(line).command} ".replace("  ", " "))


@pytest.mark.parametrize("line", examples_of_help())
def test_an_example_of_the_help_parses(line):
    assert f"{line} ".startswith(f"ketchup {parse(line).command} ")


def test_every_section_of_the_reference_is_a_command():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## `ketchup ?(.*)`$", text, re.MULTILINE)
    group = typer.main.get_command(build_app())
    there = {""} | {
        path
        for name, command in group.commands.items()
        for path in (name, *(f"{name} {below}" for below in getattr(command, "commands", {})))
    }

    assert set(sections) == there


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("ketchup distil --k 4", KeyError),
        ("ketchup distill --kk 4", typer.BadParameter.__mro__[2]),
        ("ketchup distill --set objective.kk=4", SpecError),
        ("ketchup train --set update=4", SpecError),
    ],
    ids=["a command nobody knows", "an option", "a field of the objective", "a setting"],
)
def test_a_command_line_with_an_unknown_word_does_not_parse(line, error):
    with pytest.raises(error):
        parse(line)


def test_every_target_of_make_that_the_documents_name_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = {
        target
        for path in PROSE
        for target in re.findall(r"(?:^|`)make (\w+)", path.read_text("utf-8"), re.MULTILINE)
    }

    assert {"demo", "test"} <= named <= targets


# links, the example, the pins


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path):
    links = LINKS.findall(path.read_text(encoding="utf-8"))

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_objective_of_the_contributing_page_works_as_printed(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (source,) = (code for language, code in FENCES.findall(text) if language == "python")
    (tmp_path / "jeffreys.py").write_text(source, encoding="utf-8")
    objective: Objective = loaded(tmp_path / "jeffreys.py").Jeffreys()

    inputs = make_inputs(needs=objective.needs)
    loss_BT = objective(inputs).loss_BT

    mask_BT = inputs.batch.mask_BT.bool()
    p_NV = inputs.teacher.dense.logits(slice(None)).softmax(-1)
    q_NV = inputs.student.logits_BTV[mask_BT].softmax(-1)
    by_hand_N = ((p_NV - q_NV) * (p_NV.log() - q_NV.log())).sum(-1)
    torch.testing.assert_close(loss_BT[mask_BT], by_hand_N)


def pins() -> dict[str, str]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_every_dependency_is_pinned_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["dev"]]
    named = [item for item in map(Requirement, wanted) if item.name != project["name"]]
    pinned = pins()

    assert [str(item) for item in named if canonicalize_name(item.name) not in pinned] == []
    assert [
        str(item) for item in named if pinned[canonicalize_name(item.name)] not in item.specifier
    ] == []


def test_torch_is_pinned_without_a_local_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", pins()["torch"])
    assert metadata.version("torch").partition("+")[0] == pins()["torch"]
