"""Parting prompts by the share of right samples: a disjoint cover, and what is rehearsed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup_cli.errors import DataError
from ketchup_cli.records import Rollout
from ketchup_cli.rewards.partition import partition


def rows_of(*examples):
    """Return rollouts of examples `a`, `b`, ...; each is a list of right, wrong or failed (None)."""
    return [
        Rollout(
            id=name,
            sample=number,
            text="x",
            tokens=(1,),
            logps=(-0.1,),
            stop="eos",
            correct=right,
            reward=None if right is None else float(right),
        )
        for name, samples in zip("abcdefgh", examples, strict=False)
        for number, right in enumerate(samples)
    ]


def test_examples_are_known_from_their_threshold_on():
    rows = rows_of([1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1])
    found = partition(rows, threshold=0.75, held=0)

    assert (found.known, found.open) == (("a", "c"), ("b",))
    assert [(row.id, row.sample) for row in found.rehearsed] == [
        ("a", 0), ("a", 1), ("a", 2), ("c", 0), ("c", 1), ("c", 2), ("c", 3)
    ]  # fmt: skip


def test_a_sample_that_is_held_back_decides_nothing_and_is_rehearsed_if_right():
    rows = rows_of([1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1])
    found = partition(rows, threshold=1.0, held=1)

    assert (found.known, found.open) == (("a", "b"), ("c",))
    assert [(row.id, row.sample) for row in found.rehearsed] == [("b", 3)]
    assert found.unconfirmed == 1


def test_a_failed_reward_is_neither_right_nor_wrong():
    found = partition(rows_of([1, None, 1], [None, None, None]), threshold=1.0, held=0)

    assert (found.known, found.open) == (("a",), ("b",))


samples = st.lists(st.booleans(), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.lists(samples, min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_both_sides_cover_all_and_a_higher_threshold_knows_no_more(examples, one, other):
    rows = rows_of(*examples)
    low, high = sorted((one, other))
    lenient, strict = (partition(rows, threshold=t, held=1) for t in (low, high))

    assert {*strict.known} | {*strict.open} == {row.id for row in rows}
    assert not {*strict.known} & {*strict.open}
    assert {*strict.known} <= {*lenient.known}


def test_rollouts_without_rewards_cannot_be_parted():
    with pytest.raises(DataError, match="were not rewarded"):
        partition(rows_of([None, None]), threshold=0.5, held=0)


def test_samples_that_would_all_be_held_back_are_too_few():
    with pytest.raises(DataError, match="1 examples have 2 samples or fewer"):
        partition(rows_of([1, 1], [1, 0, 1]), threshold=0.5, held=2)
