"""Lexical choice on a made-up language in which word `a3` is put as `A3`."""

import random

import pytest

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.lexical import measure
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.scoring.settings import Frequencies, Settings

WORDS = [f"a{n}" for n in range(10)]


def put(text: str) -> str:
    return text.upper()


def trained() -> tuple[tuple[str, str], ...]:
    """Return pairs in which words a0 to a7 stand often, a8 four times and a9 never."""
    generator = random.Random(0)
    texts = [" ".join(generator.sample(WORDS[:8], k=generator.randint(2, 5))) for _ in range(60)]
    texts += [f"{generator.choice(WORDS[:8])} a8" for _ in range(4)]
    return tuple((text, put(text)) for text in texts)


def found(rows: list[tuple[str, str]], limits: tuple[int, ...] = (1, 5)) -> dict[str, Measurement]:
    """Measure hypotheses for prompts whose references put every word."""
    items = Items(
        ids=tuple(map(str, range(len(rows)))),
        hypotheses=tuple(hypothesis for _, hypothesis in rows),
        references=tuple((put(prompt),) for prompt, _ in rows),
        prompts=tuple(prompt for prompt, _ in rows),
    )
    frequencies = Frequencies(texts=(), source="a made-up text", limits=limits, pairs=trained())
    measured = measure(["lexical"], items, Settings(frequencies=frequencies))["lexical"]
    return {one.metric: one for one in measured}


def test_the_reference_has_every_word_right() -> None:
    prompts = ["a1 a2 a3", "a8 a4", "a5 a9"]
    measured = found([(prompt, put(prompt)) for prompt in prompts])

    assert measured["lexical"].details["linked"] == 7
    assert {one.value for one in measured.values()} == {100.0}


def test_another_word_in_its_place_is_wrong_and_so_is_none() -> None:
    # of a1 a2 a3 the second is left out and the third put as a word that stands for another
    one = found([("a1 a2 a3", "A1 A7")])["lexical"]

    assert one.details == {"linked": 3, "answered": 1, "right": 1, "right_of_answered": 100.0}
    assert one.value == pytest.approx(100 / 3)


def test_a_word_of_two_kinds_is_wrong_where_the_other_is_written() -> None:
    # a0 is put as A0 or as ZERO; the reference has A0
    pairs = (*trained(), *((f"a0 {word}", f"ZERO {put(word)}") for word in WORDS[1:8]))
    items = Items(ids=("x",), hypotheses=("ZERO A3",), references=(("A0 A3",),), prompts=("a0 a3",))
    frequencies = Frequencies(texts=(), source="a made-up text", limits=(1,), pairs=pairs)
    (one, _) = measure(["lexical"], items, Settings(frequencies=frequencies))["lexical"]

    assert one.details == {"linked": 2, "answered": 2, "right": 1, "right_of_answered": 50.0}


def test_buckets_are_counts_of_the_prompt_word_in_training() -> None:
    measured = found([("a1 a8", "A1"), ("a9 a2", "A9 A2")])

    assert measured["lexical[0]"].value == 100.0
    assert measured["lexical[1-4]"].value == 0.0
    assert measured["lexical[5+]"].details["linked"] == 2


def test_a_word_that_training_lacks_is_learnt_from_the_scored_reference() -> None:
    one = found([("a1 new", "A1 other")])["lexical"]

    assert one.details["linked"] == 2
    assert one.value == 50.0


def test_what_another_system_writes_changes_no_link() -> None:
    first, second = (
        found([("a1 a2", hypothesis)])["lexical"] for hypothesis in ("A1 A2", "B C D E F")
    )

    assert first.details["linked"] == second.details["linked"] == 2
    assert second.value == 0.0


def test_a_place_of_a_text_stands_in_every_item() -> None:
    measured = found([("a1 a2", "A1"), ("a3", "A3")])["lexical"]

    assert measured.items == (50.0, 100.0)


def test_the_signature_names_what_was_counted_and_learnt() -> None:
    signature = found([("a1", "A1")])["lexical"].signature

    assert "counts:prompts of a made-up text" in signature
    assert "learnt:65 pairs" in signature


def test_texts_in_which_nothing_is_linked_are_refused() -> None:
    items = Items(ids=("x",), hypotheses=("A",), references=(("",),), prompts=("a",))
    frequencies = Frequencies(texts=(), source="a made-up text", limits=(1,), pairs=trained())

    with pytest.raises(DataError, match="no word of a prompt is linked"):
        measure(["lexical"], items, Settings(frequencies=frequencies))


def test_there_is_no_choice_without_prompts_to_learn_from() -> None:
    items = Items(ids=("x",), hypotheses=("A",), references=(("A",),), prompts=("a",))

    with pytest.raises(SpecError, match="training text with prompts"):
        measure(["lexical"], items, Settings())
