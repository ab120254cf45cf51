"""A teacher that has learnt the toy corpus, and a healthy project to plant faults in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import projects
import tiny
import torch
from safetensors.torch import load_file, save_file

from ketchup_cli.models.encode import Limits, collate
from ketchup_cli.models.load import save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows

EXAMPLES = tiny.make_examples(24)
LIMITS = Limits(prompt=64, completion=64)
UPDATES = 60
TOML = """\
[names]
corpus = "words"
teacher = "./teacher"
student = "./student"
cache = "words-cache"
pseudo-targets = "words-seqkd"

[cache-teacher]
top = 8

[seqkd]
decoding = { method = "greedy", max_new_tokens = 12 }
filters = { unfinished = false, max_repeat = 0 }
"""


def trained_teacher(architecture: str = "t5") -> Policy:
    """Return a teacher that gives the references of `EXAMPLES` nearly all of the probability."""
    policy = tiny.make_policy(architecture, examples=EXAMPLES)
    rows = reference_rows(policy, EXAMPLES, LIMITS).rows
    batch = collate(rows, pad_id=policy.pad_id, source="data")
    real_BT = batch.mask_BT.bool()
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-2)
    for _ in range(UPDATES):
        logits_NV = policy.logits(batch)[real_BT]
        loss = torch.nn.functional.cross_entropy(logits_NV, batch.tokens_BT[real_BT])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy


def write_corpus(folder: Path, change: Callable[[list[dict]], list[dict]] = list) -> None:
    """Write the toy corpus as rows to import, changed in some way."""
    rows = [{"src": item.prompt, "tgt": item.references[0]} for item in EXAMPLES]
    lines = [json.dumps(row) + "\n" for row in change(rows)]
    (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")


def make_project(folder: Path) -> None:
    """Make corpus, teacher, student, cache and pseudo-targets that belong together."""
    (folder / "ketchup.toml").write_text(TOML, encoding="utf-8")
    teacher = trained_teacher()
    for name in ("teacher", "student"):
        (folder / name).mkdir()
    save_policy(teacher, folder / "teacher", dtype="float32")
    student = tiny.make_policy("t5", seed=3, layers=1, examples=EXAMPLES)
    save_policy(student, folder / "student", dtype="float32")
    write_corpus(folder)
    for command in (import_corpus(), "cache-teacher", "seqkd"):
        result = projects.type_in(command)
        assert result.code == 0, result.err


def import_corpus(name: str = "words") -> str:
    """Return the command that imports the rows."""
    fields = "--prompt-field src --reference-field tgt"
    return f"corpus --train train.jsonl {fields} --name {name}"


def copy_project(base: Path, folder: Path) -> None:
    """Copy a project, so that a fault can be planted in it."""
    shutil.copytree(base, folder, dirs_exist_ok=True)


def doctor(options: str = "") -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the command; return its exit code and the checks by name."""
    result = projects.type_in(f"doctor --json {options}".strip())
    return result.code, {check["name"]: check for check in result.json["checks"]}


def change_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes one out."""
    table = json.loads(path.read_text(encoding="utf-8"))
    table |= changes
    kept = {key: value for key, value in table.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the weights of a model folder in place."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
