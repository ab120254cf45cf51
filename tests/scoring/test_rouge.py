import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from ketchup_cli.scoring import rouge
from ketchup_cli.scoring.rouge import corpus_value, foreign_warning, measure
from ketchup_cli.scoring.settings import RougeSettings

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
    settings = RougeSettings(stemmer=stemmer, engine="reference")
    measured = measure(rouge.NAMES, hypotheses, [[text] for text in references], settings=settings)

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
    stemmed, plain = (
        measure(
            ["rougeL"], ["a"], [["a"]], settings=RougeSettings(stemmer=stemmer, engine="reference")
        )[0]
        for stemmer in (True, False)
    )

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


def test_letters_of_any_script_are_words_where_asked_and_the_signature_says_so() -> None:
    settings = RougeSettings(words="unicode")

    (one,) = measure(
        ["rouge1"],
        ["\u041f\u0440\u0438\u0432\u0435\u0442, \u4f60\u597d"],
        [["\u043f\u0440\u0438\u0432\u0435\u0442 \u4f60"]],
        settings=settings,
    )

    # three words given, of which both wanted ones
    assert one.items == pytest.approx([100 * 2 * (2 / 3) / (2 / 3 + 1)])
    assert "|words:unicode-1|engine:rouge-score|" in one.signature
    assert one.warnings == ()


@pytest.mark.parametrize(
    ("lines", "value"), [("newline", 50.0), ("sentences", 100.0), ("none", 50.0)]
)
def test_what_lsum_takes_for_a_sentence_is_asked_and_recorded(lines: str, value: float) -> None:
    settings = RougeSettings(lines=lines)

    (one,) = measure(
        ["rougeLsum"], ["One two. Three four."], [["Three four. One two."]], settings=settings
    )

    shown = "sentences-1" if lines == "sentences" else lines
    assert one.value == value
    assert f"|split:{shown}|" in one.signature


def test_lines_count_for_nothing_where_the_whole_text_is_one_sentence() -> None:
    settings = RougeSettings(lines="none")

    (one,) = measure(
        ["rougeLsum"], ["one two\nthree four"], [["three four\none two"]], settings=settings
    )

    assert one.value == 50.0
