"""What can go wrong with real models, typed as a command: code, hint, and an unchanged store."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import projects
import pytest
import storing
import torch
from projects import type_in

from ketchup_cli.store import find
from ketchup_cli.store.layout import Store
from ketchup_cli.store.lock import locked

LIVE = "--objective kl --set teacher=live"

Prepare = Callable[[Path, ExitStack], None]


def as_it_is(_folder: Path, _stack: ExitStack) -> None:
    """Change nothing: the command line itself is the fault."""


def with_nan(folder: Path, _stack: ExitStack) -> None:
    """Put one NaN into the embeddings of a copy of the teacher."""
    model = projects.copy_model("teacher", folder / "broken")
    weights = projects.weights_of(model)
    weights["shared.weight"][7, 3] = float("nan")
    projects.put_weights(model, weights)


def with_fewer_rows(folder: Path, _stack: ExitStack) -> None:
    """Cut the last two rows off the vocabulary of a copy of the teacher."""
    resized(folder, rows=-2)


def resized(folder: Path, *, rows: int) -> None:
    """Give a copy of the teacher more rows than its tokenizer has tokens, or fewer."""
    model = projects.copy_model("teacher", folder / "broken")
    weights = projects.weights_of(model)
    old = weights["shared.weight"]
    grown = torch.cat([old, torch.full((max(0, rows), old.shape[1]), 1e4)])
    weights["shared.weight"] = grown[: len(old) + rows].contiguous()
    projects.put_weights(model, weights)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["vocab_size"] = len(old) + rows
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")


def with_an_empty_file(folder: Path, _stack: ExitStack) -> None:
    """Leave no line in the training file."""
    (folder / "train.jsonl").write_bytes(b"")


def from_a_later_version(folder: Path, _stack: ExitStack) -> None:
    """Publish the teacher once more, by a stage whose meaning this version does not know."""
    store = Store.open(folder / "runs")
    teacher = find.find(store, "teacher").path
    with storing.building(store, kind="model", version=99) as build:
        for path in (path for path in teacher.iterdir() if path.name != "manifest.json"):
            build.write_bytes(path.name, path.read_bytes())
        find.give_name(store, "future", storing.commit(build))


def with_a_later_manifest(folder: Path, _stack: ExitStack) -> None:
    """Let the teacher's manifest say that it is of a later form."""
    path = find.find(Store.open(folder / "runs"), "teacher").path / "manifest.json"
    path.chmod(0o644)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"ketchup_manifest":1', '"ketchup_manifest":2'), encoding="utf-8")


def while_another_works(command: str) -> Prepare:
    """Let another run hold the lock of what the command makes."""

    def prepare(folder: Path, stack: ExitStack) -> None:
        id = type_in(f"{command} --dry-run --json").json["id"]
        lock: AbstractContextManager[None] = locked(
            Store.open(folder / "runs").lock_path(id), label="another run"
        )
        stack.enter_context(lock)

    return prepare


