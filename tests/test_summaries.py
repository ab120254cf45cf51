"""The corpus of examples/summaries is what its script says, and its runs work on a Llama."""

import gzip
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import projects
import pytest
from command_lines import parse

from ketchup_cli import objectives
from ketchup_cli.cli.project import load_project

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "summaries"
SETTINGS = ("ketchup.toml", "teacher.toml", "reader.toml")
SCRIPT = (FOLDER / "objectives.sh").read_text(encoding="utf-8")
RUNS = re.findall(r"^learn \S+ (.+)$", SCRIPT, re.MULTILINE)
ONE_UPDATE = (
    "distill --json --from small --name tried --set updates=1 --set validation.every=0"
    " --set validation.examples=2 --set rollout.prompts=4 --set rollout.samples=2"
    " --set checkpoint_every=0 --set dropout=0 --set optimizer.warmup=0"
)
BEGINNING = (
    "new-model --set architecture=llama --name teacher",
    "cache-teacher",
    "seqkd",
    "shrink",
    "rollout --model small --name try-rollouts --set decoding.texts=4 --set decoding.max_new_tokens=8"
    " --set reward.shaped=chrf --set reward.threshold=0.02 --set reward.cut=judged",
)

PACKAGES = """\
Package: anthill
Section: games

Package: libanthill1
Source: anthill (1.2-3)
Section: libs

Package: anthill-dbg
Source: anthill
Section: debug

Package: echo
Section: utils
"""
ENGLISH = """\
Package: anthill
Description-md5: 1
Description-en: simulation of busy insects
 Watch a colony grow from one queen to a state of thousands, find food, build
 galleries and fight its neighbours.
 .
 There is:
  * a map that
    never ends,
  1. weather.
 .
  a level editor
  with undo

Package: libanthill1
Description-md5: 2
Description-en: colony engine (shared library)
 The rules by which insects of many kinds decide where to walk and what to carry
 home to their hill, for the Amiga
 500. In C.

Package: anthill-dbg
Description-md5: 3
Description-en: what a debugger wants to know
 The names of functions and variables in the simulation, for whoever wants to see
 why it stopped in the middle of a game.

Package: echo
Description-md5: 4
Description-en: prints its words
 A small tool that, whatever it is given on its command line, prints its words
 and leaves, with or without a new line.
"""


