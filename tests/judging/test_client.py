import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import fault_server as fs
import pytest
from asking import KEY, QUICK, ask, body, one, say

from ketchup_cli.errors import JudgeRefused, JudgeUnreachable
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.client import Judge, Means, OutOfBudget, Said
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.wire import OpenAIWire

CONTENT = {
    "in-a-fence": (f"```json\n{fs.verdict('2')}\n```", "ok", "2"),
    "after-a-thought": (f"<think>hm {{}}</think>{fs.verdict('tie')}", "ok", "tie"),
    "prose-around": (f"Sure: {fs.verdict('1')} ok?", "invalid_json", None),
    "two-objects": (fs.verdict("1") + fs.verdict("2"), "invalid_json", None),
    "two-fences": (
        f"```\n{fs.verdict('1')}\n```\n```\n{fs.verdict('2')}\n```",
        "invalid_json",
        None,
    ),
    "off-menu": (fs.verdict("A"), "off_menu", None),
    "verdict-a-number": ('{"reason": "r", "verdict": 1}', "off_menu", None),
    "a-key-too-many": ('{"reason": "r", "verdict": "1", "x": 1}', "invalid_json", None),
    "no-reason": ('{"verdict": "1"}', "invalid_json", None),
    "empty": ("  ", "empty", None),
    "null": (None, "empty", None),
}


@pytest.mark.parametrize(("content", "outcome", "slot"), CONTENT.values(), ids=CONTENT)
def test_only_exactly_one_verdict_of_the_menu_is_one(
    tmp_path: Path, content: str | None, outcome: str, slot: str | None
) -> None:
    said, server = one([fs.sends(fs.completion(content))], tmp_path)

    assert (said.answer.outcome, said.answer.verdict) == (outcome, slot)
    assert len(server.bodies) == (1 if outcome == "ok" else 2)  # a failure of form: once more


DECLINED = {
    "refusal": ({"message": {"refusal": "I cannot"}}, "refusal"),
    "filtered": ({"choice": {"finish_reason": "content_filter"}}, "content_filter"),
}


@pytest.mark.parametrize(("changes", "outcome"), DECLINED.values(), ids=DECLINED)
def test_a_judge_that_declines_is_asked_once_more_and_then_counted(
    tmp_path: Path, changes: dict[str, Any], outcome: str
) -> None:
    said, server = one([fs.sends(fs.completion(fs.verdict("1"), **changes))], tmp_path)

    assert (said.answer.outcome, said.answer.verdict, len(server.bodies)) == (outcome, None, 2)


def test_a_cut_answer_is_asked_again_with_twice_the_room(tmp_path: Path) -> None:
    cut = fs.sends(fs.completion('{"rea', choice={"finish_reason": "length"}))

    said, server = one([cut, fs.says("2")], tmp_path)

    assert (said.answer.verdict, [sent["max_tokens"] for sent in server.bodies]) == ("2", [64, 128])


