"""Print one line a model: scores with intervals, size, speed; then where everything lies.

python table.py NAME...     reads the artifacts NAME-test (generations) and NAME-scores
"""

import json
import subprocess
import sys
from typing import Any


def show(name: str) -> dict[str, Any]:
    """Return what `ketchup show NAME --json` says."""
    done = subprocess.run(
        ["ketchup", "show", name, "--json"], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def cell(score: dict[str, Any]) -> str:
    """Return a value with its 95 % interval."""
    low, high = score["interval"]
    return f"{score['value']:5.1f} [{low:.1f}, {high:.1f}]"


def main(names: list[str]) -> None:
    """Print the table of these models, then signatures and places."""
    print(f"{'en-nl test':<18}{'BLEU':<22}{'chrF':<22}{'parameters':>10}{'sentences/s':>14}")
    scored: dict[str, Any] = {}
    for name in names:
        texts = show(f"{name}-test")["manifest"]["summary"]
        scored = show(f"{name}-scores")
        scores = scored["manifest"]["summary"]["scores"]
        speed = texts["texts_per_s"]
        print(
            f"{name:<18}{cell(scores['bleu']):<22}{cell(scores['chrf']):<22}"
            f"{texts['parameters'] / 1e6:>8.1f} M{speed or 0:>14.1f}"
        )
    print("BLEU", scores["bleu"]["signature"])
    print("chrF", scores["chrf"]["signature"])
    print(f"greedy, {scored['manifest']['summary']['examples']} sentences, one seed\n")
    print("report.html                       all of this and more as one page, beside this file")
    print("ketchup ls                        what was made")
    print(f"ketchup lineage {names[-1]:<18}from what")
    print(f"ketchup path {names[-1]:<21}where it lies; from_pretrained() loads that folder")


if __name__ == "__main__":
    main(sys.argv[1:])
