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

DRAWN = Offers(detail="stats", temperatures=(1.0,), any_prefix=False, sampled=True)
IMPORTED = Offers(detail="top", temperatures=(1.0,), any_prefix=False, statistics=False)


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
    "draws": (Needs(teacher="top", sampled=True), DRAWN),
    "the statistics beside draws": (Needs(teacher="stats"), DRAWN),
    "entries that were imported": (Needs(teacher="top"), IMPORTED),
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


OTHER_KINDS = {
    "the largest entries from draws": (Needs(teacher="top"), DRAWN, "holds draws", "keep=top"),
    "all logits from draws": (
        Needs(teacher="dense", sampled=True),
        DRAWN,
        "holds draws, with statistics; the objective asks all logits",
        "keep=hidden",
    ),
    "statistics that were never known": (
        Needs(teacher="stats"),
        IMPORTED,
        "knows log-probabilities of its entries only",
        "cache-teacher",
    ),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_a_cache_of_another_kind_is_refused_with_a_way_out(name: str) -> None:
    needs, offers, words, way = OTHER_KINDS[name]

    with pytest.raises(MismatchError, match=words) as raised:
        check_offers(needs, offers, "3f9c1b2a", prefixes="data")
    assert way in (raised.value.hint or "")
    assert "teacher=live" in (raised.value.hint or "")


TAKES_DRAWS = Needs(teacher="top", sampled=True)
MIXES = {
    "two that do": (TAKES_DRAWS, TAKES_DRAWS, True),
    "one that does not": (TAKES_DRAWS, Needs(teacher="top"), False),
    "one that reads statistics alone": (TAKES_DRAWS, Needs(teacher="stats"), True),
    "one without a teacher": (TAKES_DRAWS, Needs(), True),
}


@pytest.mark.parametrize("name", MIXES)
def test_draws_do_for_a_mix_where_they_do_for_all_who_read_entries(name: str) -> None:
    one, other, do = MIXES[name]

    assert (one | other).sampled is do
    assert (other | one).sampled is do
