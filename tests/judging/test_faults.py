"""What a server may do wrong, beyond single bad answers: outcome, calls made, what is said of it."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import fault_server as fs
import pytest
from asking import KEY, ask, judge_at, one, say

from ketchup_cli.errors import JudgeRefused, JudgeUnreachable
from ketchup_cli.judging.answers import CUT
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.client import Ask, OutOfBudget
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.retrying import Limits

MANY = [ask(str(number)) for number in range(40)]
PEG = "The model produced output that does not match the expected peg-native format"


CUT_SHORT = fs.fails(500, PEG)
OF_A_FORM = Ask(
    body={**ask().body, "response_format": {"type": "json_object"}}, protocol="json_object"
)


def test_an_object_that_llama_cut_is_asked_again_with_twice_the_room(tmp_path: Path) -> None:
    said, server = asyncio.run(say([CUT_SHORT, fs.says("2")], tmp_path, [OF_A_FORM]))

    assert (said[0].answer.verdict, said[0].attempts) == ("2", 2)
    assert [sent["max_tokens"] for sent in server.bodies] == [64, 128]


def test_an_answer_that_stays_cut_is_counted_as_cut_after_two_calls(tmp_path: Path) -> None:
    said, server = asyncio.run(say([CUT_SHORT], tmp_path, [OF_A_FORM]))

    assert (said[0].answer.outcome, len(server.bodies)) == ("length", 2)
    assert said[0].answer.detail.startswith(CUT)


def test_the_same_words_without_a_grammar_are_an_error_of_the_server(tmp_path: Path) -> None:
    said, server = one([CUT_SHORT], tmp_path)

    assert (said.answer.outcome, len(server.bodies)) == ("http_5xx", 6)


def test_a_server_that_fails_at_everything_ends_the_run_to_be_given_again(tmp_path: Path) -> None:
    with pytest.raises(JudgeUnreachable, match="20 requests in a row got no answer") as caught:
        asyncio.run(say([fs.fails(500, "out of memory")], tmp_path, MANY))

    assert "500 out of memory" in caught.value.message
    assert caught.value.exit_code == 75


def test_a_server_that_begins_to_fail_ends_the_run_before_all_is_tried(tmp_path: Path) -> None:
    script = [fs.says("1"), *[fs.fails(500)] * 500]

    with pytest.raises(JudgeUnreachable, match="got no answer"):
        asyncio.run(say(script, tmp_path, MANY))


def test_requests_a_server_always_fails_on_do_not_end_a_run_where_others_are_answered(
    tmp_path: Path,
) -> None:
    async def fails_on_most(with_: fs.Conversation) -> None:
        number = int(with_.body["messages"][0]["content"])
        await (fs.fails(500) if number % 9 else fs.says("1"))(with_)

    said, server = asyncio.run(say([fails_on_most], tmp_path, MANY[:19], most=1))

    # eight in a row, each three times: more attempts than end a run
    assert [one.answer.outcome for one in said[:10]] == ["ok", *["http_5xx"] * 8, "ok"]
    assert len(server.bodies) == 3 + 16 * 3


def test_a_page_with_status_503_is_waited_out(tmp_path: Path) -> None:
    page = fs.sends("<html><b>busy</b></html>", status=503, content_type="text/html")

    said, server = one([page, fs.says("1")], tmp_path)

    assert (said.answer.outcome, len(server.bodies)) == ("ok", 2)


def test_an_answer_that_is_too_long_is_asked_for_three_times_and_no_more(tmp_path: Path) -> None:
    said, server = one([fs.sends(b" " * (9 << 20))], tmp_path)

    assert (said.answer.outcome, len(server.bodies)) == ("transport", 3)
    assert said.answer.detail == "the body is longer than 8 MiB"


def test_an_answer_that_unpacks_to_much_is_never_unpacked_whole(tmp_path: Path) -> None:
    import tracemalloc

    packed = fs.bomb(64)
    tracemalloc.start()
    try:
        one([packed, fs.says("1")], tmp_path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 40 << 20


CHARSETS = {
    "declared-wrongly": (fs.completion(fs.verdict("1"), model="modèle"), "iso-8859-1", "ok"),
    "not-utf-8": ('{"choices": []}'.encode("utf-16"), "utf-16", "transport"),
}


@pytest.mark.parametrize(("sent", "charset", "outcome"), CHARSETS.values(), ids=CHARSETS)
def test_a_body_is_utf_8_whatever_its_header_says(
    tmp_path: Path, sent: Any, charset: str, outcome: str
) -> None:
    kind = f"application/json; charset={charset}"

    said, _ = one([fs.sends(sent, content_type=kind)], tmp_path)

    assert said.answer.outcome == outcome


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_a_log_probability_that_is_no_number_is_no_answer(tmp_path: Path, number: str) -> None:
    tops = [{"token": "A", "logprob": 12345.0}]
    told = fs.completion("A", choice={"logprobs": {"content": [{"top_logprobs": tops}]}})
    text = fs.json.dumps(told).replace("12345.0", number)
    asked = [ask(protocol="logprob")]

    said, server = asyncio.run(say([fs.sends(text)], tmp_path, asked))

    assert said[0].answer.outcome in {"transport", "off_menu"}
    assert len(server.bodies) <= 3


def test_half_a_character_breaks_nothing_that_is_written(tmp_path: Path) -> None:
    text = fs.json.dumps(fs.completion('{"reason": "PLACE", "verdict": "1"}'))
    script = [fs.sends(text.replace("PLACE", "\\\\ud83d half"))]

    said, _ = one(script, tmp_path)
    again, server = one(script, tmp_path)

    assert said.answer.reason == "? half"
    assert said.answer.outcome == "ok"
    assert again.answer.reason.encode("utf-8")
    assert server.connections == 1


USAGES = {"missing": None, "negative": {"prompt_tokens": -9, "completion_tokens": 2}, "a-text": "9"}
PRICES = Prices(prompt=Decimal(10), completion=Decimal(100))


@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
def test_an_answer_without_a_usage_that_can_be_costs_all_that_was_set_aside(
    tmp_path: Path, usage: object
) -> None:
    script = [fs.sends(fs.completion(fs.verdict("1"), usage=usage))]

    said, _ = one(script, tmp_path, budget=Budget(PRICES, Decimal(1)))

    # 64 tokens of an answer at 100 a million, and those of the prompt
    assert said.cost > Decimal("0.0064")


def date(*, from_now_s: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=from_now_s), usegmt=True)


DATES = {
    "same-clock": (0.0, 2.0),
    "an-hour-late": (-3600.0, 2.0),
    "an-hour-early": (3600.0, 2.0),
}


@pytest.mark.parametrize(("skew_s", "after_s"), DATES.values(), ids=DATES)
def test_a_wait_until_a_date_is_by_the_clock_of_who_says_it(
    tmp_path: Path, skew_s: float, after_s: float
) -> None:
    limits = Limits(attempt_s=1.0, max_wait_s=5.0, first_wait_s=0.01, longest_wait_s=0.02)
    headers = {"date": date(from_now_s=skew_s), "retry-after": date(from_now_s=skew_s + after_s)}
    busy = fs.sends({"error": "busy"}, status=429, headers=headers)

    _, server = one([busy, fs.says("1")], tmp_path, limits=limits)

    # dates are whole seconds: the wait is shorter by one at most
    assert after_s - 1 <= server.times[1] - server.times[0] < after_s + 2


def test_nobody_starts_in_a_pause_and_who_is_on_the_way_arrives(tmp_path: Path) -> None:
    script = [fs.fails(429, retry_after="0.6"), *[fs.says("1", after_s=0.05)] * 3, fs.says("1")]

    said, server = asyncio.run(say(script, tmp_path, MANY[:12]))

    assert {one.answer.outcome for one in said} == {"ok"}
    assert min(server.times[4:]) - server.times[0] >= 0.6


def test_a_redirect_shows_the_texts_to_nobody_else(tmp_path: Path) -> None:
    with fs.serving([fs.says("1")]) as other:
        elsewhere = fs.sends("", status=307, headers={"location": f"{other.address}/chat"})
        with pytest.raises(JudgeRefused, match="redirects") as caught:
            one([elsewhere], tmp_path)

        assert other.connections == 0
    assert caught.value.exit_code == 4


SAID = {
    "no-key": (fs.fails(401, "who?"), "the key is not accepted (401): who?"),
    "not-allowed": (fs.fails(403, "never"), "the key may not use this (403): never"),
    "no-model": (fs.fails(404, "gpt-9"), "no such model or address (404): gpt-9"),
    "quota": (fs.fails(429, "pay", code="insufficient_quota"), "quota is used up: pay"),
    "no-credit": (fs.fails(402, "pay"), "quota is used up: pay"),
}


@pytest.mark.parametrize(("behaviour", "message"), SAID.values(), ids=SAID)
def test_what_stops_everything_takes_one_call_and_says_what_it_was(
    tmp_path: Path, behaviour: fs.Behaviour, message: str
) -> None:
    with fs.serving([behaviour]) as server, pytest.raises(JudgeRefused) as caught:
        asyncio.run(judge_at(server.address, tmp_path, MANY, most=1))

    assert message in caught.value.message
    assert len(server.bodies) == 1


def test_a_repeated_request_is_answered_by_what_is_kept_and_refreshed_on_purpose(
    tmp_path: Path,
) -> None:
    with fs.serving([fs.says("1"), fs.says("2")]) as server:
        found = [
            asyncio.run(judge_at(server.address, tmp_path, [ask()], refresh=refresh))[0]
            for refresh in (False, False, True, False)
        ]

    assert [one.answer.verdict for one in found] == ["1", "1", "2", "2"]
    assert [one.cached for one in found] == [False, True, False, True]


def test_an_echo_of_the_key_is_not_kept(tmp_path: Path) -> None:
    told = {"reason": f"your key is {KEY}", "verdict": "1"}

    said, _ = one([fs.sends(fs.completion(fs.json.dumps(told)))], tmp_path)

    assert said.answer.reason == "your key is [key]"
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_server_that_restarts_loses_nothing(tmp_path: Path) -> None:
    limits = Limits(attempt_s=2.0, first_wait_s=0.1, longest_wait_s=0.3)

    async def restarted() -> tuple[list[Any], int]:
        first = fs.FaultServer([fs.says("1")])
        async with first:
            asking = asyncio.create_task(
                judge_at(first.address, tmp_path, MANY[:20], limits=limits, most=2)
            )
            while len(first.bodies) < 8:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        async with fs.FaultServer([fs.says("1")], port=first.port) as second:
            said = await asking
        return said, len(first.bodies) + len(second.bodies)

    said, sent = asyncio.run(restarted())

    assert {one.answer.outcome for one in said} == {"ok"}
    # what was on its way when the server went is sent again, and nothing else
    assert 20 <= sent <= 22


def kept_count(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder / 'kept.sqlite'}?mode=ro", uri=True) as file:
        return int(file.execute("SELECT COUNT(*) FROM answers").fetchone()[0])


def test_an_answer_is_kept_before_its_worker_asks_again(tmp_path: Path) -> None:
    found: list[int] = []

    async def counts(with_: fs.Conversation) -> None:
        found.append(kept_count(tmp_path))
        await with_.send(fs.completion(fs.verdict("1")))

    asyncio.run(say([counts], tmp_path, MANY[:6], most=1))

    assert found == list(range(6))


def test_who_is_interrupted_leaves_no_task_and_a_whole_file(tmp_path: Path) -> None:
    async def interrupted() -> int:
        async with fs.FaultServer([fs.says("1")] * 10 + [fs.hangs]) as server:
            before = asyncio.all_tasks()
            asking = asyncio.create_task(judge_at(server.address, tmp_path, MANY))
            while len(server.bodies) < 14:
                await asyncio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            served = server.tasks
            return len(asyncio.all_tasks() - before - served)

    left = asyncio.run(interrupted())

    assert left == 0
    with Responses(tmp_path / "kept.sqlite") as kept:
        assert kept._run("PRAGMA integrity_check", ()).fetchone() == ("ok",)
    assert kept_count(tmp_path) == 10


KILLED = """\
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from asking import judge_at
from judging.test_faults import MANY, within

asyncio.run(judge_at({address!r}, Path({folder!r}), MANY, budget=within()))
"""


def within() -> Budget:
    return Budget(PRICES, Decimal("0.1"))


def test_no_kill_makes_a_run_spend_more_than_its_budget(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    with fs.serving([fs.says("1", after_s=0.03)]) as server:
        code = KILLED.format(tests=tests, folder=str(tmp_path), address=server.address)
        with subprocess.Popen([sys.executable, "-c", code]) as child:
            while len(server.bodies) < 7 and child.poll() is None:
                time.sleep(0.005)
            child.kill()
        asked_before = kept_count(tmp_path)
        with pytest.raises(OutOfBudget):
            asyncio.run(judge_at(server.address, tmp_path, MANY, budget=within(), resumed=True))
        paid = len(server.bodies) * Decimal("0.003")

    with Responses(tmp_path / "kept.sqlite") as kept:
        # each answer did cost 0.003; one that was cut off stands for all that was set aside
        assert paid <= kept.spent("j") <= Decimal("0.1")
    assert 3 <= asked_before < kept_count(tmp_path)
