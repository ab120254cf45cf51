import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ketchup_cli.cli import about, app, inspect
from ketchup_cli.errors import KetchupError

TABLE = (*app.STAGE_COMMANDS, *inspect.COMMANDS, *about.COMMANDS)
CONFIG = tuple((f"config {name}", *rest) for name, *rest in about.CONFIG_COMMANDS)
COMMANDS = {name: (function, example) for name, function, example in (*TABLE, *CONFIG)}
IMPERATIVES = {
    "Draw",
    "Import",
    "Make",
    "Train",
    "Write",
    "Let",
    "Score",
    "Ask",
    "List",
    "Show",
    "Print",
    "Hold",
    "Compare",
    "Test",
    "See",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_line_of_a_help_is_a_short_imperative(name):
    line = (COMMANDS[name][0].__doc__ or "").partition("\n")[0]

    assert len(line) <= 60
    assert line.split()[0] in IMPERATIVES


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_its_example(ketchup, name):
    result = ketchup(*name.split(), "--help")

    assert result.code == 0
    assert f"Example: {COMMANDS[name][1]}" in " ".join(result.out.split())
    assert COMMANDS[name][1].startswith(f"ketchup {name}")


@pytest.mark.parametrize("name", [*app.EXAMPLES])
def test_the_options_of_a_stage_stand_in_one_order(ketchup, name):
    text = ketchup(name, "--help").out
    order = ["--config", "--set", "--store", "--name", "--dry-run", "--json"]
    places = [text.index(f"\n  {option} ") for option in order]

    assert places == sorted(places)


def test_without_a_command_the_help_is_printed(ketchup):
    result = ketchup()

    assert result.code == 0
    assert "Exit codes: 0 done or already there" in " ".join(result.out.split())


def test_the_version_is_printed(ketchup):
    from ketchup_cli import __version__

    assert ketchup("--version").out == f"{__version__}\n"


def test_an_unknown_option_is_an_error_with_a_hint(ketchup):
    result = ketchup("train", "--studnet", "x")

    assert result.code == 2
    assert result.err.startswith("error: no such option: --studnet")
    assert "--student" in result.err
    assert result.err.endswith("hint: ketchup train --help\n")
    assert result.out == ""


def test_an_unknown_command_is_an_error_with_a_hint(ketchup):
    result = ketchup("trian")

    assert result.code == 2
    assert "hint: ketchup --help" in result.err


def test_an_error_under_json_is_a_document_on_stdout(ketchup):
    result = ketchup("train", "--json", "--set", "updatess=1")

    error = result.json["error"]
    assert error["code"] == "spec-error"
    assert error["exit"] == result.code == 2
    assert "nearest: `updates`" in error["message"]
    assert error["hint"] == "ketchup config show train"


def test_a_usage_error_under_json_is_a_document_too(ketchup):
    assert ketchup("train", "--json", "--nonsense").json["error"]["code"] == "usage"


def subclasses(kind: type[KetchupError]) -> list[type[KetchupError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in subclasses(child))]


@pytest.mark.parametrize("kind", subclasses(KetchupError), ids=lambda kind: kind.__name__)
def test_every_error_ends_with_its_exit_code(ketchup, monkeypatch, kind):
    failing(monkeypatch, kind("it is `wrong`", hint="mend it"))

    result = ketchup("env")

    assert result.code == kind.exit_code
    assert result.err == "error: it is `wrong`\nhint: mend it\n"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `ketchup env` end with `error`."""

    def fail() -> None:
        raise error

    table = tuple((name, fail if name == "env" else f, e) for name, f, e in about.COMMANDS)
    monkeypatch.setattr(about, "COMMANDS", table)


def test_a_full_disk_ends_with_28(ketchup, monkeypatch):
    failing(monkeypatch, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there/file"))

    result = ketchup("env")

    assert result.code == 28
    assert "the disk is full at `/there/file`" in result.err


def test_a_refused_permission_ends_with_13_and_the_path(ketchup, monkeypatch):
    failing(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "/there"))

    result = ketchup("env")

    assert result.code == 13
    assert "no permission at `/there`: Permission denied" in result.err


def test_an_interrupt_ends_with_130(ketchup, monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())

    result = ketchup("env")

    assert result.code == 130
    assert "interrupted; the same command goes on from here" in result.err


def test_an_unknown_exception_keeps_its_traceback(ketchup, monkeypatch):
    failing(monkeypatch, RuntimeError("a bug"))

    with pytest.raises(RuntimeError, match="a bug"):
        ketchup("env")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder nobody may write in")
def test_a_store_nobody_may_write_in_is_told_with_its_path(ketchup):
    result = ketchup("corpus", "--train", "train.jsonl", "--store", "/sys/kernel/runs")

    assert result.code == 13
    assert "`/sys/kernel/runs" in result.err


def test_control_characters_of_an_argument_are_not_printed(ketchup):
    result = ketchup("show", "\x1b[31mred\x07")

    assert result.code == 2
    assert re.search(r"`[^`]*red`", result.err)
    assert "\x1b" not in result.err


def test_a_reader_that_leaves_early_causes_no_traceback():
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m ketchup_cli config show | head -1"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "Traceback" not in done.stderr
