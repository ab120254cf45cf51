"""A whole project of two-layer models, made by commands: what tests of commands stand on."""

import contextlib
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from ketchup_cli.cli import app
from ketchup_cli.store.layout import Store

TOML = """\
[names]
corpus = "toy"
teacher = "teacher"
student = "small"
cache = "toy-cache"
pseudo-targets = "toy-seqkd"
generations = "texts"

[new-model]
layers = 2
width = 32
heads = 2
inner = 48
positions = 64
dropout = 0.0
tokenizer = { kind = "unigram", vocabulary = 90 }

[train]
updates = 3
tokens_per_batch = 400
checkpoint_every = 1
validation = { every = 0, metric = "loss" }

[cache-teacher]
top = 8

[seqkd]
decoding = { method = "greedy", max_new_tokens = 6 }
filters = { unfinished = false, max_repeat = 0 }

[shrink]
encoder = 1
decoder = 1

[distill]
updates = 4
tokens_per_batch = 400
checkpoint_every = 1
optimizer = { learning_rate = 1e-3, warmup = 1 }
rollout = { prompts = 6, samples = 2, max_new_tokens = 6, unfinished = "terminal" }
validation = { every = 0, metric = "loss", examples = 8, probe = 0 }

[generate]
decoding = { max_new_tokens = 6 }
"""

COMMANDS = (
    "corpus --train train.jsonl --dev dev.jsonl --test test.jsonl",
    "new-model --name teacher",
    "new-model --name other --set tokenizer.vocabulary=40",
    "shrink",
)
SIZES = {"train": 24, "dev": 8, "test": 8}


@dataclass(frozen=True)
class Result:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def type_in(command: str) -> Result:
    """Type one command line in the current folder."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.run(command.split())
    return Result(code, out.getvalue(), err.getvalue())


def make(folder: Path) -> Path:
    """Make corpus, teacher, another model and student in a folder that is the current one."""
    (folder / "ketchup.toml").write_text(TOML, encoding="utf-8")
    examples = iter(tiny.make_examples(sum(SIZES.values())))
    for split, count in SIZES.items():
        rows = [next(examples) for _ in range(count)]
        lines = [json.dumps({"prompt": row.prompt, "reference": row.references[0]}) for row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for command in COMMANDS:
        result = type_in(command)
        assert result.code == 0, result.err
    return folder


def published(root: Path) -> dict[str, str]:
    """Return what a reader of the store can see: the digest of every object's file and name."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("objects", "names")
        for path in sorted((root / part).rglob("*"))
        if path.is_file()
    }


def half_written(root: Path) -> list[str]:
    """Return the folders under construction."""
    return sorted(path.name for path in Store.open(root).staging.iterdir() if path.is_dir())


def copy_model(name: str, to: Path) -> Path:
    """Copy a model of the store into a folder of its own, without its manifest."""
    source = Path(type_in(f"path {name}").out.strip())
    to.mkdir()
    for path in source.iterdir():
        if path.is_file() and path.name != "manifest.json":
            (to / path.name).write_bytes(path.read_bytes())
    return to


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a model folder."""
    return load_file(folder / "model.safetensors")


def put_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """Replace the weights of a model folder."""
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
