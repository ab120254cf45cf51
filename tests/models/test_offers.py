from typing import Any

import pytest

from ketchup_cli.errors import MismatchError
from ketchup_cli.models.teacher import LIVE_OFFERS, check_offers
from ketchup_cli.signals import Needs, Offers

CACHE_OFFERS = Offers(detail="top", temperatures=(1.0,), any_prefix=False)


def test_a_cache_cannot_score_what_the_student_writes() -> None:
    needs = Needs(prefixes=("student",), teacher="stats")

    with pytest.raises(MismatchError, match="student's own") as raised:
        check_offers(needs, CACHE_OFFERS, "3f9c1b2a")
    assert raised.value.hint == "--set teacher=live"


REFUSED = {
    "the student's prefixes by choice": (Needs(teacher="top"), "student's own"),
    "more detail": (Needs(teacher="dense"), "holds the largest logits; the objective asks all"),
    "the student's expectation": (Needs(teacher="stats", student_expected=True), "student's dist"),
    "states of layers": (Needs(hidden=True), "holds no states of its layers"),
    "another temperature": (Needs(teacher="top", temperature=0.5), "holds temperatures 1.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_needs_a_cache_cannot_meet_are_refused_in_one_sentence(name: str) -> None:
    needs, words = REFUSED[name]
    prefixes: Any = "student" if "by choice" in name else "data"

    with pytest.raises(MismatchError, match=words) as raised:
        check_offers(needs, CACHE_OFFERS, "3f9c1b2a", prefixes=prefixes)
    assert raised.value.message.startswith("teacher cache `3f9c1b2a`")
    assert raised.value.hint


MET = {
    "what it holds": (Needs(teacher="top"), CACHE_OFFERS),
    "less than it holds": (Needs(teacher="stats"), CACHE_OFFERS),
    "nothing": (Needs(prefixes=("student",), teacher="none"), CACHE_OFFERS),
    "anything live": (
        Needs(
            prefixes=("student",),
            teacher="dense",
            student_expected=True,
            hidden=True,
            temperature=3.0,
        ),
        LIVE_OFFERS,
    ),
}


@pytest.mark.parametrize("name", MET)
def test_needs_that_can_be_met_pass(name: str) -> None:
    needs, offers = MET[name]

    check_offers(needs, offers, "3f9c1b2a")
