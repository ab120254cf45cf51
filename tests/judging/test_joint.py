"""Several aspects in one question: what is asked, which answers are read, and the rows they make."""

import json
import re
from decimal import Decimal
from typing import Any

import fault_server as fs
import msgspec
import pytest
from judged import FORM, SYSTEMS, items

from ketchup_cli.judging.answers import Answer, read_answer
from ketchup_cli.judging.calls import Form, calls, controls
from ketchup_cli.judging.client import Said
from ketchup_cli.judging.menus import RATINGS, VERDICTS, Protocol
from ketchup_cli.judging.probe import Abilities, Settings, plain
from ketchup_cli.judging.prompts import messages
from ketchup_cli.judging.rating import rated, rating_calls, rating_controls
from ketchup_cli.judging.responses import request_key
from ketchup_cli.judging.rows import judgments
from ketchup_cli.judging.session import Server, request

JOINT = Form(task=FORM.task, aspects=FORM.aspects, characters=400, joint=True)
MENU = VERDICTS.joint(("quality", "coherence"))
SERVER = Server(
    address="http://judge/v1",
    settings=Settings(model="m", max_tokens=64, temperature=0.7, seed=0),
    protocol="json_schema",
    menu=MENU,
)


def said(answer: Answer) -> Said:
    return Said(answer=answer, key="k", cached=False, attempts=1, latency_ms=1.0, cost=Decimal(0))


def read(content: str, protocol: Protocol, menu: Any = MENU) -> Answer:
    body = msgspec.json.encode(fs.completion(content))
    return read_answer(body, content_type="application/json", protocol=protocol, menu=menu)


def told(**verdicts: Any) -> str:
    return json.dumps({"reason": "so", "verdicts": verdicts})


def test_one_call_asks_about_all_aspects_and_names_them_in_their_order() -> None:
    asked = calls(items(3), SYSTEMS, JOINT)

    shown = messages(asked[0].question, protocol="text")[1]["content"]
    assert len(asked) == 3 * 2
    assert "- quality. Better?\n- coherence. Order?\n" in shown
    assert "The names are quality and coherence." in shown
    assert not re.search(r"(quality|coherence): (1|2|tie)", shown)


def test_the_schema_asks_for_a_choice_for_each_aspect_and_nothing_else() -> None:
    body = request(
        calls(items(1), SYSTEMS, JOINT)[0], SERVER, Abilities(protocol="json_schema")
    ).body

    schema = body["response_format"]["json_schema"]["schema"]
    each = schema["properties"]["verdicts"]
    assert schema["required"] == ["reason", "verdicts"]
    assert each["required"] == ["quality", "coherence"]
    assert each["additionalProperties"] is False
    assert each["properties"]["coherence"]["enum"] == ["1", "2", "tie"]


def test_a_joint_question_is_kept_apart_from_separate_ones() -> None:
    one, other = FORM, JOINT
    abilities = Abilities(protocol="json_schema")

    keys = {
        request_key("http://judge/v1", request(call, SERVER, abilities).body, repeat=0)
        for form in (one, other)
        for call in calls(items(1), SYSTEMS, form)
    }

    assert len(keys) == 2 * 2 + 2


ANSWERS = {
    "in-any-order": (told(coherence="tie", quality="2"), "json_schema", "ok"),
    "one-missing": (told(quality="2"), "json_schema", "invalid_json"),
    "one-too-many": (told(quality="2", coherence="1", style="1"), "json_schema", "invalid_json"),
    "off-menu": (told(quality="2", coherence="A"), "json_schema", "off_menu"),
    "a-single-verdict": (fs.verdict("2"), "json_schema", "invalid_json"),
    "a-list": ('{"reason": "so", "verdicts": ["2", "tie"]}', "json_schema", "invalid_json"),
    "lines": ("So.\nQuality: 2\ncoherence: tie", "text", "ok"),
    "lines-in-any-order": ("So.\ncoherence: TIE\nquality: 2", "text", "ok"),
    "a-line-missing": ("quality: 2", "text", "off_menu"),
    "a-line-twice": ("quality: 2\nquality: 2", "text", "off_menu"),
    "words-between": ("quality: 2\nand\ncoherence: tie", "text", "off_menu"),
}


@pytest.mark.parametrize(("content", "protocol", "outcome"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_holds_every_aspect_exactly_once(
    content: str, protocol: Protocol, outcome: str
) -> None:
    answer = read(content, protocol)

    verdicts = {"quality": "2", "coherence": "tie"} if outcome == "ok" else None
    assert (answer.outcome, answer.verdicts, answer.verdict) == (outcome, verdicts, None)


def test_ratings_of_several_aspects_are_whole_numbers() -> None:
    menu = RATINGS.joint(("quality", "coherence"))
    text = '{"reason": "so", "ratings": {"quality": 4, "coherence": "4"}}'

    assert read(text, "json_schema", menu).outcome == "off_menu"
    assert read(text.replace('"4"', "5"), "json_schema", menu).verdicts == {
        "quality": "4",
        "coherence": "5",
    }


def test_an_answer_is_a_row_for_each_aspect_and_a_control_one_for_the_first() -> None:
    both = Answer(outcome="ok", verdicts={"quality": "2", "coherence": "tie"})
    call = calls(items(1), SYSTEMS, JOINT)[1]
    control = controls(items(9), SYSTEMS, JOINT, count=1, seed=0)[0]

    rows = judgments(call, said(both), judge="m")

    assert [(row.aspect, row.order, row.verdict) for row in rows] == [
        ("quality", "yx", "x"),
        ("coherence", "yx", "tie"),
    ]
    assert [row.aspect for row in judgments(control, said(both), judge="m")] == ["quality"]


def test_an_answer_that_came_to_nothing_is_a_row_for_each_aspect_too() -> None:
    rows = judgments(calls(items(1), SYSTEMS, JOINT)[0], said(Answer(outcome="refusal")), judge="m")

    assert [(row.aspect, row.outcome, row.verdict) for row in rows] == [
        ("quality", "refusal", None),
        ("coherence", "refusal", None),
    ]


def test_ratings_make_a_row_for_each_aspect_and_a_control_one_for_the_first() -> None:
    both = Answer(outcome="ok", verdicts={"quality": "4", "coherence": "5"})
    call = rating_calls(items(1), SYSTEMS, JOINT)[0]
    control = rating_controls(items(9), SYSTEMS, JOINT, count=1, seed=0)[0]

    rows = rated(call, said(both), judge="m")

    assert [(row.aspect, row.value) for row in rows] == [("quality", 4.0), ("coherence", 5.0)]
    assert [row.aspect for row in rated(control, said(both), judge="m")] == ["quality"]


@pytest.mark.parametrize("menu", [MENU, RATINGS.joint(("quality", "coherence"))])
def test_the_plain_questions_are_about_the_same_aspects(menu: Any) -> None:
    assert {question.menu for question in plain(menu)} == {menu}
