"""A printed command line makes the settings, and so the id, that it was printed for."""

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from ketchup_cli.cli.project import Project
from ketchup_cli.cli.repeat import called, command
from ketchup_cli.cli.settings import Layer, resolve_settings, set_layers
from ketchup_cli.spec import canonical
from ketchup_cli.stages import STAGES
from ketchup_cli.store.manifest import InputEntry, Manifest

EMPTY = Project(folder=Path(), path=None, store=Path("runs"), names={}, tables={})
DISTILL = (
    ("student", "model"),
    ("corpus", "corpus"),
    ("teacher", "model"),
)
MIX = 'objective=[{name = "kl", weight = 0.5}, {name = "nll"}]'
SETTINGS = {
    "defaults": ("train", ["seed=0"], None),
    "nested settings": (
        "train",
        ["optimizer.learning_rate=1e-2", "optimizer.name=adafactor", "validation.every=7"],
        None,
    ),
    "a word that is a TOML value": ("corpus", ['prompt_field="true"', "languages=['en']"], None),
    "the default objective": ("distill", ["updates=3"], None),
    "another k": ("distill", ["objective.k=9"], None),
    "a field of the objective": ("distill", ["objective.baseline=none", "rollout.top_k=5"], None),
    "another objective": ("distill", ["objective=kl", "objective.temperature=2.0"], None),
    "a preset": ("distill", ["objective=ketchup"], "paper"),
    "a preset that brings a second term": ("distill", ["objective=sinkd"], "released"),
    "a mix": ("distill", [MIX, "updates=2"], None),
    "a list of tables": ("lab", ['objectives=[{name = "vopd"}]', "k=[1, 4]"], None),
}


def manifest(
    stage: str, spec: dict[str, Any], roles: Any, *, version: int | None = None
) -> Manifest:
    """A manifest that says little beside its settings and inputs."""
    inputs = [
        InputEntry(role=role, kind=kind, id="0" * 64, digest="sha256:" + "0" * 64, label=role)
        for role, kind in roles
    ]
    return Manifest(
        kind=STAGES[stage].kind,
        kind_version=STAGES[stage].version if version is None else version,
        id="0" * 64,
        digest="sha256:" + "0" * 64,
        spec=spec,
        inputs=tuple(inputs),
        files=(),
        summary={},
        signature=f"{stage}/1|v:0.1.0",
        environment={},
        created="2026-01-02T03:04:05Z",
        seconds=1.0,
    )


def spec_of(stage: str, sets: list[str], preset: str | None = None) -> dict[str, Any]:
    table = resolve_settings(STAGES[stage], EMPTY, set_layers(sets), preset=preset).identity
    return json.loads(canonical(table))


def retyped(line: str, stage: str) -> dict[str, Any]:
    """The settings that a line stands for, read as the command itself reads it."""
    words = shlex.split(line)
    given = {"--set": []}
    for word, value in itertools.pairwise(words):
        if word == "--set":
            given["--set"].append(value)
        elif word.startswith("--"):
            given[word] = value
    flags = []
    if "--k" in given:
        table = {"objective": {"name": "ketchup"}}
        flags = [Layer(origin="--k", table=table)]
        flags.append(Layer(origin="--k", table={"objective": {"k": int(given["--k"])}}))
    if "--objective" in given:
        flags = [Layer(origin="--objective", table={"objective": {"name": given["--objective"]}})]
    table = resolve_settings(STAGES[stage], EMPTY, (*flags, *set_layers(given["--set"]))).identity
    return json.loads(canonical(table))


@pytest.mark.parametrize(("stage", "sets", "preset"), SETTINGS.values(), ids=SETTINGS)
def test_a_line_stands_for_the_settings_it_was_made_of(stage, sets, preset):
    spec = spec_of(stage, sets, preset)
    line = command(manifest(stage, spec, ()), name="again", call=lambda entry: entry.label)

    assert line.startswith(f"ketchup {stage}")
    assert retyped(line, stage) == spec


def test_what_is_a_default_is_not_typed():
    line = command(manifest("train", spec_of("train", []), ()), name="n", call=lambda _: "")

    assert line == "ketchup train --name n"


def test_inputs_are_named_by_their_flags():
    made = manifest("distill", spec_of("distill", ["objective=kl"]), DISTILL)
    line = command(made, name="n", call=lambda entry: f"my {entry.role}")

    assert line.startswith("ketchup distill --student 'my student' --corpus 'my corpus' --teacher")


def test_the_files_of_a_corpus_are_named_by_split():
    roles = [("train.prompt", "file"), ("train.reference", "file"), ("dev", "file")]
    made = manifest("corpus", spec_of("corpus", []), roles)
    line = command(made, name="n", call=lambda entry: entry.role)

    assert line == "ketchup corpus --train train.prompt,train.reference --dev dev --name n"


def test_a_split_without_a_flag_of_its_own_is_named_by_split():
    made = manifest("corpus", spec_of("corpus", []), [("train", "file"), ("iid", "file")])
    line = command(made, name="n", call=lambda entry: f"{entry.role}.csv")

    assert line == "ketchup corpus --train train.csv --split iid=iid.csv --name n"


@pytest.mark.parametrize(
    ("stage", "spec", "version"),
    [
        ("train", {"updates": 3}, None),
        ("train", {"unheard_of": 3}, None),
        ("distill", {"objective": [{"name": "unheard_of"}]}, None),
        ("train", {}, 99),
    ],
    ids=["settings missing", "an unknown setting", "an unknown objective", "another version"],
)
def test_what_this_version_cannot_make_is_a_comment(stage, spec, version):
    line = command(manifest(stage, spec, (), version=version), name="old", call=lambda _: "")

    assert line.startswith("# old: ")


def test_inputs_that_no_flag_names_are_a_comment():
    made = manifest("train", spec_of("train", []), [("unheard-of", "model")])

    assert command(made, name="n", call=lambda _: "").startswith("# n: ")


def test_an_input_is_called_by_name_by_hub_id_or_by_path():
    entry = InputEntry(role="r", kind="model", id=None, digest="d", label="a folder")
    hub = InputEntry(role="r", kind="model", id=None, digest="d", label="org/name@0a1b")
    file = InputEntry(role="r", kind="file", id=None, digest="d", label="train.jsonl")
    known = InputEntry(role="r", kind="model", id="x", digest="d", label="small@2")

    assert [called(item, {"x": "small"}) for item in (entry, hub, file, known)] == [
        "./a folder",
        "org/name@0a1b",
        "train.jsonl",
        "small",
    ]


def test_the_lines_of_a_page_find_what_is_there(ketchup, corpus, folder):
    del corpus
    ketchup("new-model", "--set", "layers=1", "--set", "width=16", "--name", "fresh")
    ketchup("report", "fresh", "-o", "page.html")
    (folder / "ketchup.toml").unlink()
    page = (folder / "page.html").read_text(encoding="utf-8")
    lines = page.partition('<pre class="commands">')[2].partition("</pre>")[0]
    unescaped = lines.replace("&#39;", "'").replace("&#34;", '"').strip().splitlines()

    assert [line.split()[1] for line in unescaped] == ["corpus", "new-model"]
    for line in unescaped:
        assert ketchup(*shlex.split(line)[1:], "--json").json["already_done"], line
