import random

import pytest

from ketchup_cli.errors import SpecError
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.scoring.settings import Frequencies, Settings
from ketchup_cli.scoring.words import labels, measure

WORDS = [f"w{n}" for n in range(12)]
TRAINED = tuple(" ".join([word] * n) for n, word in enumerate(WORDS))
"""Word n stands n times in the training text."""


def found(
    hypotheses: list[str], references: list[list[str]], limits: tuple[int, ...] = (1, 5)
) -> dict[str, Measurement]:
    items = Items(
        ids=tuple(map(str, range(len(hypotheses)))),
        hypotheses=tuple(hypotheses),
        references=tuple(map(tuple, references)),
    )
    frequencies = Frequencies(texts=TRAINED, source="twelve words", limits=limits)
    measured = measure(["words"], items, Settings(frequencies=frequencies))["words"]
    return {one.metric: one for one in measured}


def random_texts(seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(0, 9))) for _ in range(30)]


def test_precision_is_over_hypotheses_and_recall_over_references() -> None:
    # bucket 1-4: one match, one word of the hypothesis, three of the reference
    one = found(["w1"], [["w1 w2 w2"]])["words[1-4]"]

    assert one.details["precision"] == 100.0
    assert one.details["recall"] == pytest.approx(100 / 3)
    assert one.value == pytest.approx(100 * 2 * 1 / (1 + 3))


def test_matches_are_clipped_at_the_times_the_reference_has_a_word() -> None:
    one = found(["w1 w1 w1"], [["w1 w1"]])["words"]

    assert one.details["matched"] == 2


def test_a_word_never_seen_in_training_is_in_the_first_bucket() -> None:
    measured = found(["new w9"], [["new w9"]])

    assert measured["words[0]"].details["in_references"] == 1
    assert measured["words[5+]"].details["in_references"] == 1


def test_a_text_like_its_reference_has_every_bucket_right() -> None:
    texts = random_texts(1)

    measured = found(texts, [[text] for text in texts])

    assert {one.value for one in measured.values()} == {100.0}


@pytest.mark.parametrize("limits", [(1,), (1, 2, 3), (3, 7)])
def test_every_word_is_in_one_bucket(limits: tuple[int, ...]) -> None:
    hypotheses, references = random_texts(2), random_texts(3)

    measured = found(hypotheses, [[text] for text in references], limits)

    buckets = [one for name, one in measured.items() if name != "words"]
    for key, texts in (("in_references", references), ("in_hypotheses", hypotheses)):
        count = sum(len(text.split()) for text in texts)
        assert sum(one.details[key] for one in buckets) == count
        assert measured["words"].details[key] == count


def test_each_bucket_agrees_with_a_loop_over_words() -> None:
    hypotheses, references = random_texts(4), random_texts(5)
    one = found(hypotheses, [[text] for text in references])["words[5+]"]

    frequent = set(WORDS[5:])
    matched = ours = theirs = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        left = [word for word in reference.split() if word in frequent]
        theirs += len(left)
        for word in hypothesis.split():
            ours += word in frequent
            if word in left:
                left.remove(word)
                matched += 1
    assert one.details["precision"] == pytest.approx(100 * matched / ours)
    assert one.details["recall"] == pytest.approx(100 * matched / theirs)


def test_hypotheses_and_references_changed_about_change_precision_and_recall_about() -> None:
    a, b = random_texts(6), random_texts(7)

    forth = found(a, [[text] for text in b])
    back = found(b, [[text] for text in a])

    for name, one in forth.items():
        assert one.details["precision"] == back[name].details["recall"]
        assert one.value == back[name].value


def test_of_several_references_the_nearest_counts() -> None:
    one = found(["w1 w2"], [["w3", "w1 w2"]])["words"]

    assert one.value == 100.0


def test_a_bucket_without_words_is_left_out_and_an_item_without_them_has_no_value() -> None:
    measured = found(["w9", "w1"], [["w9"], ["w1"]])

    assert "words[0]" not in measured
    assert measured["words[5+]"].items == (100.0, None)


def test_sums_of_the_statistics_give_the_value() -> None:
    one = found(random_texts(8), [[text] for text in random_texts(9)])["words[1-4]"]

    assert one.combine(one.statistics_NK.sum(axis=0, keepdims=True))[0] == one.value


def test_ranges_of_counts_have_names() -> None:
    assert labels((1, 2, 5, 1000)) == ["0", "1", "2-4", "5-999", "1000+"]
    assert labels((5,)) == ["0-4", "5+"]


@pytest.mark.parametrize("limits", [(2, 1), (1, 1), (0, 1), ()])
def test_limits_that_do_not_rise_are_refused(limits: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="do not rise"):
        found(["w1"], [["w1"]], limits)


def test_the_signature_tells_where_words_were_counted() -> None:
    signature = found(["w1"], [["w1"]])["words"].signature

    assert "|tok:13a|" in signature
    assert "|counts:references of twelve words|buckets:1,5|" in signature


def test_without_a_text_to_count_in_there_are_no_buckets() -> None:
    items = Items(ids=("a",), hypotheses=("w1",), references=(("w1",),))

    with pytest.raises(SpecError, match="needs the text that words are counted in"):
        measure(["words"], items, Settings())
