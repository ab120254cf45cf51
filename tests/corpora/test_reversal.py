"""Texts turned around: what every way keeps, and what each does."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketchup_cli.corpora.probes import reversal_probe
from ketchup_cli.corpora.reversal import (
    SEPARATOR,
    capitalised_spans,
    cut_entities,
    listed_spans,
    mirrored,
    segments,
    separated,
    turned,
)

TEXT = [
    "Cruise",
    "was",
    "born",
    "on",
    "July",
    "3,",
    "1962",
    "in",
    "Syracuse,",
    "New",
    "York,",
    "to",
    "Mary",
    "Lee",
    "Pfeiffer",
]
NAMES = {("Mary", "Lee", "Pfeiffer"), ("New", "York"), ("York",)}

words = st.lists(st.sampled_from(list("abcdefg")), min_size=1, max_size=12)
examples = settings(max_examples=50, deadline=None, derandomize=True)


@st.composite
def words_with_spans(draw):
    own = draw(words)
    return own, segments(len(own), most=4, random_=random.Random(draw(st.integers(0, 99))))


@examples
@given(words)
def test_word_reversal_undoes_itself(own):
    assert turned(turned(own)) == own


@examples
@given(words_with_spans())
def test_entity_reversal_undoes_itself_with_mirrored_spans(case):
    own, spans = case

    assert turned(turned(own, spans), mirrored(spans, len(own))) == own


@examples
@given(words_with_spans())
def test_every_way_keeps_every_word(case):
    own, spans = case

    assert Counter(turned(own, spans)) == Counter(own)
    assert Counter(turned(own)) == Counter(own)
    after = Counter(separated(own, spans))
    assert after.pop(SEPARATOR, 0) == len(spans) - 1
    assert after == Counter(own)


@examples
@given(words_with_spans())
def test_every_span_stands_in_one_piece(case):
    own, spans = case
    after = turned(own, spans)

    for (first, end), (then, last) in zip(reversed(spans), mirrored(spans, len(own)), strict=True):
        assert after[then:last] == own[first:end]


def test_one_span_over_all_changes_nothing_and_none_is_word_reversal():
    assert turned(TEXT, [(0, len(TEXT))]) == TEXT
    assert turned(TEXT) == TEXT[::-1]


def test_segments_of_one_word_are_word_reversal_with_separators():
    spans = segments(len(TEXT), most=1, random_=random.Random(0))

    assert [word for word in separated(TEXT, spans) if word != SEPARATOR] == TEXT[::-1]
    assert separated(TEXT, [(0, len(TEXT))]) == TEXT


def test_listed_entities_are_the_longest_and_keep_their_punctuation():
    after = turned(TEXT, listed_spans(TEXT, NAMES))

    assert " ".join(after) == (
        "Mary Lee Pfeiffer to New York, Syracuse, in 1962 3, July on born was Cruise"
    )


def test_capitals_make_entities_up_to_a_comma():
    spans = capitalised_spans(TEXT)

    assert [" ".join(TEXT[first:end]) for first, end in spans] == [
        "Cruise", "July", "Syracuse,", "New York,", "Mary Lee Pfeiffer",
    ]  # fmt: skip


def test_entities_that_fall_apart_are_counted():
    assert cut_entities(TEXT, TEXT[::-1], NAMES) == (2, 2)
    assert cut_entities(TEXT, turned(TEXT, listed_spans(TEXT, NAMES)), NAMES) == (0, 2)


@pytest.mark.parametrize("length", [1, 3])
def test_the_probe_asks_backward_only_what_was_told_forward_alone(length):
    probe = reversal_probe(pairs=20, words=length, seed=1)
    told = {row.prompt + row.references[0] for row in probe.splits["train"]}
    test = probe.splits["test"]
    backward = [row for row in test if row.group == "backward"]

    assert (len(told), len(test), len(backward)) == (30, 30, 10)
    assert not [row for row in backward if row.prompt + row.references[0] in told]
    assert all(
        f"{row.references[0].strip()} has a feature {row.prompt.removesuffix(' is a feature of')}"
        in told
        for row in backward
    )
    assert {len(name.split()) for name in probe.names} == {length}


def test_the_probe_is_the_same_for_a_seed_and_another_for_another():
    one, same, other = (reversal_probe(pairs=4, words=2, seed=seed) for seed in (1, 1, 2))

    assert one == same
    assert set(one.names) != set(other.names)