@pytest.fixture(scope="module")
def corpus() -> ModuleType:
    spec = importlib.util.spec_from_file_location("summaries_corpus", FOLDER / "corpus.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    begin = "mirror_dists_bookworm_main_"
    (folder / f"{begin}binary-amd64_Packages").write_text(PACKAGES, encoding="utf-8")
    (folder / f"{begin}i18n_Translation-en").write_text(ENGLISH, encoding="utf-8")
    return folder


def rows(folder: Path) -> dict[str, dict]:
    """Return what was written, by package, each row with its split."""
    found = {}
    for path in folder.glob("*.jsonl.gz"):
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            row = json.loads(line)
            found[row["pkg"]] = row | {"split": path.name.partition(".")[0]}
    return found


def test_lists_of_a_description_become_items_and_years_do_not(corpus, lists, tmp_path):
    corpus.main(["--lists", str(lists), "--out", str(tmp_path)])

    found = rows(tmp_path)
    assert found["anthill"]["document"].endswith(
        "There is: - a map that never ends, - weather. - a level editor with undo"
    )
    assert found["libanthill1"]["document"].endswith("for the Amiga 500. In C.")
    assert found["libanthill1"]["summary"] == "colony engine (shared library)"


def test_packages_of_one_source_stand_in_one_split(corpus, lists, tmp_path):
    corpus.main(["--lists", str(lists), "--out", str(tmp_path)])

    found = rows(tmp_path)
    assert found["libanthill1"]["source"] == "anthill"
    assert found["libanthill1"]["split"] == found["anthill"]["split"]


def test_a_summary_that_can_be_copied_whole_and_debug_symbols_are_left_out(corpus, lists, tmp_path):
    corpus.main(["--lists", str(lists), "--out", str(tmp_path)])

    assert sorted(rows(tmp_path)) == ["anthill", "libanthill1"]


def test_the_same_index_gives_the_same_bytes(corpus, lists, tmp_path):
    for name in ("first", "second"):
        corpus.main(["--lists", str(lists), "--out", str(tmp_path / name)])

    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    assert sorted(first) == ["dev.jsonl.gz", "test.jsonl.gz", "train.jsonl.gz"]


def test_few_rows_of_one_source_or_one_summary_are_kept(corpus):
    letters = "abcdefghij"
    many = [{"pkg": c, "source": "one", "summary": f"{c} in {c}", "document": c} for c in letters]
    alike = [{"pkg": c, "source": c, "summary": "all the same", "document": 2 * c} for c in letters]

    kept = list(corpus.chosen([*many, *alike]))

    assert sum(row["source"] == "one" for row in kept) == 4
    assert sum(row["summary"] == "all the same" for row in kept) == 2


def test_documents_that_differ_in_numbers_alone_are_one(corpus):
    versions = [
        {"pkg": f"gcc-{n}", "source": f"gcc-{n}", "summary": f"number {n}", "document": f"GCC {n}"}
        for n in range(5)
    ]

    assert len(list(corpus.chosen(versions))) == 1


def test_documents_are_cut_where_it_is_asked_for(corpus, lists, tmp_path):
    corpus.main(["--lists", str(lists), "--out", str(tmp_path), "--words", "4"])

    assert rows(tmp_path)["anthill"]["document"] == "Watch a colony grow"


def test_a_machine_without_apt_is_told_what_to_do(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(corpus.CorpusError, match="no `apt-get`") as raised:
        corpus.main(["--out", str(tmp_path)])

    assert "debian:bookworm" in raised.value.hint


def test_a_release_that_is_not_there_is_told_with_those_that_are(corpus, lists, tmp_path):
    with pytest.raises(corpus.CorpusError, match="`trixie`, but bookworm") as raised:
        corpus.main(["--lists", str(lists), "--out", str(tmp_path), "--release", "trixie"])

    assert raised.value.hint == "python corpus.py --release bookworm"


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("stage", ["corpus", "new-model", "train", "distill", "seqkd", "score"])
def test_the_settings_are_ones_that_exist(settings, stage):
    project = load_project(FOLDER / settings, store=None)

    origins = parse(f"ketchup {stage}", project).origins

    assert (str(project.path) in origins.values()) == bool(project.tables.get(stage))


@pytest.mark.parametrize("run", RUNS)
def test_a_run_of_an_objective_has_settings_that_exist(run):
    origins = parse(
        f"ketchup distill {run}", load_project(FOLDER / "ketchup.toml", store=None)
    ).origins

    assert ("--set" in origins.values()) == ("--set" in run)


def test_every_objective_is_run():
    named = {word for run in RUNS for word in re.findall(r"--objective (\S+)", run)}
    named |= {"ketchup"} if any(run.startswith("--k ") for run in RUNS) else set()

    # the students here are Llamas, which write the next token
    filling = {name for name in objectives.names() if objectives.load(name)().needs.lengths}
    assert named == set(objectives.names()) - filling


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of two layers, its cache and its texts, and a student of one layer."""
    folder = tmp_path_factory.mktemp("llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        projects.make(folder)
        for line in BEGINNING:
            assert projects.type_in(line).code == 0
    return folder


@pytest.mark.parametrize("run", RUNS)
def test_a_decoder_only_student_learns_by_every_run_of_the_script(pair, run, monkeypatch):
    monkeypatch.chdir(pair)

    result = projects.type_in(f"{ONE_UPDATE} {run}")

    assert result.code == 0, result.err
    summary = result.json["summary"]
    assert summary["updates"] == 1
    assert summary["last"]["loss"] != summary["first"]["loss"]
