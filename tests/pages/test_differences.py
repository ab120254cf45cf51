import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketchup_cli.pages.differences import pieces


def kept(found) -> str:
    return "".join(text for mark, text in found if mark != "missing")


def test_words_that_differ_are_marked_on_both_sides():
    assert pieces("an old house", ["the old house"]) == (
        ("missing", "the"),
        ("added", "an"),
        ("same", " "),
        ("same", "old house"),
    )


def test_an_equal_text_is_one_piece():
    assert pieces("de tafel  is klein", ["de tafel is klein"]) == (("same", "de tafel  is klein"),)


def test_the_nearest_of_several_references_is_taken():
    assert pieces("a green bird", ["nothing alike here", "a green bird"]) == (
        ("same", "a green bird"),
    )


def test_many_missing_words_are_counted():
    found = pieces("end", ["one two three four five six seven end"])

    assert found == (("missing", "7 words"), ("same", "end"))


def test_without_a_reference_nothing_is_marked():
    assert pieces("some text", []) == (("same", "some text"),)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_text_without_words_lacks_all_of_the_reference(text):
    found = pieces(text, ["two words"])

    assert ("missing", "two words") in found
    assert kept(found) == text


@given(st.text(alphabet="ab \n\t<>&", max_size=40), st.text(alphabet="ab <>&", max_size=40))
def test_without_the_missing_words_the_text_is_as_it_was(text, reference):
    assert kept(pieces(text, [reference])) == text


def test_what_is_the_same_is_in_both_in_order():
    generator = random.Random(0)
    words = ["a", "b", "c", "d", "e", "f"]
    for _ in range(50):
        text = " ".join(generator.choices(words, k=8))
        reference = " ".join(generator.choices(words, k=8))
        same = " ".join(t.strip() for m, t in pieces(text, [reference]) if m == "same").split()

        left = iter(reference.split())
        assert all(word in left for word in same)
