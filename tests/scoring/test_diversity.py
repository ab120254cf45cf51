import itertools

import pytest
import sacrebleu

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.diversity import (
    distinct,
    longest_repeat,
    measure,
    repetition,
    sampled_pairs,
)
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Figure, Measurement
from ketchup_cli.scoring.settings import Settings


def found(
    texts: list[str], samples: tuple[tuple[str, ...], ...] = (), *, pairs: int = 500
) -> dict[str, Measurement | Figure]:
    items = Items(
        ids=tuple(map(str, range(len(texts)))),
        hypotheses=tuple(texts),
        references=(("r",),) * len(texts),
        samples=samples,
    )
    measured = measure(["diversity"], items, Settings(self_bleu_pairs=pairs))["diversity"]
    return {one.metric: one for one in measured}


def test_distinct_by_hand() -> None:
    # a b a b | b c: words a b c of 6, pairs ab ba bc of 4
    texts = [["a", "b", "a", "b"], ["b", "c"]]

    assert distinct(texts, 1) == 50.0
    assert distinct(texts, 2) == 75.0


def test_windows_do_not_fall_with_the_length_of_a_text() -> None:
    twenty = " ".join(f"w{n}" for n in range(20))
    short, long = found([twenty, "x"]), found([" ".join([twenty] * 5), "x"])

    assert short["distinct-1/20"].value == long["distinct-1/20"].value == 100.0
    assert long["distinct-1"].value < 25.0


def test_a_text_without_a_window_has_no_value() -> None:
    measured = found([" ".join(["a"] * 20), "a b"])["distinct-1/20"]

    assert isinstance(measured, Measurement)
    assert measured.items == (pytest.approx(5.0), None)


def test_texts_that_are_all_the_same_have_the_largest_self_bleu() -> None:
    assert found(["one two three four five"] * 3)["self-bleu"].value == pytest.approx(100.0)


def test_self_bleu_is_the_mean_of_sentence_bleu_over_all_pairs_where_there_are_few() -> None:
    texts = ["the old house now", "the old bird now", "a green bird"]

    one = sacrebleu.BLEU(effective_order=True)
    values = [one.sentence_score(a, [b]).score for a, b in itertools.permutations(texts, 2)]
    assert found(texts)["self-bleu"].value == pytest.approx(sum(values) / 6)


def test_self_bleu_of_samples_holds_each_against_the_others_of_its_prompt() -> None:
    samples = (("the old house", "the old house"), ("x y z", "a b c"))

    measured = found(["the old house", "x y z"], samples)["self-bleu/samples"]

    assert isinstance(measured, Measurement)
    assert measured.items[0] == pytest.approx(100.0)
    assert measured.items[1] < 50.0


@pytest.mark.parametrize(("count", "most"), [(5, 7), (5, 100), (2, 1), (1, 5)])
def test_pairs_are_different_texts_and_no_pair_comes_twice(count: int, most: int) -> None:
    pairs = sampled_pairs(count, most, seed=3)

    assert len(pairs) == len(set(pairs)) == min(most, count * (count - 1))
    assert all(a != b and min(a, b) >= 0 and max(a, b) < count for a, b in pairs)


def test_the_seed_decides_the_pairs() -> None:
    assert sampled_pairs(50, 10, seed=1) == sampled_pairs(50, 10, seed=1)
    assert sampled_pairs(50, 10, seed=1) != sampled_pairs(50, 10, seed=2)


def test_repetition_by_hand() -> None:
    # a b c d a b c d: five runs of four, abcd twice
    assert repetition(list("abcdabcd")) == pytest.approx(1 / 5)
    assert repetition(list("abcd")) == 0.0
    assert repetition(list("abc")) is None


@pytest.mark.parametrize(
    ("text", "length"), [("abcxabc", 3), ("aaaa", 3), ("abc", 0), ("", 0), ("aba", 1)]
)
def test_the_longest_repeated_run(text: str, length: int) -> None:
    assert longest_repeat(list(text)) == length


def test_a_text_that_mostly_repeats_is_counted() -> None:
    measured = found(["no no no no no no no no", "one two three four five", "short"])

    assert measured["repetitive"].value == pytest.approx(100 / 3)
    assert measured["repetition-4"].value == pytest.approx(100 * (4 / 5 + 0) / 2)
    assert measured["repetition-4"].details["longest_repeated_words"] == 7


def test_texts_that_are_all_empty_are_refused() -> None:
    with pytest.raises(DataError, match="every text is empty"):
        found(["", " "])
