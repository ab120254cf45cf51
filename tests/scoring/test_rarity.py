"""What pairs keep of rare words, by hand and against slow loops."""

import math

import pytest

from ketchup_cli.errors import DataError
from ketchup_cli.scoring.alignment import TextPair
from ketchup_cli.scoring.measurement import Figure, Measurement
from ketchup_cli.scoring.rarity import Pairs, Rare, measure

RAW: list[TextPair] = [
    (["a", "b"], ["A", "B"]),
    (["a", "c"], ["A", "C", "C"]),
    (["a", "d"], ["A", "D"]),
]
"""Once stand b, c, d and B, D; twice C; three times a and A."""
TOLD: list[TextPair] = [
    (["a", "b"], ["A", "A"]),
    (["a", "c"], ["A", "C"]),
    (["a", "d"], ["D", "D"]),
]


def one_each(pairs: list[TextPair]) -> Pairs:
    return [[pair] for pair in pairs]


def found(limit: int, **sets: Pairs) -> dict[str, Measurement | Figure]:
    rare = Rare.of(RAW, limit=limit)
    return {one.metric: one for one in measure({"raw": one_each(RAW), **sets}, rare, signature="s")}


def test_rare_words_stand_so_many_times_at_most_on_their_side() -> None:
    rare = Rare.of(RAW, limit=1)

    assert rare.in_prompts == {"b", "c", "d"}
    assert rare.in_completions == {"B", "D"}


def test_the_share_of_rare_words_is_over_all_words_of_completions() -> None:
    measured = found(2, forward=one_each(TOLD))

    assert measured["rare-tokens[raw]"].value == pytest.approx(100 * 4 / 7)
    assert measured["rare-tokens[forward]"].value == pytest.approx(100 * 3 / 6)


def test_a_rare_word_is_kept_as_many_times_as_the_completion_has_it() -> None:
    # of B, C, C and D there are none, one and one; a second D is none of the reference's
    measured = found(2, forward=one_each(TOLD))

    assert measured["rare-kept[forward]"].value == pytest.approx(100 * 2 / 4)
    assert measured["rare-words[forward]"].value == pytest.approx(100 * 2 / 3)
    assert "rare-kept[raw]" not in measured


def test_a_word_is_kept_where_one_of_two_completions_has_it() -> None:
    both = [[told, raw] for told, raw in zip(TOLD, RAW, strict=True)]
    measured = found(2, both=both)

    assert measured["rare-kept[both]"].value == 100.0
    assert measured["rare-words[both]"].value == 100.0


def test_two_completions_with_a_word_each_do_not_keep_it_twice() -> None:
    measured = found(2, both=[[told, told] for told in TOLD])

    assert measured["rare-kept[both]"].value == pytest.approx(100 * 2 / 4)


def test_an_example_without_a_pair_has_lost_its_rare_words() -> None:
    measured = found(2, forward=[[], *one_each(TOLD)[1:]])

    assert measured["rare-kept[forward]"].value == pytest.approx(100 * 2 / 4)
    assert measured["rare-tokens[forward]"].value == pytest.approx(100 * 3 / 4)


def test_a_word_that_is_put_in_two_ways_has_their_entropy() -> None:
    # x is put as X or as Y, and nothing else stands beside it: the empty word takes the same share
    raw: list[TextPair] = [(["x"], ["X"]), (["x"], ["Y"])]
    told: list[TextPair] = [(["x"], ["X"]), (["x"], ["X"])]
    measured = {
        one.metric: one.value
        for one in measure(
            {"raw": one_each(raw), "forward": one_each(told)}, Rare.of(raw, limit=2), signature="s"
        )
    }

    assert measured["rare-entropy[raw]"] == pytest.approx(math.log(2))
    assert measured["rare-entropy[forward]"] == 0.0
    assert measured["rare-entropy-back[raw]"] == 0.0


def test_entropies_are_of_the_rare_words_of_the_raw_pairs_alone() -> None:
    reverse = [[(["a", "new"], completion)] for _, completion in RAW]
    measured = found(1, reverse=reverse)

    # none of b, c and d is left in the prompts
    assert "rare-entropy[reverse]" not in measured
    assert measured["rare-entropy-back[reverse]"].details["words"] == 2
    assert measured["rare-kept[reverse]"].value == 100.0


def test_a_text_without_a_rare_word_is_refused() -> None:
    with pytest.raises(DataError, match="stands at most 1 times"):
        measure(
            {"raw": one_each([(["a"], ["A"])] * 2)},
            Rare.of([(["a"], ["A"])] * 2, limit=1),
            signature="s",
        )
