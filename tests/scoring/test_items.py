from typing import Any

import pytest

from ketchup_cli.errors import DataError
from ketchup_cli.records import Example, Generation
from ketchup_cli.scoring.items import check_items, join

EXAMPLES = [Example(id=id, prompt=f"p{id}", references=(f"r{id}",)) for id in "abcde"]


def generation(id: str, sample: int = 0, text: str = "t") -> Generation:
    return Generation(id=id, sample=sample, text=text, tokens=(1,), stop="eos", logp=0.0)


GENERATIONS = [generation(id, text=f"t{id}") for id in "edcba"]


def test_texts_join_their_references_by_id_in_corpus_order() -> None:
    items = join(EXAMPLES, GENERATIONS)

    assert items.ids == ("a", "b", "c", "d", "e")
    assert items.hypotheses == ("ta", "tb", "tc", "td", "te")
    assert items.references == (("ra",), ("rb",), ("rc",), ("rd",), ("re",))


def test_only_the_first_text_of_a_prompt_is_joined() -> None:
    items = join(EXAMPLES, [*(generation(id, 1, "other") for id in "abcde"), *GENERATIONS])

    assert items.hypotheses[0] == "ta"


def test_missing_texts_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"4 examples have no generation .* `b`, `c`, `d`$"):
        join(EXAMPLES, [generation("a")])


def test_a_text_whose_first_sample_is_missing_is_missing() -> None:
    with pytest.raises(DataError, match=r"1 examples have no generation \(sample 0\).* `a`"):
        join(EXAMPLES, [*GENERATIONS[:4], generation("a", 1)])


def test_texts_of_no_example_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="1 generations have no example, among them `z`"):
        join(EXAMPLES, [*GENERATIONS, generation("z")])


def test_two_texts_for_one_example_are_refused() -> None:
    with pytest.raises(DataError, match="1 examples have two generations, among them `c`"):
        join(EXAMPLES, [*GENERATIONS, generation("c")])


def test_an_example_twice_is_refused() -> None:
    with pytest.raises(DataError, match="1 examples occur twice, among them `a`"):
        join([*EXAMPLES, EXAMPLES[0]], GENERATIONS)


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a", "b", "c"], ["a", "b", "c"], "references of item 0 are a str"),
        (["a", "b", "c"], [["a", "b", "c"]], "3 hypotheses and references for 1 items"),
        (["a", "b"], [["a"]], "2 hypotheses and references for 1 items"),
        ("ab", [["a"], ["b"]], "hypotheses are a str"),
        (["a"], "a", "references are a str"),
        ([], [], "nothing to score"),
        (["a", None], [["a"], ["b"]], "hypothesis 1 is a NoneType"),
        (["a", "b"], [["a"], [None]], "item 1 has no reference"),
        (["a", "b"], [["a"], []], "item 1 has no reference"),
    ],
    ids=[
        "one-text-per-item",
        "transposed",
        "one-short",
        "hypotheses-as-text",
        "references-as-text",
        "empty",
        "none-hypothesis",
        "none-reference",
        "no-reference",
    ],
)
def test_wrong_shapes_are_refused_with_the_item(
    hypotheses: Any, references: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_items(hypotheses, references)
