import random

import pytest
import sacrebleu

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.scoring import bleu
from ketchup_cli.scoring.bleu import bleu_details, corpus_value, measure, streams

HYPOTHESES = [
    "The cat sat on the mat today.",
    "Select the menu item to insert a new table.",
    "hello world",
    "",
    "Click here , please .",
    "The file is closed and the old table is not open now.",
]
REFERENCES = [
    ["The cat sits on the mat."],
    ["Choose the menu item to insert a table.", "Select the entry for inserting a new table."],
    ["hello world"],
    ["an empty text"],
    ["Click here, please.", "Please click here.", "Click, please."],
    ["The file is closed now, and the old table is not open."],
]
WORDS = [
    "the",
    "old",
    "table",
    "opens",
    "and",
    "a",
    "green",
    "bird",
    "sees",
    "the",
    "small",
    "house",
    "now",
]


def random_texts(seed: int, *, count: int = 60, length: int = 9) -> list[str]:
    generator = random.Random(seed)
    return [
        " ".join(generator.choices(WORDS, k=generator.randint(0, length))) for _ in range(count)
    ]


def random_items(seed: int) -> tuple[list[str], list[list[str]]]:
    hypotheses = random_texts(seed)
    streams = [random_texts(seed + 100), random_texts(seed + 200)]
    return hypotheses, [[f"{a} bird", f"{b} now"] for a, b in zip(*streams, strict=True)]


def library(name: str) -> "sacrebleu.metrics.base.Metric":
    if name == "chrf++":
        return sacrebleu.CHRF(word_order=2)
    return {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF, "ter": sacrebleu.TER}[name]()


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("bleu", "nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:"),
        ("chrf", "nrefs:var|case:mixed|eff:yes|nc:6|nw:0|space:no|version:"),
        ("chrf++", "nrefs:var|case:mixed|eff:yes|nc:6|nw:2|space:no|version:"),
        ("ter", "nrefs:var|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:"),
    ],
)
def test_the_signature_is_sacrebleus_word_for_word(name: str, signature: str) -> None:
    (measured,) = measure([name], HYPOTHESES, REFERENCES)

    assert measured.signature == signature + sacrebleu.__version__


@pytest.mark.parametrize("name", bleu.NAMES)
def test_the_value_is_sacrebleus_on_transposed_references(name: str) -> None:
    hypotheses, references = random_items(1)

    (measured,) = measure([name], hypotheses, references)

    transposed = [[several[n] for several in references] for n in range(2)]
    assert measured.value == library(name).corpus_score(hypotheses, transposed).score
    assert measured.value == corpus_value(name, hypotheses, references)


def test_bleu_by_hand() -> None:
    # 4 of 5 words, 2 of 4 pairs, 1 of 3 triples, 0 of 2 quadruples (1/2 by smoothing), no penalty
    value = corpus_value("bleu", ["a b c x e"], [["a b c d e"]], tokenize="none")

    assert value == pytest.approx(100 * (4 / 5 * 2 / 4 * 1 / 3 * 1 / 4) ** 0.25, abs=1e-9)


def test_ter_by_hand() -> None:
    assert corpus_value("ter", ["a b x d"], [["a b c d"]]) == 25.0


@pytest.mark.parametrize("name", bleu.NAMES)
@pytest.mark.parametrize("seed", [2, 3])
def test_the_formula_on_sums_agrees_with_sacrebleu_on_any_selection(name: str, seed: int) -> None:
    hypotheses, references = random_items(seed)
    (measured,) = measure([name], hypotheses, references)
    generator = random.Random(seed)
    for size in (1, 2, 5, 60):
        chosen = generator.choices(range(len(hypotheses)), k=size)
        sums = measured.statistics_NK[chosen].sum(axis=0, keepdims=True)

        texts = [hypotheses[n] for n in chosen]
        refs = streams([references[n] for n in chosen])
        expected = library(name).corpus_score(texts, refs).score
        # sums of at most 60 floats
        assert measured.combine(sums)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", [4, 5])
def test_items_get_sentence_bleu_with_effective_order(seed: int) -> None:
    hypotheses, references = random_items(seed)
    (measured,) = measure(["bleu"], hypotheses, references)

    one = sacrebleu.BLEU(effective_order=True)
    expected = [
        one.sentence_score(text, several).score
        for text, several in zip(hypotheses, references, strict=True)
    ]
    assert measured.items == pytest.approx(expected, abs=1e-9)


def test_a_short_exact_match_is_worth_all_of_sentence_bleu() -> None:
    (measured,) = measure(["bleu"], HYPOTHESES, REFERENCES)

    assert measured.items[2] == pytest.approx(100.0, abs=1e-9)


@pytest.mark.parametrize("name", ["chrf", "chrf++", "ter"])
def test_items_get_the_sentence_values_of_sacrebleu(name: str) -> None:
    hypotheses, references = random_items(6)
    (measured,) = measure([name], hypotheses, references)

    one = library(name)
    expected = [
        one.sentence_score(text, several).score
        for text, several in zip(hypotheses, references, strict=True)
    ]
    assert measured.items == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", bleu.NAMES)
def test_empty_texts_have_a_value(name: str) -> None:
    (measured,) = measure([name], ["", ""], [["a b"], ["c"]])

    assert measured.value == {"bleu": 0.0, "chrf": 0.0, "chrf++": 0.0, "ter": 100.0}[name]
    assert measured.items == (measured.value, measured.value)


def test_items_with_fewer_references_get_none_in_the_streams_they_lack() -> None:
    assert streams([["a"], ["b", "c"]]) == [["a", "b"], [None, "c"]]


def test_details_tell_brevity_penalty_and_length_ratio() -> None:
    details = bleu_details(["a b c"], [["a b c d e f"]], tokenize="none")

    assert details.length_ratio == 0.5
    assert details.brevity_penalty == pytest.approx(0.36787944, abs=1e-8)
    assert "tok:none" in details.signature


def test_wrong_shapes_never_reach_sacrebleu() -> None:
    with pytest.raises(DataError, match="references of item 0 are a str"):
        corpus_value("bleu", ["a", "b"], ["a", "b"])


def test_tokenised_text_is_warned_of() -> None:
    texts = ["one line ."] * bleu.TOKENIZED_LINES
    (measured,) = measure(["bleu"], texts, [[text] for text in texts])
    (fine,) = measure(["bleu"], texts[1:], [[text] for text in texts[1:]])

    assert "looks tokenised" in measured.warnings[0]
    assert fine.warnings == ()


def test_an_unknown_tokenizer_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="`13b` is not a tokenizer of sacrebleu; nearest: `13a`"):
        corpus_value("bleu", ["a"], [["a"]], tokenize="13b")
