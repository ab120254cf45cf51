import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import runs
import tiny
import torch

from ketchup_cli.errors import ModelError
from ketchup_cli.models.encode import Row
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch
from ketchup_cli.specs import RolloutSpec
from ketchup_cli.train.data import PromptSource
from ketchup_cli.train.pairs import PairSource, by_example
from ketchup_cli.train.rollouts import RolloutSource

ROLLOUT = RolloutSpec(prompts=4, samples=2, max_new_tokens=6, unfinished="terminal")


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return tiny.make_policy(request.param)


def texts_of(policy: Policy, copies: int = 1) -> list[Row]:
    """Every row of the toy corpus, in as many versions of its text."""
    rows = runs.data_rows(policy)[:8]
    return [
        replace(row, completion=(*row.completion[:-1], *[5] * turn, row.completion[-1]))
        for row in rows
        for turn in range(copies)
    ]


def source_of(policy: Policy, texts: Sequence[Row], rollout: RolloutSpec = ROLLOUT) -> PairSource:
    return PairSource(policy, texts, rollout=rollout, seed=3)


def drawn(source: PairSource, count: int, first: int = 0, stride: int = 1) -> list[Batch]:
    return list(itertools.islice(source.batches(first, stride), count))


def completion(batch: Batch, row: int) -> tuple[int, ...]:
    return tuple(batch.tokens_BT[row][batch.mask_BT[row].bool()].tolist())


def test_the_first_half_is_teacher_text_and_the_second_answers_the_same_prompts(
    policy: Policy,
) -> None:
    texts = by_example(texts_of(policy))
    (batch,) = drawn(source_of(policy, texts_of(policy)), 1)
    half = len(batch.ids) // 2

    assert batch.source == "pairs"
    assert half == ROLLOUT.prompts * ROLLOUT.samples
    assert batch.ids[:half] == batch.ids[half:]
    assert torch.equal(batch.prompt_BS[:half], batch.prompt_BS[half:])
    assert [completion(batch, row) for row in range(half)] == [
        texts[name][0].completion for name in batch.ids[:half]
    ]


def test_both_rows_of_a_pair_have_one_number_and_the_teacher_s_is_chosen(policy: Policy) -> None:
    (batch,) = drawn(source_of(policy, texts_of(policy)), 1)
    half = len(batch.ids) // 2
    assert batch.group_B is not None
    assert batch.chosen_B is not None

    assert batch.group_B.tolist() == [*range(half), *range(half)]
    assert batch.chosen_B.tolist() == [1] * half + [0] * half


def test_the_student_s_half_is_what_it_would_write_by_itself(policy: Policy) -> None:
    (batch,) = drawn(source_of(policy, texts_of(policy)), 1)
    rows = [replace(row, completion=()) for row in runs.data_rows(policy)[:8]]
    prompts = PromptSource(rows, prompts=ROLLOUT.prompts, seed=3)
    own = next(RolloutSource(policy, prompts, rollout=ROLLOUT, seed=3).batches(0, 1))
    half = len(own.ids)

    assert batch.ids[half:] == own.ids
    assert [completion(batch, half + row) for row in range(half)] == [
        completion(own, row) for row in range(half)
    ]


def test_the_prompts_of_both_halves_are_those_of_the_texts(policy: Policy) -> None:
    (batch,) = drawn(source_of(policy, texts_of(policy)), 1)
    prompts = {row.id: row.prompt for row in runs.data_rows(policy)}

    for name, prompt_S, mask_S in zip(
        batch.ids, batch.prompt_BS, batch.prompt_mask_BS, strict=True
    ):
        assert tuple(prompt_S[mask_S.bool()].tolist()) == prompts[name]


def test_several_texts_of_a_prompt_take_turns(policy: Policy) -> None:
    texts = by_example(texts_of(policy, copies=3))
    # 8 prompts in batches of 4: two batches an epoch, so three epochs of two samples each
    batches = drawn(source_of(policy, texts_of(policy, copies=3)), 6)
    seen: dict[str, list[int]] = {name: [] for name in texts}
    for batch in batches:
        for row, name in enumerate(batch.ids[: len(batch.ids) // 2]):
            versions = [text.completion for text in texts[name]]
            seen[name].append(versions.index(completion(batch, row)))

    assert set(map(tuple, seen.values())) == {(0, 1, 2, 0, 1, 2)}


def test_a_sample_that_did_not_end_takes_its_pair_with_it() -> None:
    policy = tiny.make_policy("t5")
    texts = texts_of(policy, copies=3)
    keeping, dropping = (
        RolloutSpec(prompts=4, samples=16, max_new_tokens=12, unfinished=rule)
        for rule in ("terminal", "drop")
    )
    whole, kept = (drawn(source_of(policy, texts, item), 1)[0] for item in (keeping, dropping))
    half = len(whole.ids) // 2
    pairs = [(completion(whole, row), completion(whole, half + row)) for row in range(half)]
    ended = [(text, own) for text, own in pairs if own[-1] == policy.eos_id]

    found = [
        (completion(kept, row), completion(kept, len(ended) + row)) for row in range(len(ended))
    ]
    assert 0 < len(ended) < half
    assert found == ended
    assert len(kept.ids) == 2 * len(ended)
    assert kept.finished == len(ended) / half


def test_later_batches_do_not_depend_on_who_drew_the_ones_before(policy: Policy) -> None:
    texts = texts_of(policy)
    straight = drawn(source_of(policy, texts), 5)
    skipped = drawn(source_of(policy, texts), 2, first=2, stride=2)

    for one, other in zip((straight[2], straight[4]), skipped, strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.tokens_BT, other.tokens_BT)


def test_a_batch_of_which_nothing_ended_is_refused() -> None:
    policy = tiny.make_policy("t5")
    rollout = RolloutSpec(prompts=1, samples=1, max_new_tokens=1, unfinished="drop")

    with pytest.raises(ModelError, match="ended by itself"):
        drawn(source_of(policy, texts_of(policy), rollout), 20)
