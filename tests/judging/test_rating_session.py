import asyncio
from collections.abc import Sequence
from pathlib import Path

import fault_server as fs
import pytest
from judged import SYSTEMS, items

from ketchup_cli.errors import JudgeError
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.calls import Form
from ketchup_cli.judging.client import Judge, Means, Said
from ketchup_cli.judging.menus import RATINGS
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.probe import Abilities, Settings
from ketchup_cli.judging.rating import rating_calls
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.session import Asking, Server, abilities_of
from ketchup_cli.judging.wire import OpenAIWire

QUICK = Limits(attempt_s=5.0, first_wait_s=0.01, longest_wait_s=0.02)


ASIDE = Form(task="Summarise.", aspects={"quality": "Good?"}, characters=400)


def ask_ratings(
    script: Sequence[fs.Behaviour], folder: Path, protocol: str = "auto"
) -> tuple[tuple[Said, ...], Abilities, fs.FaultServer]:
    asked = rating_calls(items(3), SYSTEMS, ASIDE)

    async def whole() -> tuple[tuple[Said, ...], Abilities, fs.FaultServer]:
        async with fs.FaultServer(list(script)) as server:
            with Responses(folder / "kept.sqlite") as kept:
                async with OpenAIWire(server.address, key="") as wire:
                    means = Means(pace=Pace(most=8), budget=Budget(Prices()), limits=QUICK)
                    judge = Judge(wire, kept, means, address=server.address)
                    to = Server(
                        address=server.address,
                        settings=Settings(model="m", max_tokens=64, temperature=0.0, seed=0),
                        protocol=protocol,
                        menu=RATINGS,
                    )
                    known = await abilities_of(judge, to)
                    asking = Asking(judge, to, asked, abilities=known, made=lambda _, said: (said,))
                    await asking.ask(lambda _: None)
            return asking.rows, known, server

    return asyncio.run(whole())


async def likes_digits(with_: fs.Conversation) -> None:
    """Answer with log-probabilities where they are asked for."""
    tops = [{"token": "4", "logprob": -0.7}, {"token": "2", "logprob": -1.2}]
    place = {"token": "4", "logprob": -0.7, "top_logprobs": tops}
    told = {"logprobs": {"content": [place]}} if with_.body.get("logprobs") else {}
    await with_.send(fs.completion("4", choice=told))


async def ignores_them(with_: fs.Conversation) -> None:
    """Answer in words whatever is asked for, as some servers do without a word."""
    await with_.send(fs.completion('{"reason": "fine", "rating": 4}'))


def test_ratings_are_read_from_log_probabilities_where_a_server_gives_them(
    tmp_path: Path,
) -> None:
    said, known, server = ask_ratings([likes_digits], tmp_path)

    assert known.protocol == "logprob"
    assert {one.answer.outcome for one in said} == {"ok"}
    assert all(one.answer.p for one in said)
    sent = server.bodies[-1]
    assert (sent["max_tokens"], sent["top_logprobs"]) == (1, 20)
    assert "response_format" not in sent


def test_a_server_that_ignores_log_probabilities_is_asked_in_words_and_that_is_recorded(
    tmp_path: Path,
) -> None:
    said, known, _ = ask_ratings([ignores_them], tmp_path)

    assert known.protocol == "json_schema"
    assert known.refused == {"logprob": "off_menu no log-probabilities came back"}
    assert {one.answer.verdict for one in said} == {"4"}


def test_log_probabilities_that_were_asked_for_are_not_replaced_by_words(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="no log-probabilities came back") as caught:
        ask_ratings([ignores_them], tmp_path, protocol="logprob")

    assert "--protocol auto" in (caught.value.hint or "")
