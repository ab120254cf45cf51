"""Print a table: exact match of models on both splits, or what samples say of models that learnt by rewards.

python matches.py NAME...             reads NAME-test-scores and NAME-iid-scores
python matches.py --samples NAME...   reads NAME-samples-scores
"""

import json
import subprocess
import sys
from typing import Any

METRIC = "gsm8k-numeric"
SPLITS = ("iid", "test")


def show(name: str) -> dict[str, Any]:
    """Return what `ketchup show NAME --json` says."""
    done = subprocess.run(
        ["ketchup", "show", name, "--json"], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def found(name: str) -> dict[str, Any]:
    """Return the summary of an artifact."""
    return dict(show(name)["manifest"]["summary"])


def cell(score: dict[str, Any] | None) -> str:
    """Return a value with its 95 % interval, or a dash where there is none."""
    if score is None:
        return "-"
    low, high = score["interval"]
    return f"{score['value']:5.1f} [{low:.1f}, {high:.1f}]"


def models(names: list[str]) -> None:
    """Print one line a model: exact match by both readings on both splits, and its size."""
    columns = [f"{split} {metric}" for split in SPLITS for metric in ("numeric", "strict")]
    print(f"{'':<26}{''.join(f'{column:<20}' for column in columns)}{'parameters':>10}")
    for name in names:
        size = found(f"{name}-test").get("parameters", 0) / 1e6
        scores = [found(f"{name}-{split}-scores")["scores"] for split in SPLITS]
        cells = (
            cell(of[metric])
            for of in scores
            for metric in (METRIC, METRIC.replace("numeric", "strict"))
        )
        print(f"{name:<26}{''.join(f'{text:<20}' for text in cells)}{size:>8.1f} M")
    print(scores[0][METRIC]["signature"])


def samples(names: list[str]) -> None:
    """Print one line a model: pass@k of its samples, and what it kept and gained beside a base."""
    kinds = ("pass@1", "pass@8", "keep", "new")
    print(f"{'':<26}{''.join(f'{kind:<22}' for kind in kinds)}")
    for name in names:
        scores = found(f"{name}-samples-scores")["scores"]
        cells = (cell(scores.get(f"{METRIC}/{kind}")) for kind in kinds)
        print(f"{name:<26}{''.join(f'{text:<22}' for text in cells)}")


if __name__ == "__main__":
    if sys.argv[1] == "--samples":
        samples(sys.argv[2:])
    else:
        models(sys.argv[1:])
