"""How long all default metrics take on 10,000 pairs of 25 words, with either engine of ROUGE.

    python benchmarks/scoring.py

Each engine works in a process of its own, on one core: what starts more is told not to. Seconds are
of a clock on the wall, imports and bootstrap included, and of the processor, which a busy machine
disturbs less. Asked for are 60 s with the reference engine and 10 s with the fast one, by the clock
of an idle machine. Words are drawn by Zipf's law from 20,000, and 4 of 10 are replaced.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from typing import Any

from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.report import make_report
from ketchup_cli.scoring.settings import RougeSettings, Settings
from ketchup_cli.specs import ScoreSpec

ENGINES = {"reference": 60.0, "auto": 10.0}
"""Engines by the seconds they may take."""
ONE_CORE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
VOCABULARY = 20_000
REPLACED = 0.4


def main() -> None:
    """Print seconds of both engines and their ratio; or, as a child, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--words", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine", choices=ENGINES, help="measure one in this very process")
    given = parser.parse_args()
    if given.engine:
        print(json.dumps(measure(given.engine, make_items(given.pairs, given.words))))
        return
    from readings import described

    load = os.getloadavg()[0]
    print(f"{given.pairs:,} pairs of {given.words} words, one core; load before: {load:.1f}")
    found = [{engine: _child(engine, given) for engine in ENGINES} for _ in range(given.repeats)]
    print(f"median [smallest to largest] of {given.repeats}; figures: {', '.join(_names())}")
    for engine, limit in ENGINES.items():
        rows = [each[engine] for each in found]
        print(f"\n{engine}: {rows[0]['signature']}")
        print(f"  clock s      {described([row['wall_s'] for row in rows])}   asked: {limit:.0f}")
        print(f"  processor s  {described([row['cpu_s'] for row in rows])}")
    ratios = [each["reference"]["cpu_s"] / each["auto"]["cpu_s"] for each in found]
    print(f"\nprocessor time, reference over auto: {described(ratios)}")


def _names() -> tuple[str, ...]:
    return ScoreSpec().metrics


def _child(engine: str, given: argparse.Namespace) -> dict[str, Any]:
    sizes = map(str, ("--pairs", given.pairs, "--words", given.words))
    command = [sys.executable, __file__, "--engine", engine, *sizes]
    alone = {**os.environ, **dict.fromkeys(ONE_CORE, "1")}
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def make_items(pairs: int, words: int) -> Items:
    """Return random texts beside references they share most words with."""
    generator = random.Random(0)
    vocabulary = [
        "".join(generator.choices("etaoinshrdlu", k=generator.randint(2, 10)))
        for _ in range(VOCABULARY)
    ]
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(VOCABULARY)))
    references, hypotheses = [], []
    for _ in range(pairs):
        reference = generator.choices(vocabulary, cum_weights=weights, k=words)
        others = generator.choices(vocabulary, cum_weights=weights, k=words)
        references.append((" ".join(reference),))
        mixed = zip(reference, others, strict=True)
        hypotheses.append(" ".join(b if generator.random() < REPLACED else a for a, b in mixed))
    return Items(
        ids=tuple(map(str, range(pairs))),
        hypotheses=tuple(hypotheses),
        references=tuple(references),
    )


def measure(engine: str, items: Items) -> dict[str, float | str]:
    """Return the seconds of one report, and ROUGE's signature: which engine it was."""
    chosen = RougeSettings(engine="reference" if engine == "reference" else "auto")
    started, worked = time.perf_counter(), time.process_time()
    report = make_report(_names(), items, Settings(rouge=chosen))
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - worked,
        "signature": next(one.signature for one in report.scores if one.metric == "rouge1"),
    }


if __name__ == "__main__":
    main()
