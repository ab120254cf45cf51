import functools
import itertools
import random

import pytest
import tiny
import torch

from ketchup_cli.errors import DataError
from ketchup_cli.models.encode import (
    Limits,
    Row,
    by_length,
    collate,
    encode_pairs,
    encode_prompts,
    pad,
)
from ketchup_cli.records import Example

policy_of = functools.cache(tiny.make_policy)
EXAMPLES = tiny.make_examples(12, seed=5)
REFERENCES = [example.references[0] for example in EXAMPLES]
WIDE = Limits(prompt=500, completion=500)


def sizes(architecture: str) -> tuple[list[int], list[int]]:
    rows = encode_pairs(policy_of(architecture), EXAMPLES, REFERENCES, WIDE).rows
    return [len(row.prompt) for row in rows], [len(row.completion) for row in rows]


def middle(numbers: list[int]) -> int:
    return sorted(numbers)[len(numbers) // 2]


def random_rows(count: int, *, seed: int = 0) -> list[Row]:
    generator = random.Random(seed)
    return [
        Row(
            id=str(number),
            prompt=tuple(range(generator.randint(1, 30))),
            completion=tuple(range(generator.randint(1, 30))),
            position=number,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_rows_hold_the_ids_of_prompt_and_completion(architecture: str) -> None:
    policy = policy_of(architecture)
    encoded = encode_pairs(policy, EXAMPLES, REFERENCES, WIDE)

    assert [row.id for row in encoded.rows] == [example.id for example in EXAMPLES]
    assert [row.position for row in encoded.rows] == list(range(len(EXAMPLES)))
    assert policy.decode([row.prompt for row in encoded.rows]) == [e.prompt for e in EXAMPLES]
    assert policy.decode([row.completion for row in encoded.rows]) == REFERENCES
    assert all(row.completion[-1] == policy.eos_id for row in encoded.rows)
    assert (encoded.truncated, encoded.skipped) == (0, 0)


def test_token_ids_are_taken_as_they_are() -> None:
    policy = policy_of("t5")
    given = [(5, 6, 7)] * len(EXAMPLES)
    rows = encode_pairs(policy, EXAMPLES, given, WIDE).rows

    assert {row.completion for row in rows} == {(5, 6, 7)}


def test_prompts_alone_have_no_completion() -> None:
    rows = encode_prompts(policy_of("t5"), EXAMPLES, Limits(prompt=500)).rows

    assert {row.completion for row in rows} == {()}
    assert [row.size for row in rows] == [len(row.prompt) for row in rows]


@pytest.mark.parametrize("side", ["prompt", "completion"])
def test_a_row_that_is_too_long_is_an_error_with_its_sizes(side: str) -> None:
    prompts, completions = sizes("t5")
    limits = {"prompt": 500, "completion": 500}
    limits[side] = min(prompts if side == "prompt" else completions)
    with pytest.raises(DataError, match=r"prompt and \d+ completion tokens") as caught:
        encode_pairs(policy_of("t5"), EXAMPLES, REFERENCES, Limits(**limits))

    assert f"the limits are {limits['prompt']} and {limits['completion']}" in str(caught.value)
    assert caught.value.exit_code == 1
    assert "too_long=truncate" in str(caught.value.hint)


def test_a_prompt_of_exactly_the_limit_is_kept_whole() -> None:
    prompts, completions = sizes("t5")
    limits = Limits(prompt=max(prompts), completion=max(completions))
    encoded = encode_pairs(policy_of("t5"), EXAMPLES, REFERENCES, limits)

    assert [len(row.prompt) for row in encoded.rows] == prompts


def test_rows_that_are_too_long_are_skipped_and_counted() -> None:
    prompts, _ = sizes("t5")
    limit = middle(prompts)
    encoded = encode_pairs(
        policy_of("t5"), EXAMPLES, REFERENCES, Limits(prompt=limit, completion=500, too_long="skip")
    )
    short = [number for number, size in enumerate(prompts) if size <= limit]

    assert [row.position for row in encoded.rows] == short
    assert encoded.skipped == len(EXAMPLES) - len(short) > 0
    assert encoded.truncated == 0


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_truncated_completion_gets_no_end_token(architecture: str) -> None:
    policy = policy_of(architecture)
    _, completions = sizes(architecture)
    limit = middle(completions)
    encoded = encode_pairs(
        policy, EXAMPLES, REFERENCES, Limits(prompt=500, completion=limit, too_long="truncate")
    )
    ended = [row.completion[-1] == policy.eos_id for row in encoded.rows]

    assert ended == [size <= limit for size in completions]
    assert encoded.truncated == ended.count(False) > 0
    assert max(len(row.completion) for row in encoded.rows) == limit


def test_a_truncated_prompt_still_closes_with_the_end_token_an_encoder_expects() -> None:
    policy = policy_of("t5")
    prompts, _ = sizes("t5")
    limit = middle(prompts)
    rows = encode_prompts(policy, EXAMPLES, Limits(prompt=limit, too_long="truncate")).rows
    whole = policy.prompt_ids([example.prompt for example in EXAMPLES])

    assert all(row.prompt[-1] == policy.eos_id for row in rows)
    assert all(
        row.prompt[:-1] == tuple(ids[: min(limit, len(ids)) - 1])
        for row, ids in zip(rows, whole, strict=True)
    )


def test_a_truncated_prompt_of_a_decoder_is_its_beginning() -> None:
    policy = policy_of("gpt2")
    rows = encode_prompts(policy, EXAMPLES, Limits(prompt=3, too_long="truncate")).rows
    whole = policy.prompt_ids([example.prompt for example in EXAMPLES])

    assert [row.prompt for row in rows] == [tuple(ids[:3]) for ids in whole]


def test_both_sides_too_long_count_as_one_row() -> None:
    encoded = encode_pairs(
        policy_of("t5"),
        EXAMPLES,
        REFERENCES,
        Limits(prompt=2, completion=2, too_long="truncate"),
    )

    assert encoded.truncated == len(EXAMPLES)


def test_no_examples_make_no_rows() -> None:
    none: list[Example] = []

    assert encode_prompts(policy_of("t5"), none, WIDE).rows == ()
    assert encode_pairs(policy_of("gpt2"), none, [], WIDE).rows == ()


def test_a_batch_is_padded_on_the_right_and_masked() -> None:
    rows = [
        Row(id="a", prompt=(5, 6, 7), completion=(8,), position=3),
        Row(id="b", prompt=(9,), completion=(4, 1), position=0),
    ]
    batch = collate(rows, pad_id=0, source="data")

    assert batch.prompt_BS.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert batch.prompt_mask_BS.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.tokens_BT.tolist() == [[8, 0], [4, 1]]
    assert batch.mask_BT.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert (batch.ids, batch.rows, batch.source) == (("a", "b"), (3, 0), "data")


def test_a_real_token_equal_to_the_padding_is_not_masked() -> None:
    _, mask = pad([[0, 1], [0]], pad_id=0)

    assert mask.tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("budget", [60, 100, 1000])
def test_batches_by_length_stay_within_the_budget(budget: int) -> None:
    rows = random_rows(80)
    groups = by_length(rows, budget)
    for group in groups:
        batch = collate([rows[number] for number in group], pad_id=0, source="data")

        assert batch.prompt_BS.numel() + batch.tokens_BT.numel() <= budget


def test_batches_by_length_hold_every_row_once() -> None:
    groups = by_length(random_rows(80), 100)

    assert sorted(number for group in groups for number in group) == list(range(80))


def test_batches_by_length_could_not_take_one_row_more() -> None:
    rows = random_rows(80)
    groups = by_length(rows, 200)
    for group, following in itertools.pairwise(groups):
        wider = [rows[number] for number in (*group, following[0])]
        batch = collate(wider, pad_id=0, source="data")

        assert batch.prompt_BS.numel() + batch.tokens_BT.numel() > 200


def test_a_row_larger_than_the_budget_is_a_batch_of_its_own() -> None:
    rows = [
        Row(id=name, prompt=(1,) * size, completion=(1,) * size)
        for name, size in (("small", 2), ("large", 50), ("other", 2))
    ]

    assert by_length(rows, 10) == [[0, 2], [1]]


def test_batches_of_like_length_waste_little() -> None:
    rows = random_rows(400)
    groups = by_length(rows, 400)
    padded = sum(
        collate([rows[n] for n in group], pad_id=0, source="data").tokens_BT.numel()
        for group in groups
    )

    assert padded < 1.1 * sum(len(row.completion) for row in rows)


def test_masks_of_a_batch_have_the_types_models_and_losses_expect() -> None:
    batch = collate(random_rows(2), pad_id=0, source="data")

    assert batch.prompt_mask_BS.dtype == torch.long
    assert batch.mask_BT.dtype == torch.float32
