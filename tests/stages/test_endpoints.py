"""What a judge's server can do, as `ketchup doctor --judge` tells it."""

import json
from pathlib import Path
from typing import Any

import fault_server as fs
import projects
import pytest
from fault_server import serving

from ketchup_cli.errors import JudgeRefused, SpecError
from ketchup_cli.spec_judge import JudgeSpec
from ketchup_cli.stages.endpoints import judge_check

USAGE = {"prompt_tokens": 9, "completion_tokens": 3}


def form_of(body: dict[str, Any]) -> str:
    asked = body.get("response_format", {}).get("type", "text")
    return "logprob" if body.get("logprobs") else asked


def able(*forms: str, **changes: Any) -> fs.Behaviour:
    """Answer in these forms, and in words of no form where another is asked for."""

    async def behave(with_: fs.Conversation) -> None:
        form = form_of(with_.body)
        told = fs.verdict("1") if form != "text" else "It reads well.\nVERDICT: 1"
        text = told if form in forms else "I would rather not say."
        await with_.send(fs.completion(text, **{"usage": USAGE, **changes}))

    return behave


def refusing(name: str) -> fs.Behaviour:
    """Refuse a setting by name, and answer without it."""

    async def behave(with_: fs.Conversation) -> None:
        if name in with_.body:
            error = {"error": {"message": f"unsupported parameter: {name}"}}
            await with_.send(error, status=400)
        else:
            await with_.send(fs.completion(fs.verdict("1"), usage=USAGE))

    return behave


def spec(address: str, **changes: Any) -> JudgeSpec:
    return JudgeSpec(**{"base_url": address, "model": "fake", "timeout_s": 5.0, **changes})


def test_a_server_is_asked_in_every_form_and_the_first_that_works_is_taken() -> None:
    with serving([able("json_object", "text")]) as server:
        check = judge_check(spec(server.address))

    assert check.status == "pass"
    assert check.evidence[0] == "`fake` answers as json_object, text; asked as json_object"
    assert [line.partition(":")[0] for line in check.evidence[1:3]] == ["json_schema", "logprob"]
    assert check.figures["calls"] == len(server.bodies)


def test_a_server_that_gives_no_verdict_fails_with_the_reason_of_each_form() -> None:
    with serving([able()]) as server:
        check = judge_check(spec(server.address))

    assert check.status == "fail"
    assert "`fake` answers as no form; nothing of json_schema, json_object, text works" in (
        check.evidence
    )
    assert len([line for line in check.evidence if "invalid_json" in line]) == 2


def test_a_form_that_was_chosen_and_does_not_work_fails_though_others_do() -> None:
    with serving([able("text")]) as server:
        check = judge_check(spec(server.address, protocol="json_schema"))

    assert check.status == "fail"
    assert check.evidence[0] == "`fake` answers as text; nothing of json_schema works"


def test_settings_a_server_refuses_and_tokens_it_does_not_count_are_warnings() -> None:
    with serving([refusing("seed")]) as one, serving([able("json_schema", usage=None)]) as other:
        without_seed = judge_check(spec(one.address))
        without_count = judge_check(spec(other.address))

    assert without_seed.status == without_count.status == "warn"
    assert "takes no seed: asked again it may answer otherwise" in without_seed.evidence
    assert "counts no tokens: what is spent is estimated, from above" in without_count.evidence


def test_a_judge_that_needs_a_key_and_one_that_is_not_named_are_errors() -> None:
    with serving([fs.fails(401)]) as server, pytest.raises(JudgeRefused):
        judge_check(spec(server.address))
    with pytest.raises(SpecError, match="no judge is named"):
        judge_check(JudgeSpec())


def test_a_budget_that_does_not_cover_the_questions_sends_none() -> None:
    prices = {"budget": 1e-9, "price_prompt": 1.0, "price_completion": 1.0}
    with serving([able("json_schema")]) as server:
        check = judge_check(spec(server.address, **prices))

    assert check.status == "not checked"
    assert server.bodies == []


def test_the_doctor_asks_only_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving([able("json_schema")]) as server:
        toml = f'[judge]\nbase_url = "{server.address}"\nmodel = "fake"\n'
        Path("ketchup.toml").write_text(toml)
        silent = json.loads(projects.type_in("doctor --json").out)["checks"][-1]
        before = len(server.bodies)
        asked = json.loads(projects.type_in("doctor --judge --json").out)["checks"][-1]

    assert silent["status"] == "not checked"
    assert silent["evidence"] == ["--judge asks `fake`"]
    assert before == 0
    assert asked["status"] == "pass"
    assert len(server.bodies) == asked["figures"]["calls"]