CASES: dict[str, tuple[Prepare, str, int, str]] = {
    "another tokenizer": (as_it_is, f"distill --from other {LIVE}", 3, "tokenizer"),
    "fewer rows than tokens, teacher": (
        with_fewer_rows, "cache-teacher --teacher ./broken", 1, "output rows for",
    ),
    "fewer rows than tokens, student": (
        with_fewer_rows, f"distill --from ./broken {LIVE}", 1, "output rows for",
    ),
    "NaN, cache-teacher": (with_nan, "cache-teacher --teacher ./broken", 7, "not finite"),
    "NaN, seqkd": (with_nan, "seqkd --teacher ./broken", 7, "not finite"),
    "NaN, generate": (with_nan, "generate --model ./broken", 7, "not finite"),
    "NaN, train": (with_nan, "train --student ./broken", 7, "nan"),
    "NaN, student": (with_nan, f"distill --from ./broken {LIVE}", 7, "nan"),
    "NaN, teacher": (with_nan, "distill --k 2 --teacher ./broken", 7, "nan|not finite"),
    "an empty corpus": (with_an_empty_file, "corpus --train train.jsonl", 1, "train.jsonl"),
    "long prompts, seqkd": (as_it_is, "seqkd --set max_prompt_tokens=2", 1, "the limits are"),
    "long rows, train": (
        as_it_is, "train --student small --set max_completion_tokens=2", 1, "the limits are",
    ),
    "long rows, cache-teacher": (
        as_it_is, "cache-teacher --set max_completion_tokens=2", 1, "the limits are",
    ),
    "long prompts, distill": (
        as_it_is, "distill --k 2 --set max_prompt_tokens=2", 1, "the limits are",
    ),
    "only long rows": (
        as_it_is,
        "cache-teacher --set max_completion_tokens=1 --set too_long=skip",
        1,
        "longer than allowed",
    ),
    "a later stage": (from_a_later_version, "cache-teacher --teacher future", 1, "newer ketchup"),
    "a later manifest": (with_a_later_manifest, "cache-teacher", 1, "newer ketchup"),
    "busy, cache-teacher": (
        while_another_works("cache-teacher"), "cache-teacher", 6, "another run",
    ),
    "busy, distill": (while_another_works("distill --k 2"), "distill --k 2", 6, "another run"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("RANK", "LOCAL_RANK"):
            patch.delenv(name, raising=False)
        return projects.make(folder)


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, which is the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_fault_ends_with_its_code_and_a_hint_and_leaves_the_store_as_it_was(
    name: str, project: Path
) -> None:
    prepare, command, code, words = CASES[name]
    with ExitStack() as stack:
        prepare(project, stack)
        before = projects.published(project / "runs")
        result = type_in(command)
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    hints = [line for line in result.err.splitlines() if line.startswith("hint: ")]

    assert result.code == code, result.err
    assert len(errors) == 1
    assert len(hints) == 1
    assert len(hints[0]) > len("hint: ")
    assert any(word in errors[0] for word in words.split("|")), errors
    assert "Traceback" not in result.err
    assert result.out == ""
    assert projects.published(project / "runs") == before


@pytest.mark.parametrize("name", ["another tokenizer", "NaN, cache-teacher", "a later stage"])
def test_a_fault_is_one_json_document_where_it_is_asked_for(name: str, project: Path) -> None:
    prepare, command, code, _ = CASES[name]
    with ExitStack() as stack:
        prepare(project, stack)
        error = type_in(f"{command} --json").json["error"]

    assert error["exit"] == code
    assert error["message"]
    assert error["hint"]


@pytest.mark.parametrize("name", [name for name in CASES if "NaN" not in name])
def test_what_is_refused_before_the_work_leaves_nothing_under_construction(
    name: str, project: Path
) -> None:
    prepare, command, _, _ = CASES[name]
    with ExitStack() as stack:
        prepare(project, stack)
        type_in(command)

    assert projects.half_written(project / "runs") == []


def test_a_vocabulary_padded_with_more_rows_is_no_fault(project: Path) -> None:
    resized(project, rows=6)
    padded = type_in("cache-teacher --teacher ./broken --name padded --json")
    plain = type_in("cache-teacher --name plain --json")

    assert (padded.code, plain.code) == (0, 0), padded.err
    assert padded.json["digest"] == plain.json["digest"]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("cache-teacher --set examples=6", "cache-teacher"),
        ("seqkd --set examples=6", "seqkd"),
        ("generate --model small --set examples=6", "generate --model small"),
    ],
    ids=["cache-teacher", "seqkd", "generate"],
)
def test_a_plan_tells_the_time_only_once_the_model_has_worked(
    first: str, later: str, project: Path
) -> None:
    del project
    before = type_in(f"{later} --dry-run --json").json["plan"]
    assert type_in(f"{first} --name first").code == 0
    after = dict(type_in(f"{later} --dry-run --json").json["plan"])

    assert "time" not in dict(before)
    assert after["time"].startswith("about ")
    assert after["time"].endswith("at the rate of first@1")
