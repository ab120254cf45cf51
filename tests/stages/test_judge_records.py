"""What lies on disk after a judgement, beside its figures."""

import hashlib
import json
from pathlib import Path
from typing import Any

import fault_server as fs
import msgspec
from fault_server import serving
from judgements import judged, rows, spec, two

from ketchup_cli.judging.responses import Responses
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.store.find import Artifact


def logged(made: Artifact) -> list[dict[str, Any]]:
    lines = (made.path / "logs" / "calls.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def test_every_call_has_a_row_in_the_log_and_its_whole_answer_is_kept(tmp_path: Path) -> None:
    script = [fs.says("1")] * 2 + [fs.fails(500)] + [fs.says("tie")]
    with serving(script) as server:
        asked = spec(server.address, tmp_path, examples=3, controls=0, price_completion=10.0)
        made = judged(tmp_path, two(tmp_path), asked)

    found = logged(made)
    assert sorted(row["key"] for row in found) == sorted(row.key for row in rows(made))
    assert sorted(row["attempts"] for row in found) == [1, 1, 1, 1, 1, 2]
    assert {(row["cached"], row["cost"]) for row in found} == {(False, "0.0002")}
    with Responses(tmp_path / "kept.sqlite", read_only=True) as kept:
        bodies = [kept.body(row["raw_sha256"]) for row in found]
    assert all(body and json.loads(body)["choices"] for body in bodies)
    assert {hashlib.sha256(body or b"").hexdigest() for body in bodies} == {
        row["raw_sha256"] for row in found
    }


def test_how_calls_went_is_no_part_of_what_is_made(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    with serving([fs.says("1")]) as server:
        asked = spec(server.address, tmp_path, examples=3, controls=0)
        first = judged(tmp_path, inputs, asked)
    (tmp_path / "again").mkdir()
    cheap = msgspec.structs.replace(asked, cache_only=True, price_prompt=5.0)
    again = judged(tmp_path / "again", two(tmp_path / "again"), cheap)

    assert again.digest == first.digest
    assert {row["cached"] for row in logged(again)} == {True}
    assert {row["raw_sha256"] for row in logged(again)} == {
        row["raw_sha256"] for row in logged(first)
    }


def test_the_document_says_how_much_was_planned_and_with_which_words(tmp_path: Path) -> None:
    async def mute_at_last(with_: fs.Conversation) -> None:
        await with_.send(fs.completion(fs.verdict("1") if with_.number < 5 else "hm"))

    with serving([mute_at_last]) as server:
        asked = spec(server.address, tmp_path, examples=3, controls=0, max_unjudged=1.0)
        made = judged(tmp_path, two(tmp_path), msgspec.structs.replace(asked, concurrency=1))

    (judge,) = json.loads((made.path / "judge.json").read_text())["judges"]
    assert (judge["planned"], judge["judged"], judge["unjudged"]) == (6, 3, {"invalid_json": 3})
    assert judge["prompts"].keys() == {"quality"}
    assert len(judge["prompts"]["quality"]) == 64


def test_repeated_questions_say_how_stable_the_judge_is(tmp_path: Path) -> None:
    async def wavers(with_: fs.Conversation) -> None:
        await with_.send(fs.completion(fs.verdict("12"[with_.number % 2])))

    reporter = SilentReporter()
    with serving([wavers]) as server:
        asked = spec(server.address, tmp_path, examples=4, controls=0, repeats=2, concurrency=1)
        made = judged(tmp_path, two(tmp_path), asked, reporter)

    (found,) = json.loads((made.path / "judge.json").read_text())["stability"]
    assert (found["questions"], found["same"]) == (8, 0.0)
    assert "asked again, the same answer 0%" in dict(reporter.notes)["repeats"]
