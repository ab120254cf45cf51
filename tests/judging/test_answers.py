import msgspec
import pytest
from fault_server import completion, verdict

from ketchup_cli.judging.answers import Usage, read_answer
from ketchup_cli.judging.menus import RATINGS, Protocol


def read(content: str | None, protocol: Protocol = "text", **changes: object):
    body = msgspec.json.encode(completion(content, **changes))
    return read_answer(body, content_type="application/json; charset=utf-8", protocol=protocol)


TEXTS = {
    "last-line": ("It is better.\nVERDICT: 1", "1"),
    "small-letters": ("verdict: TIE", "tie"),
    "thought-first": ("<think>VERDICT: 2</think>\nVERDICT: 1", "1"),
    "blank-lines-after": ("VERDICT: 2\n\n  ", "2"),
    "words-after": ("VERDICT: 2 I think", None),
    "not-the-last-line": ("VERDICT: 2\nthat is all", None),
    "quoted-in-a-sentence": ('The candidate says "VERDICT: 1"', None),
    "another-word": ("VERDICT: 3", None),
}


@pytest.mark.parametrize(("content", "slot"), TEXTS.values(), ids=TEXTS)
def test_a_plain_answer_is_its_last_line_and_nothing_else(content: str, slot: str | None) -> None:
    answer = read(content)

    assert (answer.verdict, answer.outcome) == (slot, "ok" if slot else "off_menu")


USAGES = {
    "all-told": ({"prompt_tokens": 9, "completion_tokens": 2}, Usage(prompt=9, completion=2)),
    "some-cached": (
        {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
        Usage(prompt=9, completion=2, cached=4),
    ),
    "absent": (None, None),
    "negative": ({"prompt_tokens": -9, "completion_tokens": 2}, None),
    "a-text": ("lots", None),
    "texts-inside": ({"prompt_tokens": "9", "completion_tokens": 2}, None),
}


@pytest.mark.parametrize(("sent", "usage"), USAGES.values(), ids=USAGES)
def test_usage_is_what_a_server_says_if_that_can_be(sent: object, usage: Usage | None) -> None:
    answer = read(verdict("1"), "json_schema", usage=sent)

    assert (answer.outcome, answer.usage) == ("ok", usage)


def test_a_lone_surrogate_cannot_break_what_is_written() -> None:
    body = msgspec.json.encode(completion("PLACE\nVERDICT: 1")).replace(b"PLACE", b"\\ud800 odd")

    answer = read_answer(body, content_type="application/json", protocol="text")

    assert (answer.outcome, answer.reason.encode("utf-8")) == ("ok", b"? odd")


RATED = {
    "number": ('{"reason": "fine", "rating": 4}', "json_schema", "4", "ok"),
    "off-the-scale": ('{"reason": "fine", "rating": 6}', "json_schema", None, "off_menu"),
    "half": ('{"reason": "fine", "rating": 4.5}', "json_schema", None, "off_menu"),
    "a-text": ('{"reason": "fine", "rating": "4"}', "json_schema", None, "off_menu"),
    "a-truth": ('{"reason": "fine", "rating": true}', "json_schema", None, "off_menu"),
    "a-verdict": ('{"reason": "fine", "verdict": "1"}', "json_schema", None, "invalid_json"),
    "last-line": ("Fine.\nRATING: 2", "text", "2", "ok"),
    "two-digits": ("Fine.\nRATING: 12", "text", None, "off_menu"),
    "out-of-ten": ("Fine.\nRATING: 4/5", "text", None, "off_menu"),
}


@pytest.mark.parametrize(("content", "protocol", "choice", "outcome"), RATED.values(), ids=RATED)
def test_a_rating_is_a_whole_number_of_the_scale_and_nothing_else(
    content: str, protocol: Protocol, choice: str | None, outcome: str
) -> None:
    body = msgspec.json.encode(completion(content))

    answer = read_answer(body, content_type="application/json", protocol=protocol, menu=RATINGS)

    assert (answer.verdict, answer.outcome) == (choice, outcome)
