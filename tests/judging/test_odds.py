import math

import msgspec
import pytest
from fault_server import completion

from ketchup_cli.judging.answers import Answer, read_answer
from ketchup_cli.judging.menus import RATINGS, VERDICTS, Menu
from ketchup_cli.judging.odds import odds


def logprobs(*tops: tuple[str, float]) -> dict[str, object]:
    """Return what a server sends beside a first token of these probabilities."""
    listed = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in tops]
    return {"logprobs": {"content": [{**listed[0], "top_logprobs": listed}]}}


def read(choice: dict[str, object], menu: Menu = VERDICTS) -> Answer:
    told = completion("A", choice={"finish_reason": "length", **choice})
    return read_answer(
        msgspec.json.encode(told), content_type="application/json", protocol="logprob", menu=menu
    )


def test_ways_to_write_a_letter_are_one_choice() -> None:
    p, coverage = odds(
        {"A": math.log(0.3), " a": math.log(0.1), "B": math.log(0.4), "The": math.log(0.2)},
        VERDICTS,
    )

    assert p == pytest.approx({"1": 0.5, "2": 0.5, "tie": 0.0})
    assert coverage == pytest.approx(0.8)


def test_what_is_on_no_choice_leaves_no_probability_and_no_division_by_zero() -> None:
    assert odds({"The": -0.1}, VERDICTS) == ({"1": 0.0, "2": 0.0, "tie": 0.0}, 0.0)


def test_a_token_that_ends_at_its_limit_is_an_answer() -> None:
    answer = read(logprobs(("A", 0.2), ("B", 0.6), ("C", 0.1)))

    assert (answer.outcome, answer.verdict) == ("ok", "2")
    assert answer.p == pytest.approx({"1": 2 / 9, "2": 6 / 9, "tie": 1 / 9})


def test_a_token_that_is_rather_no_choice_is_no_answer() -> None:
    answer = read(logprobs(("<think>", 0.6), ("A", 0.3)))

    assert (answer.outcome, answer.verdict, answer.p) == ("off_menu", None, None)
    assert answer.detail == "30% of the probability is on A, B, C"


UNUSABLE = {
    "ignored": {},
    "null": {"logprobs": None},
    "no-places": {"logprobs": {"content": []}},
    "no-tops": {"logprobs": {"content": [{"token": "A", "logprob": -0.1}]}},
    "a-text": {"logprobs": "many"},
    "above-0": {"logprobs": {"content": [{"top_logprobs": [{"token": "A", "logprob": 0.7}]}]}},
}


@pytest.mark.parametrize("choice", UNUSABLE.values(), ids=UNUSABLE)
def test_a_server_that_gives_no_log_probabilities_gives_no_answer(choice: dict) -> None:
    answer = read(choice)

    assert answer.outcome == "off_menu"
    assert "log-probabilit" in answer.detail


def test_digits_are_the_choices_of_a_rating() -> None:
    answer = read(logprobs(("4", 0.5), ("5", 0.25), ("Four", 0.2)), RATINGS)

    assert answer.p == pytest.approx({"1": 0, "2": 0, "3": 0, "4": 2 / 3, "5": 1 / 3})
