"""Agreement with sacrebleu's own paired tests, on the same texts, draws and seed."""

import random

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from ketchup_cli.scoring.bleu import measure
from ketchup_cli.statistics.resampling import Summed, resampled, shuffled_differences, whole
from ketchup_cli.statistics.significance import randomisation_p, sacrebleu_bootstrap_p

WORDS = ["old", "table", "opens", "green", "bird", "sees", "house", "now", "and", "closes"]
SEED = 4321
TRIALS = 300
LIBRARY = {"bleu": BLEU, "chrf": CHRF, "ter": TER}


def texts(count: int) -> tuple[list[str], list[str], list[str]]:
    """Return references, and what a good and a slightly worse system wrote."""
    generator = random.Random(1)
    references = [
        " ".join(generator.choices(WORDS, k=generator.randint(5, 12))) for _ in range(count)
    ]

    def noisy(share: float) -> list[str]:
        return [
            " ".join(
                generator.choice(WORDS) if generator.random() < share else w for w in r.split()
            )
            for r in references
        ]

    return references, noisy(0.30), noisy(0.33)


REFERENCES, ONE, OTHER = texts(120)


def theirs(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setenv("SACREBLEU_SEED", str(SEED))
    test = PairedTest(
        [("one", ONE), ("other", OTHER)],
        {name: LIBRARY[name]()},
        [REFERENCES],
        test_type=kind,
        n_samples=TRIALS,
    )
    scores = test()[1]
    (results,) = (rows for key, rows in scores.items() if key != "System")
    return float(results[1].p_value)


def ours(name: str) -> tuple[Summed, Summed]:
    one, other = (measure([name], t, [[r] for r in REFERENCES])[0] for t in (ONE, OTHER))
    return (
        Summed(statistics_NK=one.statistics_NK, combine=one.combine),
        Summed(statistics_NK=other.statistics_NK, combine=other.combine),
    )


@pytest.mark.parametrize("name", LIBRARY)
def test_randomisation_gives_sacrebleu_s_p(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ours(name)

    shuffled_B = shuffled_differences(one, other, trials=TRIALS, seed=SEED)

    p = randomisation_p(shuffled_B, whole(other) - whole(one))
    assert p == pytest.approx(theirs(name, "ar", monkeypatch), abs=1e-12)


@pytest.mark.parametrize("name", LIBRARY)
def test_the_bootstrap_gives_sacrebleu_s_p(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ours(name)

    first_B, second_B = resampled([one, other], resamples=TRIALS, seed=SEED)

    p = sacrebleu_bootstrap_p(second_B - first_B, whole(other) - whole(one))
    # theirs sums in float32: one resample at the threshold may fall on its other side
    assert p == pytest.approx(theirs(name, "bs", monkeypatch), abs=1.5 / TRIALS)
