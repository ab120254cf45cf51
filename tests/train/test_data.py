import itertools
import random

import pytest

from ketchup_cli.models.encode import Row, by_length
from ketchup_cli.signals import Batch
from ketchup_cli.train.data import (
    PromptSource,
    RowSource,
    derived_seed,
    endless_groups,
    epoch_groups,
    equal_groups,
    shuffled,
)


def make_rows(count: int) -> list[Row]:
    generator = random.Random(1)
    return [
        Row(
            id=f"row-{number}",
            prompt=(5,) * generator.randint(1, 9),
            completion=(6,) * generator.randint(1, 9),
            position=number,
        )
        for number in range(count)
    ]


ROWS = make_rows(50)


def make_source(*, seed: int = 0, budget: int = 60) -> RowSource:
    return RowSource(ROWS, tokens_per_batch=budget, pad_id=0, seed=seed, source="data")


def first_rows(source: RowSource, count: int, *, first: int = 0, stride: int = 1) -> list[tuple]:
    batches = itertools.islice(source.batches(first, stride), count)
    return [batch.rows for batch in batches]


def test_a_seed_depends_on_every_part_and_their_order() -> None:
    seeds = {derived_seed(*parts) for parts in ((1, 2), (2, 1), (12,), ("1", "2", ""), (1, 2, 0))}

    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_order_of_an_epoch_is_known_for_ever() -> None:
    assert shuffled(6, seed=0, epoch=0) == [4, 1, 3, 0, 5, 2]


def test_every_epoch_has_an_order_of_its_own() -> None:
    orders = [shuffled(50, seed=0, epoch=epoch) for epoch in range(4)]

    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_every_seed_has_an_order_of_its_own() -> None:
    assert first_rows(make_source(seed=0), 5) != first_rows(make_source(seed=1), 5)


def test_an_epoch_holds_every_row_once() -> None:
    groups = epoch_groups(ROWS, lambda pool: by_length(pool, 60), seed=3, epoch=2)

    assert sorted(number for group in groups for number in group) == list(range(50))


def test_rows_of_one_length_meet_others_in_another_epoch() -> None:
    rows = [Row(id=str(number), prompt=(5,), completion=(6,)) for number in range(20)]
    epochs = [
        {
            frozenset(group)
            for group in epoch_groups(rows, lambda pool: by_length(pool, 8), seed=0, epoch=epoch)
        }
        for epoch in (0, 1)
    ]

    assert epochs[0] != epochs[1]


def test_batches_come_in_random_order_of_length() -> None:
    batches = list(itertools.islice(make_source().batches(0, 1), 12))
    widths = [batch.tokens_BT.shape[1] for batch in batches]

    assert widths != sorted(widths)
    assert len(set(widths)) > 3


@pytest.mark.parametrize("first", [1, 7, 40])
def test_the_order_is_the_same_after_a_resume(first: int) -> None:
    straight = first_rows(make_source(), first + 10)

    assert first_rows(make_source(), 10, first=first) == straight[first:]


def test_processes_share_the_batches_out() -> None:
    straight = first_rows(make_source(), 12)
    shares = [first_rows(make_source(), 4, first=rank, stride=3) for rank in range(3)]

    assert [shares[number % 3][number // 3] for number in range(12)] == straight


def test_epochs_follow_each_other_and_are_counted() -> None:
    groups = list(
        itertools.islice(endless_groups(ROWS, lambda pool: equal_groups(pool, 25), seed=0), 6)
    )

    assert [epoch for epoch, _ in groups] == [0, 0, 1, 1, 2, 2]


def test_a_batch_holds_the_rows_it_names() -> None:
    batch: Batch = next(make_source().batches(0, 1))

    for place, position in enumerate(batch.rows):
        assert batch.ids[place] == ROWS[position].id
        assert int(batch.mask_BT[place].sum()) == len(ROWS[position].completion)
    assert batch.source == "data"


def test_groups_of_prompts_have_the_size_asked_for_and_like_lengths() -> None:
    groups = equal_groups(ROWS, 8)
    lengths = [[len(ROWS[number].prompt) for number in group] for group in groups]

    assert [len(group) for group in groups] == [8] * 6 + [2]
    assert all(max(one) <= min(other) for one, other in itertools.pairwise(lengths))


def test_prompts_come_with_the_number_of_their_epoch() -> None:
    source = PromptSource(ROWS, prompts=20, seed=0)
    found = list(itertools.islice(source.prompts(0, 1), 7))

    assert [epoch for epoch, _ in found] == [0, 0, 0, 1, 1, 1, 2]
    assert {row.id for _, rows in found[:3] for row in rows} == {row.id for row in ROWS}


def test_prompts_go_on_after_a_resume() -> None:
    def ids(first: int, count: int) -> list[tuple[int, list[str]]]:
        source = PromptSource(ROWS, prompts=20, seed=0)
        groups = itertools.islice(source.prompts(first, 1), count)
        return [(epoch, [row.id for row in rows]) for epoch, rows in groups]

    assert ids(4, 3) == ids(0, 7)[4:]
