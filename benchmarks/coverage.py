"""How often 95 % intervals hold the truth, and how often a test finds what is not there.

python benchmarks/coverage.py       about half a minute of one idle core

Of single runs: BLEU, chrF and exact match of two systems whose made-up texts change sides by chance,
so that none is better, examples drawn anew for every simulation. Of several seeds: a crossed model of
items and seeds whose truth is known. Asked: coverage from 0.93 to 0.97, false claims near 0.05.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from ketchup_cli.scoring.bleu import measure
from ketchup_cli.scoring.exact import measure as measure_exact
from ketchup_cli.scoring.measurement import Measurement, item_mean
from ketchup_cli.statistics.pairs import Settings, System, difference
from ketchup_cli.statistics.resampling import Summed, resampled
from ketchup_cli.statistics.seeds import Runs, spread

POPULATION = 4000
"""Made-up sentences that stand for all there are."""
WORDS = tuple(f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "knrst")


def sentences(generator: random.Random) -> tuple[list[str], list[str], list[str]]:
    """Return references, and two systems that get as many of their words wrong, by chance."""
    references = [
        " ".join(generator.choices(WORDS, k=2 + int(generator.expovariate(0.12))))
        for _ in range(POPULATION)
    ]
    ease = [generator.betavariate(1.2, 3) for _ in references]

    def written() -> list[str]:
        return [
            " ".join(
                generator.choice(WORDS) if generator.random() < wrong else word
                for word in text.split()
            )
            for text, wrong in zip(references, ease, strict=True)
        ]

    return references, written(), written()


def systems_of(metric: str, seed: int) -> tuple[Measurement, Measurement]:
    """Return what a metric finds on the population, for both systems."""
    references, *texts = sentences(random.Random(seed))
    several = [[text] for text in references]
    family: Any = measure_exact if metric == "exact" else measure
    one, other = (family([metric], text, several)[0] for text in texts)
    return one, other


def drawn(
    both: tuple[Measurement, Measurement], rows_N: Any, *, resamples: int, swap_N: Any
) -> list[System]:
    """Return both systems on these rows of the population, some of whose texts changed sides."""
    one_NK, other_NK = (measured.statistics_NK[rows_N] for measured in both)
    parts = [
        Summed(
            statistics_NK=numpy.where(swap_N[:, None], first_NK, second_NK),
            combine=both[0].combine,
        )
        for first_NK, second_NK in ((one_NK, other_NK), (other_NK, one_NK))
    ]
    mean = both[0].combine is item_mean
    return [
        System(
            runs=(part,),
            resampled=(values_B,),
            items_RN=part.statistics_NK[None, :, 0] if mean else None,
        )
        for part, values_B in zip(parts, resampled(parts, resamples=resamples, seed=0), strict=True)
    ]


def single_runs(
    metric: str, *, items: int, simulations: int, resamples: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield test and shares for single runs: interval, test, and sacrebleu's bootstrap."""
    both = systems_of(metric, seed=1)
    for randomise in (False,) if metric == "exact" else (False, True):
        generator = numpy.random.default_rng(5)
        settings = Settings(randomise=randomise, trials=resamples)
        counts: dict[str, float] = {"coverage": 0.0, "false": 0.0, "sacrebleu": 0.0}
        test = ""
        for _ in range(simulations):
            rows_N = generator.integers(POPULATION, size=items)
            swap_N = generator.integers(2, size=items, dtype=bool)
            one, other = drawn(both, rows_N, resamples=resamples, swap_N=swap_N)
            found = difference(one, other, settings)
            assert found.interval is not None
            counts["coverage"] += found.interval[0] <= 0.0 <= found.interval[1]
            counts["false"] += found.p < 0.05
            counts["sacrebleu"] += (found.sacrebleu_p or 1.0) < 0.05
            test = found.test
        yield test, {name: count / simulations for name, count in counts.items()}


def several_seeds(
    deviations: Sequence[float], *, runs: int, items: int, simulations: int, resamples: int
) -> dict[str, float]:
    """Return coverage and false claims of the interval over items and seeds.

    Args:
        deviations: of the seeds of one system, of the other's, of what items favour, of the rest.
        runs: seeds of each system.
        items: examples.
        simulations: how many.
        resamples: behind each.
    """
    generator = numpy.random.default_rng(9)
    shares_BN = generator.multinomial(items, numpy.full(items, 1 / items), size=resamples) / items
    first, second, favour, rest = deviations
    covered, claimed = 0, 0
    for _ in range(simulations):
        favour_N = favour * generator.normal(size=items)
        values = []
        for sign, own in ((-0.5, first), (0.5, second)):
            shift = own * generator.normal(size=(runs, 1))
            noise = rest * generator.normal(size=(runs, items))
            values.append(sign * favour_N + shift + noise)
        one, other = (
            Runs(values_R=each.mean(axis=1), resampled_RB=each @ shares_BN.T) for each in values
        )
        found = spread([other, one], items=items)
        apart = float(other.values_R.mean() - one.values_R.mean())
        low, high = found.interval(apart)
        covered += low <= 0.0 <= high
        claimed += found.p(apart) < 0.05
    return {"coverage": covered / simulations, "false": claimed / simulations}


SCENES = {
    "seeds alone": (1.0, 1.0, 0.0, 0.1),
    "seeds and items alike": (1.0, 1.0, 14.0, 5.0),
    "items alone": (0.0, 0.0, 14.0, 0.1),
    "noise alone": (0.0, 0.0, 0.0, 14.0),
    "one system's seeds twice as far": (2.0, 1.0, 10.0, 5.0),
    "one system's seeds four times": (2.0, 0.5, 5.0, 5.0),
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    given = parser.parse_args()
    sizes = {"simulations": given.simulations, "resamples": given.resamples}
    print(f"{given.simulations} simulations, {given.items} items, {given.resamples} resamples\n")
    print(
        "| metric | test | coverage | p < 0.05 | sacrebleu's bootstrap p < 0.05 |\n|---|---|---|---|---|"
    )
    for metric in ("bleu", "chrf", "exact"):
        for test, found in single_runs(metric, items=given.items, **sizes):
            theirs = f"{found['sacrebleu']:.3f}" if found["sacrebleu"] else ""
            print(
                f"| {metric} | {test} | {found['coverage']:.3f} | {found['false']:.3f} | {theirs} |"
            )
    print("\n| what varies | runs each | coverage | p < 0.05 |\n|---|---|---|---|")
    for name, deviations in SCENES.items():
        for runs in (2, 3, 5):
            found = several_seeds(deviations, runs=runs, items=given.items, **sizes)
            print(f"| {name} | {runs} | {found['coverage']:.3f} | {found['false']:.3f} |")


if __name__ == "__main__":
    main()
