import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from ketchup_cli.scoring import rouge
from ketchup_cli.scoring.rouge import corpus_value, foreign_warning, measure

WORDS = [
    "Opening",
    "opened",
    "the",
    "tables,",
    "tables'",
    "quickly",
    "quick",
    "running",
    "runs",
    "a",
    "of",
    "1,234.50",
    "café\n",
]


def random_texts(seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(0, 12))) for _ in range(40)]


@pytest.mark.parametrize("stemmer", [True, False], ids=["stemmed", "plain"])
def test_remembered_stems_give_rouge_scores_own_values(stemmer: bool) -> None:
    hypotheses, references = random_texts(1), random_texts(2)
    measured = measure(rouge.NAMES, hypotheses, [[text] for text in references], stemmer=stemmer)

    scorer = RougeScorer(list(rouge.NAMES), use_stemmer=stemmer)
    rows = [scorer.score(r, h) for r, h in zip(references, hypotheses, strict=True)]
    for one in measured:
        assert list(one.items) == [100.0 * row[one.metric].fmeasure for row in rows]


def test_rouge_by_hand() -> None:
    # 2 of 3 words wanted, 2 of 4 words given
    (one,) = measure(["rouge1"], ["the old dog ran"], [["the old house"]])

    assert one.value == pytest.approx(100 * 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4), abs=1e-9)


def test_the_best_of_several_references_counts() -> None:
    (one,) = measure(["rougeL"], ["a small bird"], [["an old house", "a small bird"]])

    assert one.items == (100.0,)


def test_the_corpus_value_is_the_mean_of_the_items() -> None:
    value = corpus_value("rouge1", ["same words", "nothing"], [["same words"], ["else"]])

    assert value == 50.0


def test_an_empty_hypothesis_scores_zero() -> None:
    assert corpus_value("rougeL", [""], [["words"]]) == 0.0


def test_lsum_takes_a_line_for_a_sentence() -> None:
    texts = ["one two\nthree four"], [["three four\none two"]]

    assert corpus_value("rougeLsum", *texts) == 100.0
    assert corpus_value("rougeL", *texts) == 50.0


def test_the_signature_tells_engine_version_and_stemmer() -> None:
    stemmed, plain = (measure(["rougeL"], ["a"], [["a"]], stemmer=s)[0] for s in (True, False))

    assert (
        stemmed.signature == "rougeL|f1|stemmer:porter|refs:best|engine:rouge-score|version:0.1.2"
    )
    assert "stemmer:no" in plain.signature


def test_a_text_of_other_letters_is_warned_of() -> None:
    assert "100% of the letters" in foreign_warning(["привет"], [["мир"]])[0]


def test_a_few_accents_are_not_warned_of() -> None:
    assert foreign_warning(["één café"], [["a fine old table"]]) == ()


def test_texts_without_letters_are_not_warned_of() -> None:
    assert foreign_warning(["1 + 1"], [["2"]]) == ()
