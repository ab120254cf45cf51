"""Every stage through the command line, for both kinds of models, and everything again as hits."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny

from ketchup_cli.cli import app

HEAVY = ("torch", "transformers", "datasets", "numpy", "scipy", "sacrebleu", "accelerate")

TOML = """\
[names]
corpus = "toy"
teacher = "teacher"
student = "small"
cache = "toy-cache"
pseudo-targets = "toy-seqkd"
generations = "texts"

[corpus]
prompt_field = "src"
reference_field = "tgt"

[new-model]
architecture = "{architecture}"
layers = 2
width = 32
heads = 2
inner = 48
positions = 64
tokenizer = {{ kind = "{tokenizer}", vocabulary = {vocabulary} }}

[train]
updates = 12
tokens_per_batch = 400
dropout = 0.0
optimizer = {{ learning_rate = 1e-2, warmup = 2 }}
validation = {{ every = 6, max_new_tokens = 12, metric = "chrf" }}

[cache-teacher]
top = 8

[seqkd]
decoding = {{ method = "beam", beams = 2, max_new_tokens = 12 }}
filters = {{ unfinished = false, max_repeat = 0 }}

[shrink]
encoder = 1
decoder = 1

[distill]
updates = 4
tokens_per_batch = 400
checkpoint_every = 2
optimizer = {{ learning_rate = 1e-3, warmup = 1 }}
rollout = {{ prompts = 6, samples = 2, max_new_tokens = 8, unfinished = "terminal" }}
validation = {{ every = 2, examples = 8, max_new_tokens = 12, probe = 4 }}

[generate]
decoding = {{ max_new_tokens = 12 }}

[score]
resamples = 100
"""

TOKENIZERS = {"t5": ("unigram", 90), "gpt2": ("bpe", 280)}

COMMANDS = (
    "corpus --train train.jsonl --dev dev.jsonl --test test.jsonl",
    "new-model --name random",
    "train --student random --name teacher",
    "cache-teacher",
    "cache-teacher --set top=0 --name statistics",
    "seqkd",
    "cache-teacher --pseudo-targets toy-seqkd --name seqkd-cache",
    "shrink",
    "distill --objective nll --pseudo-targets toy-seqkd --name seqkd-student",
    "distill --objective kl --name kl-student",
    "distill --objective kl --set teacher=live --name live-student",
    "distill --k 4 --from kl-student --name ketchup-student",
    "distill --objective llmr --from kl-student --name llmr-student",
    "generate --model teacher --name teacher-texts",
    "generate --model ketchup-student",
    "score --generations teacher-texts --name teacher-scores",
    "score",
    "compare teacher ketchup-student",
)

AGAIN = f"""
import sys
from ketchup_cli.cli.app import run

for line in sys.stdin.read().splitlines():
    assert run(line.split()) == 0, line
assert not [name for name in {HEAVY!r} if name in sys.modules], sorted(sys.modules)
"""


@dataclass(frozen=True)
class Pipeline:
    """A folder in which every command was typed once."""

    folder: Path
    ids: dict[str, str] = field(default_factory=dict)
    """What each command printed on stdout."""


def write_corpus(folder: Path) -> None:
    examples = tiny.make_examples(48)
    for split, rows in (
        ("train", examples[:32]),
        ("dev", examples[32:40]),
        ("test", examples[40:]),
    ):
        lines = [json.dumps({"src": row.prompt, "tgt": row.references[0]}) for row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer, vocabulary = TOKENIZERS[request.param]
    settings = {"architecture": request.param, "tokenizer": tokenizer, "vocabulary": vocabulary}
    (folder / "ketchup.toml").write_text(TOML.format(**settings), encoding="utf-8")
    write_corpus(folder)
    made = Pipeline(folder)
    type_in = request.getfixturevalue("typed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("RANK", "LOCAL_RANK"):
            patch.delenv(name, raising=False)
        for command in COMMANDS:
            made.ids[command] = type_in(command)
    return made


@pytest.fixture(scope="module")
def typed() -> Callable[[str], str]:
    """Types a command line and returns what it printed on stdout."""

    def type_in(command: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = app.run(command.split())
        assert code == 0, f"{command}\n{err.getvalue()}"
        return out.getvalue()

    return type_in


def manifest(pipeline: Pipeline, kind: str, command: str) -> dict:
    (path,) = (pipeline.folder / "runs" / "objects" / kind).glob(
        f"{pipeline.ids[command].strip()}*"
    )
    return json.loads((path / "manifest.json").read_bytes())


def test_every_command_prints_an_id_and_nothing_else(pipeline: Pipeline) -> None:
    assert all(len(printed) == 9 and printed.endswith("\n") for printed in pipeline.ids.values())
    assert len(set(pipeline.ids.values())) == len(COMMANDS)


def test_everything_typed_again_is_done_already_without_a_heavy_import(pipeline: Pipeline) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AGAIN],
        input="\n".join(COMMANDS),
        cwd=pipeline.folder,
        env={key: value for key, value in os.environ.items() if key != "RANK"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(pipeline.ids[command] for command in COMMANDS)
    assert done.stderr.count("already done") == len(COMMANDS)


def test_inputs_are_found_by_role(pipeline: Pipeline) -> None:
    kl = manifest(pipeline, "model", "distill --objective kl --name kl-student")
    live = manifest(pipeline, "model", COMMANDS[10])
    rl = manifest(pipeline, "model", "distill --k 4 --from kl-student --name ketchup-student")

    assert {item["role"] for item in kl["inputs"]} == {"student", "corpus", "teacher", "cache"}
    assert {item["role"] for item in live["inputs"]} == {"student", "corpus", "teacher"}
    assert {item["role"]: item["label"] for item in rl["inputs"]}["student"] == "kl-student@1"


def test_a_student_of_rewards_is_watched_on_dev(pipeline: Pipeline) -> None:
    summary = manifest(pipeline, "model", "distill --k 4 --from kl-student --name ketchup-student")[
        "summary"
    ]

    assert summary["updates"] == 4
    assert {"bleu", "chrf", "loss", "kl_probe", "length_ratio"} <= summary["last"].keys()


def test_scores_are_of_every_text(pipeline: Pipeline) -> None:
    texts = manifest(pipeline, "generations", "generate --model ketchup-student")
    scores = manifest(pipeline, "scores", "score")

    assert texts["summary"]["texts"] == 8
    assert {item["role"]: item["id"] for item in scores["inputs"]}["generations"] == texts["id"]


def test_no_artifact_is_damaged_and_nothing_half_written_is_left(
    pipeline: Pipeline, typed: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pipeline.folder)
    printed = typed("verify --json")
    left = [path for path in (pipeline.folder / "runs" / "tmp").iterdir() if path.is_dir()]

    assert json.loads(printed)
    assert left == []
