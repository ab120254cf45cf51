import pytest
import tiny

from ketchup_cli.errors import DataError, MismatchError
from ketchup_cli.models.encode import Limits
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import pseudo_target_rows, reference_rows
from ketchup_cli.records import Example, Generation

LIMITS = Limits(prompt=100, completion=100)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.make_policy("t5")


def said(example: Example, *tokens: int, stop: str = "eos", sample: int = 0) -> Generation:
    return Generation(
        id=example.id,
        sample=sample,
        text="not what the tokens say",
        tokens=tokens,
        stop=stop,  # type: ignore[arg-type]
        logp=-1.0,
    )


def test_a_row_is_the_first_reference_after_its_prompt(policy: Policy) -> None:
    example = Example(id="a", prompt="the house", references=("de huis", "het huis"))

    (row,) = reference_rows(policy, [example], LIMITS).rows

    assert row.prompt == tuple(policy.prompt_ids(["the house"])[0])
    assert row.completion == tuple(policy.completion_ids(["de huis"])[0])


def test_an_example_without_references_is_named(policy: Policy) -> None:
    with pytest.raises(DataError, match="`lonely` has no reference"):
        reference_rows(policy, [Example(id="lonely", prompt="the", references=())], LIMITS)


def test_ids_of_a_pseudo_target_are_used_as_they_are(policy: Policy) -> None:
    example = tiny.make_examples(1)[0]
    # no tokenizer would split its text like this
    tokens = (7, 7, 7, policy.eos_id)

    (row,) = pseudo_target_rows(policy, [example], [said(example, *tokens)], LIMITS).rows

    assert row.completion == tokens


def test_a_text_that_was_cut_gets_no_end_token(policy: Policy) -> None:
    example = tiny.make_examples(1)[0]

    (row,) = pseudo_target_rows(
        policy, [example], [said(example, 7, 8, stop="length")], LIMITS
    ).rows

    assert row.completion == (7, 8)


def test_every_text_of_a_prompt_is_a_row_of_its_own(policy: Policy) -> None:
    one, two = tiny.make_examples(2)
    texts = [
        said(two, 7, policy.eos_id),
        said(two, 8, policy.eos_id, sample=1),
        said(one, 9, policy.eos_id),
    ]

    rows = pseudo_target_rows(policy, [one, two], texts, LIMITS).rows

    assert [(row.id, row.position) for row in rows] == [(two.id, 0), (two.id, 1), (one.id, 2)]
    assert rows[0].prompt == rows[1].prompt == tuple(policy.prompt_ids([two.prompt])[0])


def test_a_pseudo_target_of_no_example_is_named(policy: Policy) -> None:
    one, two = tiny.make_examples(2)

    with pytest.raises(MismatchError, match=f"`{two.id[:12]}` belongs to no example"):
        pseudo_target_rows(policy, [one], [said(two, 7, policy.eos_id)], LIMITS)


@pytest.mark.parametrize(
    "tokens", [(7, 8), (7, 10**6), (-1, 1)], ids=["no end token", "past the vocabulary", "negative"]
)
def test_ids_of_another_tokenizer_are_refused(policy: Policy, tokens: tuple[int, ...]) -> None:
    example = tiny.make_examples(1)[0]

    with pytest.raises(MismatchError, match="another tokenizer"):
        pseudo_target_rows(policy, [example], [said(example, *tokens)], LIMITS)


def test_a_pseudo_target_without_tokens_is_an_error(policy: Policy) -> None:
    example = tiny.make_examples(1)[0]

    with pytest.raises(DataError, match="no tokens"):
        pseudo_target_rows(policy, [example], [said(example)], LIMITS)
