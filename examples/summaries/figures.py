"""Print a table: scores of models on test beside the first words of the document, or short runs.

python figures.py scores NAME...    reads the artifacts NAME-test (generations) and NAME-scores
python figures.py runs NAME...      reads what `ketchup distill` logged
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

METRICS = ("rouge1", "rouge2", "rougeL")
LEAD_WORDS = 10
"""First words of a document that make the best summary on dev, of 6 to 20."""
MARK = " Summary:"
"""What the template puts behind a document."""


def asked(*words: str) -> str:
    """Return what a `ketchup` command prints."""
    return subprocess.run(
        ["ketchup", *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def show(name: str) -> dict[str, Any]:
    """Return what `ketchup show NAME --json` says."""
    return dict(json.loads(asked("show", name, "--json")))


def cell(score: dict[str, Any]) -> str:
    """Return a value with its 95 % interval."""
    low, high = score["interval"]
    return f"{score['value']:5.1f} [{low:.1f}, {high:.1f}]"


def scores(names: list[str]) -> None:
    """Print one line a system: ROUGE with intervals, size, speed; then the signatures."""
    print(f"{'summaries test':<20}{''.join(f'{name:<22}' for name in METRICS)}{'parameters':>10}")
    print(f"{f'first {LEAD_WORDS} words':<20}{''.join(f'{cell(one):<22}' for one in lead())}")
    found: dict[str, Any] = {}
    for name in names:
        found = show(f"{name}-scores")["manifest"]["summary"]
        cells = "".join(f"{cell(found['scores'][metric]):<22}" for metric in METRICS)
        print(f"{name:<20}{cells}{size(name):>10}")
    for metric in METRICS:
        print(found["scores"][metric]["signature"])
    print(f"greedy, {found['examples']:,} documents, one seed")


def lead() -> list[dict[str, Any]]:
    """Return the scores of taking the first words of the document for its summary."""
    from ketchup_cli import corpora
    from ketchup_cli.scoring import report
    from ketchup_cli.scoring.items import Items

    examples = corpora.read_split(Path(asked("path", "summaries")), "test")
    firsts = (row.prompt.removesuffix(MARK).split()[:LEAD_WORDS] for row in examples)
    items = Items(
        ids=tuple(row.id for row in examples),
        hypotheses=tuple(" ".join(words) for words in firsts),
        references=tuple(row.references for row in examples),
    )
    found = report.make_report(METRICS, items, report.Settings())
    return [{"value": score.value, "interval": score.interval} for score in found.scores]


def size(name: str) -> str:
    """Return how large the model is that wrote, or nothing where no model did."""
    count = show(f"{name}-test")["manifest"]["summary"].get("parameters")
    return f"{count / 1e6:.1f} M" if count else ""


def runs(names: list[str]) -> None:
    """Print one line a run: updates a second, first and last loss, dev figures before and after."""
    header = ("updates/s", "loss", "at the end", "dev loss", "at the end", "metric", "at the end")
    print(f"{'run':<24}{''.join(f'{word:>12}' for word in header)}")
    for name in names:
        shown = show(name)
        summary, updates = shown["manifest"]["summary"], logged(Path(shown["path"]))
        seconds = sum(tokens(row) / row["tokens_per_s"] for row in updates)
        figures = [
            *(row["loss"] for row in (updates[0], updates[-1])),
            *(summary[when]["loss"] for when in ("first", "last")),
            *(summary[when][summary["metric"]] for when in ("first", "last")),
        ]
        cells = "".join(f"{figure:>12.3f}" for figure in figures)
        print(f"{name:<24}{len(updates) / seconds:>12.2f}{cells}")


def tokens(row: dict[str, float]) -> float:
    """Return the completion tokens of an update."""
    return sum(value for key, value in row.items() if key.endswith("_tokens"))


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return what was logged of each update."""
    text = (folder / "logs" / "metrics.jsonl").read_text(encoding="utf-8")
    return [row for row in map(json.loads, text.splitlines()) if "event" not in row]


def main(words: list[str]) -> None:
    """Print the table that is asked for."""
    kind, *names = words
    {"scores": scores, "runs": runs}[kind](names)


if __name__ == "__main__":
    main(sys.argv[1:])
