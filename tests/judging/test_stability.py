import pytest
from judged import judgment

from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.stability import stabilities

HOW = Resampling(resamples=1000, seed=0)


def test_stability_is_the_chance_that_two_answers_to_a_question_are_the_same() -> None:
    rows = [
        *(judgment(0, "xy", verdict, repeat=n) for n, verdict in enumerate(["x", "x", "y"])),
        *(judgment(0, "yx", "x", repeat=n) for n in range(3)),
        *(judgment(1, "xy", verdict, repeat=n) for n, verdict in enumerate(["x", None, "tie"])),
        *(judgment(2, "xy", verdict, repeat=n) for n, verdict in enumerate(["x", None, None])),
        *(judgment(3, "xy", "x", repeat=n, control="cut") for n in range(2)),
    ]

    (found,) = stabilities(rows, how=HOW)

    # of one item 1 of 3 pairs and 3 of 3 are the same, of the other 0 of 1; the third has no pair
    assert found.questions == 3
    assert found.same == pytest.approx(((1 / 3 + 1) / 2 + 0) / 2)
    assert found.interval is not None
    assert found.interval[0] <= found.same <= found.interval[1]


def test_judges_and_aspects_are_told_apart() -> None:
    rows = [
        judgment(item, "xy", verdict, repeat=repeat, judge=judge, aspect=aspect)
        for item in range(2)
        for repeat, verdict in enumerate("xy")
        for judge in ("m", "n")
        for aspect in ("quality", "coherence")
    ]

    found = stabilities(rows, how=HOW)

    assert {(one.judge, one.aspect, one.same) for one in found} == {
        (judge, aspect, 0.0) for judge in ("m", "n") for aspect in ("quality", "coherence")
    }


def test_nothing_is_said_where_nothing_was_repeated() -> None:
    assert stabilities([judgment(0, "xy", "x")], how=HOW) == ()


def test_questions_that_were_never_answered_twice_have_no_stability() -> None:
    rows = [judgment(0, "xy", None, repeat=n) for n in range(2)]

    (found,) = stabilities(rows, how=HOW)

    assert (found.questions, found.same, found.interval) == (0, None, None)
