"""A folder to type commands in, and what a command left behind."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ketchup_cli.cli import app

ROWS = (("a small house", "een klein huis"), ("the old bird", "de oude vogel"), ("now", "nu"))
TOML = """\
[names]
corpus = "words"
teacher = "./teacher"
student = "small"

[corpus]
prompt_field = "src"
reference_field = "tgt"
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: three rows as train and dev, and a ketchup.toml."""
    for name in ("RANK", "LOCAL_RANK", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"src": src, "tgt": tgt}) + "\n" for src, tgt in ROWS]
    (tmp_path / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    with gzip.open(tmp_path / "dev.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines[0])
    (tmp_path / "ketchup.toml").write_text(TOML, encoding="utf-8")
    return tmp_path


@pytest.fixture
def ketchup(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Types one command line in `folder`."""
    del folder

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = app.run(arguments)
        seen = capsys.readouterr()
        return Result(code, seen.out, seen.err)

    return run


@pytest.fixture
def corpus(ketchup: Callable[..., Result]) -> Result:
    """The corpus `words` made."""
    result = ketchup("corpus", "--train", "train.jsonl", "--dev", "dev.jsonl.gz")
    assert result.code == 0, result.err
    return result