BODIES = {
    "no-choices": fs.sends({**fs.completion("x"), "choices": []}),
    "choices-null": fs.sends({"choices": None, "error": {"message": "busy"}}),
    "choices-a-text": fs.sends({"choices": "nope"}),
    "a-list": fs.sends([1, 2]),
    "html": fs.sends("<html>log in</html>", content_type="text/html"),
    "empty-body": fs.sends(b""),
    "bad-json": fs.sends(b'{"choices": ['),
    "bad-utf8": fs.sends(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'),
    "promised-more": fs.ends_early,
    "half-a-chunk": fs.breaks_a_chunk,
    "reset": fs.resets,
    "reset-after-headers": fs.resets_after_headers,
    "unpacks-to-much": fs.bomb(64),
    "ten-megabytes": fs.sends(b" " * (10 << 20)),
}


@pytest.mark.parametrize("behaviour", BODIES.values(), ids=BODIES)
def test_a_broken_response_is_a_failure_of_the_transport_and_may_pass(
    tmp_path: Path, behaviour: fs.Behaviour
) -> None:
    said, server = one([behaviour, fs.says("1")], tmp_path)

    assert (said.answer.outcome, said.attempts, len(server.bodies)) == ("ok", 2, 2)


def test_a_body_that_stays_broken_is_given_up_after_three_attempts(tmp_path: Path) -> None:
    said, server = one([BODIES["html"]], tmp_path)

    assert (said.answer.outcome, len(server.bodies)) == ("transport", 3)
    assert "/v1" in said.answer.detail


SLOW = {"hangs": fs.hangs, "drips": fs.drips, "drips-headers": fs.drips_headers}


@pytest.mark.parametrize("behaviour", SLOW.values(), ids=SLOW)
def test_the_deadline_is_for_the_whole_answer(tmp_path: Path, behaviour: fs.Behaviour) -> None:
    limits = Limits(attempt_s=0.3, attempts=2, first_wait_s=0.01)

    said, server = one([behaviour], tmp_path, limits=limits)

    assert (said.answer.outcome, len(server.bodies)) == ("timeout", 2)


PASSING = [408, 409, 425, 429, 500, 502, 503, 529]


@pytest.mark.parametrize("status", PASSING)
def test_a_status_that_may_pass_is_tried_again(tmp_path: Path, status: int) -> None:
    said, server = one([fs.fails(status), fs.fails(status), fs.says("1")], tmp_path)

    assert (said.answer.outcome, said.attempts, len(server.bodies)) == ("ok", 3, 3)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_wrong_is_not_sent_again(tmp_path: Path, status: int) -> None:
    said, server = one([fs.fails(status, "context is too long")], tmp_path)

    assert (said.answer.outcome, len(server.bodies)) == ("http_4xx", 1)
    assert "context is too long" in said.answer.detail


FATAL = {
    "no-key": fs.fails(401),
    "not-allowed": fs.fails(403),
    "no-model": fs.fails(404),
    "quota": fs.fails(429, code="insufficient_quota"),
    "no-credit": fs.fails(402),
    "redirect": fs.sends("", status=307, headers={"location": "http://elsewhere.example/v1"}),
}


@pytest.mark.parametrize("behaviour", FATAL.values(), ids=FATAL)
def test_what_no_request_can_mend_stops_at_once(tmp_path: Path, behaviour: fs.Behaviour) -> None:
    with pytest.raises(JudgeRefused) as caught:
        one([behaviour], tmp_path)

    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_one_request_that_always_fails_is_given_up_while_others_succeed(tmp_path: Path) -> None:
    async def bad_for_one(with_: fs.Conversation) -> None:
        if with_.body["messages"][0]["content"] == "bad":
            await with_.send({"error": {"message": "always"}}, status=500)
        else:
            await with_.send(fs.completion(fs.verdict("1")))

    said, server = asyncio.run(say([bad_for_one], tmp_path, [ask("good"), ask("bad")], most=1))

    assert [one.answer.outcome for one in said] == ["ok", "http_5xx"]
    assert len(server.bodies) == 4


def test_nobody_starts_before_a_retry_after_has_passed(tmp_path: Path) -> None:
    script = [fs.fails(429, retry_after="0.7"), fs.says("1")]

    said, server = asyncio.run(say(script, tmp_path, [ask("a"), ask("b"), ask("c")], most=1))

    assert all(one.answer.outcome == "ok" for one in said)
    assert min(server.times[1:]) - server.times[0] >= 0.7


WAITS = {
    "seconds": {"retry_after": "1"},
    "milliseconds": {"retry_after_ms": "1000"},
}


@pytest.mark.parametrize("headers", WAITS.values(), ids=WAITS)
def test_a_server_is_waited_for_as_it_asks(tmp_path: Path, headers: dict[str, str]) -> None:
    _, server = one([fs.fails(503, **headers), fs.says("1")], tmp_path)

    assert 1.0 <= server.times[1] - server.times[0] < 5.0


@pytest.mark.parametrize("text", ["-3", "soon", "nan", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_senseless_wait_is_no_wait(tmp_path: Path, text: str) -> None:
    said, _ = one([fs.fails(429, retry_after=text), fs.says("1")], tmp_path)

    assert said.answer.outcome == "ok"


def test_a_wait_longer_than_allowed_ends_the_run_to_be_given_again(tmp_path: Path) -> None:
    with pytest.raises(JudgeUnreachable) as caught:
        one([fs.fails(429, retry_after="300")], tmp_path)

    assert (caught.value.exit_code, "300 s" in caught.value.message) == (75, True)


def test_a_server_that_is_not_there_ends_the_run(tmp_path: Path) -> None:
    async def nobody() -> None:
        async with fs.FaultServer([fs.says("1")]) as server:
            address = server.address
        with Responses(tmp_path / "kept.sqlite") as kept:
            async with OpenAIWire(address, key=KEY) as wire:
                means = Means(pace=Pace(most=8), budget=Budget(Prices()), limits=QUICK)
                judge = Judge(wire, kept, means, address=address)
                await asyncio.gather(*(judge.ask(ask(str(number))) for number in range(8)))

    with pytest.raises(JudgeUnreachable, match="did not reach the judge"):
        asyncio.run(nobody())


def test_no_more_requests_are_open_than_allowed(tmp_path: Path) -> None:
    asks = [ask(str(number)) for number in range(40)]

    _, server = asyncio.run(say([fs.says("1", after_s=0.01)], tmp_path, asks, most=6))

    assert 4 <= server.most_open <= 6


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    async def twice() -> tuple[list[Said], int]:
        async with fs.FaultServer([fs.says("1")]) as server:
            said = []
            for _ in range(2):
                with Responses(tmp_path / "kept.sqlite") as kept:
                    async with OpenAIWire(server.address, key=KEY) as wire:
                        means = Means(pace=Pace(most=1), budget=Budget(Prices()), limits=QUICK)
                        judge = Judge(wire, kept, means, address=server.address)
                        said.append(await judge.ask(ask()))
            return said, len(server.bodies)

    said, sent = asyncio.run(twice())

    assert (sent, [one.cached for one in said]) == (1, [False, True])
    assert said[0].answer == said[1].answer


WAVERING = [fs.says("1", after_s=0.05), fs.says("2")]
MUTE = [fs.sends(fs.completion("hm"))]
SAME = {
    "at-once": (WAVERING, {"most": 2}, ["1", "1"], 1),
    "one-after-another": (WAVERING, {"most": 1}, ["1", "1"], 1),
    "asked-again-on-purpose": (WAVERING, {"most": 1, "refresh": True}, ["1", "1"], 1),
    "no-answer": (MUTE, {"most": 2}, [None, None], 2),
    "no-answer-twice": (MUTE, {"most": 1}, [None, None], 2),
}


@pytest.mark.parametrize(("script", "how", "verdicts", "calls"), SAME.values(), ids=SAME)
def test_the_same_request_has_one_answer_in_a_run(
    tmp_path: Path,
    script: list[fs.Behaviour],
    how: dict[str, Any],
    verdicts: list[str | None],
    calls: int,
) -> None:
    said, server = asyncio.run(say(script, tmp_path, [ask(), ask()], **how))

    assert [one.answer.verdict for one in said] == verdicts
    assert len(server.bodies) == calls
    assert sorted(one.cached for one in said) == [False, True]


def test_without_a_wire_nothing_is_asked(tmp_path: Path) -> None:
    async def replay() -> Said:
        with Responses(tmp_path / "kept.sqlite") as kept:
            means = Means(pace=Pace(most=1), budget=Budget(Prices()), limits=QUICK)
            return await Judge(None, kept, means, address="http://127.0.0.1:9/v1").ask(ask())

    said = asyncio.run(replay())

    assert (said.answer.outcome, said.attempts) == ("transport", 0)


PRICES = Prices(prompt=Decimal(10), completion=Decimal(100))
"""100 prompt and 20 completion tokens cost 0.003; 64 completion tokens are set aside."""


def test_the_budget_is_not_passed_whatever_the_order_of_answers(tmp_path: Path) -> None:
    budget = Budget(PRICES, Decimal("0.03"))
    asks = [ask(str(number)) for number in range(40)]

    with pytest.raises(OutOfBudget):
        asyncio.run(say([fs.says("1", after_s=0.01)], tmp_path, asks, budget=budget, most=8))

    with Responses(tmp_path / "kept.sqlite") as kept:
        assert Decimal(0) < budget.spent <= kept.spent("j") <= Decimal("0.03")


def test_a_request_that_was_cut_off_counts_as_its_most(tmp_path: Path) -> None:
    limits = Limits(attempt_s=0.2, attempts=1)

    said, _ = one([fs.hangs], tmp_path, limits=limits, budget=Budget(PRICES, Decimal(1)))

    with Responses(tmp_path / "kept.sqlite") as kept:
        assert said.cost == kept.spent("j") > Decimal("0.0064")


def test_the_key_is_sent_and_stays_out_of_every_byte_that_is_kept(tmp_path: Path) -> None:
    script = [fs.fails(500, f"bad {KEY[:4]}"), fs.says("1")]

    _, server = one(script, tmp_path)

    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in written


@pytest.mark.parametrize("script", [[fs.fails(401)], [fs.resets]], ids=["401", "reset"])
def test_no_error_shows_the_key(tmp_path: Path, script: list[fs.Behaviour]) -> None:
    with pytest.raises((JudgeRefused, JudgeUnreachable)) as caught:
        asyncio.run(say(script, tmp_path, [ask(str(number)) for number in range(20)], most=4))

    assert KEY not in f"{caught.value!r} {caught.value} {caught.value.hint}"


def test_all_parameters_are_part_of_what_is_kept() -> None:
    from ketchup_cli.judging.responses import request_key

    keys = {
        request_key("http://a/v1", body(), repeat=0),
        request_key("http://b/v1", body(), repeat=0),
        request_key("http://a/v1", body("other"), repeat=0),
        request_key("http://a/v1", {**body(), "temperature": 0.5}, repeat=0),
        request_key("http://a/v1", body(), repeat=1),
    }

    assert len(keys) == 5
    assert request_key("http://u:p@a/v1/?k=1", body(), repeat=0) in keys
    assert json.loads(json.dumps(sorted(keys))) == sorted(keys)
