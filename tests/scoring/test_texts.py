import pytest

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.scoring.settings import Settings
from ketchup_cli.scoring.texts import copied_share, measure

ITEMS = Items(
    ids=("a", "b", "c", "d"),
    hypotheses=("one two three", "", "copy of it ", "four"),
    references=(("one two", "one two three four"), ("x y",), ("z",), ("v w", "u")),
    prompts=("p", "q", "copy of it", "p q"),
    unfinished=(True, False, False, False),
)


def found(items: Items = ITEMS) -> dict[str, Measurement]:
    return {one.metric: one for one in measure(["texts"], items, Settings())["texts"]}


def test_lengths_are_held_against_the_nearest_reference_the_shorter_of_two() -> None:
    length = found()["length"]

    assert length.items == (pytest.approx(150.0), 0.0, 300.0, 100.0)
    assert length.details == {"hypotheses": 7, "references": 6}
    assert length.value == pytest.approx(100 * 7 / 6)


@pytest.mark.parametrize("name", ["empty", "unfinished", "copies"])
def test_one_of_four_is_a_quarter(name: str) -> None:
    assert found()[name].value == 25.0


@pytest.mark.parametrize(
    ("text", "prompt", "share"),
    [
        ("a b c d", "x b c y", 50.0),
        ("a b", "a b c d", 100.0),
        ("a b", "b a", 50.0),
        ("a", "b", 0.0),
        ("", "b", 0.0),
        ("a b c", "", 0.0),
    ],
)
def test_the_copied_share_is_the_longest_run_of_words_in_the_prompt(
    text: str, prompt: str, share: float
) -> None:
    assert copied_share(text.split(), prompt.split()) == share


def test_the_commonest_words_of_a_long_prompt_are_not_passed_over() -> None:
    assert copied_share(["the"] * 5, ["the"] * 400) == 100.0


def test_texts_whose_prompts_nobody_knows_are_refused() -> None:
    items = Items(ids=("a",), hypotheses=("x",), references=(("y",),))

    with pytest.raises(DataError, match="prompts and ends of the texts are not known"):
        found(items)
