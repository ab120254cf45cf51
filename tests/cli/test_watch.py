"""`ketchup watch` at the terminal and off it; the runs are logs of a few lines."""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from watched import Killed, at_work, commit, finished, killed, write

from ketchup_cli.store.layout import Store

NASTY = "\x1b[31mred\x1b[0m [bold]x[/bold] \u202eevil"
LOG = (
    {"event": "begin", "update": 0, "updates": 4, "metric": "bleu", "seconds": 0.0},
    {"event": "validation", "update": 0, "bleu": 20.0, "loss": 3.0, "best_update": 0},
    *(
        {
            "update": number,
            "loss": 4.0 - number,
            "loss_ketchup": 4.0 - number,
            "kl": 0.5,
            "return": -3.0,
            "return_variance": 2.5,
            "gradient_norm": 0.25,
            "entropy": 1.5,
            "student_length": 17.5,
            "student_tokens": 900.0,
            "tokens_per_s": 2310.4,
            "seconds": 10.0 * number,
        }
        for number in (1, 2)
    ),
    {"event": "validation", "update": 2, "bleu": 27.9, "loss": 2.0, "best_update": 2},
    {"event": "warning", "update": 2, "text": NASTY},
)


@pytest.fixture
def store(folder: Path) -> Store:
    return Store.open(folder / "runs")


def test_once_is_a_table_of_a_run_under_way(ketchup, store: Store) -> None:
    with at_work(store, "kl-student", lines=LOG):
        result = ketchup("watch", "kl-student", "--once")

    assert result.code == 0
    head, dev, warning, _, header, *rows = result.out.splitlines()
    assert head.split()[:2] == ["run", "kl-student"]
    assert f"running   pid {os.getpid()} on " in head
    assert head.endswith("update 2/4 (50 %)   20 s left")
    assert dev.split(maxsplit=1) == ["dev", "bleu 27.9, best 27.9 @2, 2 validations"]
    assert warning.split(maxsplit=1) == ["warning", "red [bold]x[/bold] evil"]
    assert header.split() == ["figure", "last", "lowest", "highest", "curve"]
    assert [row[: row.index("  ")] for row in rows] == [
        *("loss", "kl", "return", "return_variance", "gradient_norm", "entropy"),
        *("student_length", "tokens_per_s", "dev bleu", "dev loss"),
    ]
    assert rows[0].split() == ["loss", "2", "2", "3", "█▁"]


def test_all_shows_the_other_figures_too(ketchup, store: Store) -> None:
    with at_work(store, lines=LOG):
        rows = ketchup("watch", "kl", "--once", "--all").out.splitlines()

    assert any(row.startswith("loss_ketchup ") for row in rows)
    assert any(row.startswith("student_tokens ") for row in rows)


def test_as_json_it_is_one_document_of_how_the_run_stands(ketchup, store: Store) -> None:
    with at_work(store, lines=LOG) as build:
        found = ketchup("watch", "--json").json

    assert (found["name"], found["id"], found["state"]) == ("kl", build.id, "running")
    assert (found["update"], found["updates"], found["seconds_left"]) == (2, 4, 20.0)
    assert (found["metric"], found["best"], found["best_update"]) == ("bleu", 27.9, 2)
    assert found["figures"]["loss"] == {"last": 2.0, "lowest": 2.0, "highest": 3.0}
    assert found["dev"]["bleu"] == [[0, 20.0], [2, 27.9]]
    assert found["process"].startswith("pid ")


def test_a_finished_run_says_what_was_kept(ketchup, store: Store) -> None:
    finished(store)
    result = ketchup("watch", "kl")

    assert result.code == 0
    assert result.out.splitlines()[-1].split(maxsplit=1) == ["finished", "kept update 4"]


def test_a_killed_run_ends_with_3_and_says_what_to_do(ketchup, store: Store) -> None:
    killed(store)
    result = ketchup("watch", "kl")

    assert result.code == 3
    assert "dead        nobody works on it, and its log ended" in result.out
    assert "goes on from its last checkpoint" in result.out


@pytest.fixture
def watched(ketchup, store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Watches a run that writes these rows and ends between two looks; gives what was printed."""

    def run(rows: Sequence[dict], *arguments: str):
        with suppress(Killed), at_work(store, lines=LOG[:3]) as build:
            things = iter((partial(write, build, rows), partial(commit, build)))
            monkeypatch.setattr(time, "sleep", lambda _seconds: next(things)())
            return ketchup("watch", "kl", *arguments)

    return run


def test_off_a_terminal_every_row_is_a_line_and_the_watch_ends_with_the_run(watched) -> None:
    result = watched(LOG[3:], "--every", "0")

    assert result.code == 0
    assert [line.split("  ")[0] for line in result.out.splitlines()] == [
        *("run", "validation", "update 1/4", "update 2/4", "validation", "warning", "finished")
    ]
    assert "\x1b" not in result.out
    assert "  loss 2  kl 0.5  return -3  return_variance 2.5  gradient_norm 0.25  " in result.out
    assert "bleu 27.9  loss 2  (best 27.9 @2)" in result.out


def test_updates_are_told_every_so_often_and_the_newest_at_the_end(watched) -> None:
    rows = [{"update": number, "loss": 1.0, "seconds": number} for number in range(2, 9)]
    lines = watched(rows, "--every", "600").out.splitlines()

    updates = [line.split("  ")[0] for line in lines if line.startswith("update")]
    assert updates == ["update 1/4", "update 8/4"]


def test_on_a_terminal_the_table_is_drawn_and_stays(folder: Path, store: Store) -> None:
    with at_work(store, lines=LOG) as build:
        commit(build)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ketchup_cli", "watch", build.id[:8]],
        cwd=folder,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "90"},
    )
    with process:
        _, complaint = process.communicate(timeout=120)
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # what is left of a terminal nobody writes to is an error
            while chunk := os.read(ours, 65536):
                seen += chunk
    os.close(ours)

    assert process.returncode == 0, complaint
    text = seen.decode()
    assert "dev bleu" in text
    assert "[bold]x[/bold]" in text
    assert text.rstrip().endswith("kept update 4")


def test_what_logs_no_training_cannot_be_watched(ketchup, corpus) -> None:
    del corpus
    result = ketchup("watch", "words")

    assert result.code == 2
    assert "`words` is a corpus that `corpus` made, which logs no training" in result.err


def test_a_line_that_is_damaged_is_counted(ketchup, store: Store) -> None:
    with at_work(store) as build:
        with build.log_path("metrics.jsonl").open("a") as file:
            file.write("{torn\n")
        result = ketchup("watch", "kl", "--once")

    assert "damaged     1 lines of the log are no JSON" in result.out
