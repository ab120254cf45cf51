"""What is found out about a server before it is asked in earnest, and what is said where it is no judge."""

import asyncio
from pathlib import Path
from typing import Any

import fault_server as fs
import pytest
from asking import QUICK

from ketchup_cli.errors import JudgeError, JudgeUnreachable
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.client import Judge, Means
from ketchup_cli.judging.menus import RATINGS, VERDICTS, Menu
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.probe import Abilities, Settings
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.session import Server, abilities_of
from ketchup_cli.judging.wire import OpenAIWire


async def probed(
    address: str,
    folder: Path,
    *,
    menu: Menu = VERDICTS,
    wired: bool = True,
    hanging: bool = False,
) -> Abilities:
    with Responses(folder / "kept.sqlite") as kept:
        async with OpenAIWire(address, key="") as wire:
            limits = Limits(attempt_s=0.2, attempts=2, first_wait_s=0.01) if hanging else QUICK
            means = Means(pace=Pace(most=4), budget=Budget(Prices()), limits=limits)
            judge = Judge(wire if wired else None, kept, means, address=address)
            settings = Settings(model="m", max_tokens=64, temperature=0.0, seed=0)
            to = Server(address=address, settings=settings, protocol="auto", menu=menu)
            return await abilities_of(judge, to)


def probe(
    behaviour: fs.Behaviour, folder: Path, **how: Any
) -> tuple[Abilities | JudgeError, fs.FaultServer]:
    async def whole() -> tuple[Abilities | JudgeError, fs.FaultServer]:
        async with fs.FaultServer([behaviour]) as server:
            try:
                return await probed(server.address, folder, **how), server
            except JudgeError as error:
                return error, server

    return asyncio.run(whole())


def refuses(*names: str) -> fs.Behaviour:
    """Refuse settings by name, and answer well without them, in the form that was asked for."""

    async def behave(with_: fs.Conversation) -> None:
        for name in (name for name in names if name in with_.body):
            told = f"Unsupported parameter: '{name}' is not supported with this model."
            await with_.send({"error": {"message": told}}, status=400)
            return
        rating = "RATING:" in with_.body["messages"][1]["content"]
        if "VERDICT:" in with_.body["messages"][1]["content"] or rating:
            await with_.send(fs.completion("So.\nRATING: 3" if rating else "So.\nVERDICT: 1"))
            return
        await with_.send(fs.completion(fs.verdict("1")))

    return behave


WITHOUT = {
    "max_tokens": ({"renamed": {"max_tokens": "max_completion_tokens"}}, VERDICTS, 3),
    "temperature": ({"dropped": ("temperature",)}, VERDICTS, 3),
    "seed": ({"dropped": ("seed",)}, VERDICTS, 3),
    "response_format": ({"protocol": "text"}, VERDICTS, 4),
    "logprobs": ({"protocol": "text"}, RATINGS, 7),
    "top_logprobs": ({"protocol": "text"}, RATINGS, 7),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_server_that_refuses_a_setting_is_asked_without_it(tmp_path: Path, name: str) -> None:
    expected, menu, calls = WITHOUT[name]

    found, server = probe(refuses(name), tmp_path, menu=menu)

    assert isinstance(found, Abilities)
    assert {field: getattr(found, field) for field in expected} == expected
    assert len(server.bodies) == calls
    assert name not in server.bodies[-1]


def test_a_server_that_refuses_several_settings_is_asked_without_all_of_them(
    tmp_path: Path,
) -> None:
    found, server = probe(refuses("max_tokens", "temperature", "seed"), tmp_path)

    assert isinstance(found, Abilities)
    assert (set(found.dropped), len(server.bodies)) == ({"temperature", "seed"}, 5)
    assert server.bodies[-1]["max_completion_tokens"] == 64


async def cuts(with_: fs.Conversation) -> None:
    await with_.send(fs.completion('{"rea', choice={"finish_reason": "length"}))


NOBODY = {
    "nobody-there": (fs.resets, JudgeUnreachable, 75, 6, "no answer from the judge at", "runs"),
    "hangs": (fs.hangs, JudgeUnreachable, 75, 2, "no whole answer in 0.2 s", "runs"),
    "a-page": (
        *(fs.sends("<html>hello</html>", content_type="text/html"), JudgeError, 1, 3),
        *("the server answers `text/html`", "/v1"),
    ),
    "fails": (
        fs.fails(500, "oh"),
        JudgeUnreachable,
        75,
        18,
        "json_schema: http_5xx 500 oh",
        "logs",
    ),
    "cuts": (cuts, JudgeError, 1, 6, "length the answer was cut", "--set max_tokens=512"),
    "talks": (fs.sends(fs.completion("la")), JudgeError, 1, 6, "no verdict in any form", "model"),
    "refuses": (
        *(fs.fails(400, "context is too long"), JudgeError, 1, 3),
        *("http_4xx 400 context is too long", "model"),
    ),
}


@pytest.mark.parametrize(
    ("behaviour", "kind", "code", "calls", "message", "hint"), NOBODY.values(), ids=NOBODY
)
def test_who_is_no_judge_is_told_apart_from_who_is_not_there(
    tmp_path: Path,
    behaviour: fs.Behaviour,
    kind: type[JudgeError],
    code: int,
    calls: int,
    message: str,
    hint: str,
) -> None:
    found, server = probe(behaviour, tmp_path, hanging=behaviour is fs.hangs)

    assert type(found) is kind
    assert (found.exit_code, len(server.bodies)) == (code, calls)
    assert message in found.message
    assert hint in (found.hint or "")


def test_a_replay_without_what_was_found_says_so(tmp_path: Path) -> None:
    found, server = probe(fs.says("1"), tmp_path, wired=False)

    assert isinstance(found, JudgeError)
    assert "is not kept, and nobody is asked" in found.message
    assert server.connections == 0
