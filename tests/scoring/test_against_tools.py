"""Our figures against what other tools print on the same files, to the last digit."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ketchup_cli.scoring.bleu import measure

WORDS = ("the old house", "een huis", "Select", "menu,", "item's", "(new)", "3.50", "naïve", "x")
DIGITS = 10
METRICS = {"BLEU": "bleu", "chrF2": "chrf", "chrF2++": "chrf++", "TER": "ter"}


def lines(seed: int, *, least: int) -> list[str]:
    generator = random.Random(seed)
    return [
        " ".join(generator.choices(WORDS, k=generator.randint(least, 12))) + generator.choice("?.!")
        for _ in range(40)
    ]


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return str(path)


def printed(*arguments: str) -> dict[str, tuple[float, str]]:
    """Return value and signature by name, as `sacrebleu` prints them."""
    command = [sys.executable, "-m", "sacrebleu", *arguments, "-f", "json", "-w", str(DIGITS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    rows = found if isinstance(found, list) else [found]
    return {row["name"]: (row["score"], row["signature"]) for row in rows}


@pytest.mark.parametrize(
    ("seed", "references", "chosen"),
    [
        (1, 1, ("-m", "bleu", "chrf", "ter")),
        (2, 2, ("-m", "bleu", "chrf", "ter")),
        (3, 1, ("-m", "chrf", "--chrf-word-order", "2")),
    ],
    ids=["one-reference", "two-references", "chrf++"],
)
def test_figures_are_those_of_the_sacrebleu_command(
    tmp_path: Path, seed: int, references: int, chosen: tuple[str, ...]
) -> None:
    texts = lines(seed, least=0)
    streams = [lines(10 * seed + number, least=2) for number in range(references)]
    files = [write(tmp_path / f"ref{n}", stream) for n, stream in enumerate(streams)]

    found = printed(*files, "-i", write(tmp_path / "hyp", texts), *chosen)

    several = [list(refs) for refs in zip(*streams, strict=True)]
    for one in measure([METRICS[name] for name in found], texts, several):
        (value, signature) = next(found[name] for name in found if METRICS[name] == one.metric)
        assert round(one.value, DIGITS) == value
        assert f"|{signature}".endswith(one.signature)
