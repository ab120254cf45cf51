import random

import numpy
import pytest
import sacrebleu

from ketchup_cli.scoring.bleu import measure
from ketchup_cli.scoring.measurement import intervals, mean_measurement
from ketchup_cli.statistics import resampling

WORDS = ["old", "table", "opens", "green", "bird", "sees", "house"]


def random_texts(seed: int, count: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(4, 9))) for _ in range(count)]


@pytest.mark.parametrize("name", ["bleu", "chrf", "ter"])
def test_an_interval_is_that_of_the_resampled_texts(name: str) -> None:
    count, resamples = 25, 100
    hypotheses, references = random_texts(1, count), random_texts(2, count)
    measured = measure([name], hypotheses, [[text] for text in references])

    (interval,) = intervals(measured, resamples=resamples, seed=7)

    draws = numpy.random.Generator(numpy.random.PCG64(7)).integers(count, size=(resamples, count))
    library = {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF, "ter": sacrebleu.TER}[name]()
    values = [
        library.corpus_score([hypotheses[n] for n in row], [[references[n] for n in row]]).score
        for row in draws
    ]
    # bounds are rounded to six decimals
    assert interval == pytest.approx(numpy.percentile(values, [2.5, 97.5]), abs=1e-6)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    measured = mean_measurement("exact", [0.0, 100.0] * 200, "s")

    (interval,) = intervals([measured], resamples=4000, seed=0)

    # 1.96 standard errors of a share of one half in 400; the tolerance is the bootstrap's noise
    assert interval is not None
    assert interval == pytest.approx((50 - 4.9, 50 + 4.9), abs=0.5)


def test_the_same_seed_gives_the_same_interval() -> None:
    measured = [mean_measurement("m", [float(n) for n in range(30)], "s")]

    first, again, other = (intervals(measured, resamples=200, seed=s) for s in (3, 3, 4))

    assert first == again
    assert first != other


def test_a_metric_gets_the_same_draws_in_any_company() -> None:
    one = mean_measurement("one", [float(n) for n in range(30)], "s")
    two = mean_measurement("two", [float(n * n) for n in range(30)], "s")

    assert (
        intervals([two, one], resamples=200, seed=3)[1]
        == (intervals([one], resamples=200, seed=3)[0])
    )


def test_drawing_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = [mean_measurement("m", [float(n % 7) for n in range(31)], "s")]
    whole = intervals(measured, resamples=200, seed=3)
    monkeypatch.setattr(resampling, "DRAWS_AT_ONCE", 100)

    assert intervals(measured, resamples=200, seed=3) == whole


def test_a_negative_seed_is_a_seed() -> None:
    measured = [mean_measurement("m", [float(n) for n in range(30)], "s")]

    assert intervals(measured, resamples=100, seed=-1) != intervals(measured, resamples=100, seed=1)


def test_one_item_has_no_interval() -> None:
    assert intervals([mean_measurement("m", [1.0], "s")], resamples=100, seed=0) == (None,)
