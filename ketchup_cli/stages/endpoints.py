"""What the servers of `[judge]` can do: the last check of `ketchup doctor`, made where it is asked for."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ketchup_cli.doctor.result import Check, failed, not_checked, passed, warned
from ketchup_cli.judging.client import Ask, Judge, Means, OutOfBudget, Said, read_key
from ketchup_cli.judging.menus import Menu, Protocol
from ketchup_cli.judging.probe import SPOKEN, Abilities, described, tried, try_form
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.wire import OpenAIWire
from ketchup_cli.stages.judge_means import Endpoint, budget_of, endpoints_of, limits_of, pace_of

if TYPE_CHECKING:
    from ketchup_cli.judging.answers import Answer
    from ketchup_cli.specs import JudgeSpec

NAME = "judge"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What one server answered to the plain questions, form by form."""

    name: str
    works: Mapping[Protocol, Abilities]
    refused: Mapping[Protocol, str]
    said: tuple[Said, ...]

    @property
    def calls(self) -> int:
        """Requests that were sent; an answer of no form is asked for once more."""
        return sum(one.attempts for one in self.said)

    def chosen(self, wanted: tuple[Protocol, ...]) -> Abilities | None:
        """Return what `judge` would ask with."""
        return next((self.works[form] for form in wanted if form in self.works), None)


def judge_check(spec: JudgeSpec) -> Check:
    """Ask every judge two plain questions in every form, and say what came back.

    Nothing is kept, and no text of anybody is sent.

    Raises:
        SpecError: no judge is named, or one without an address.
        JudgeRefused, JudgeUnreachable: the server takes no request.
    """
    try:
        found = [asyncio.run(_ask(endpoint, spec)) for endpoint in endpoints_of(spec)]
    except OutOfBudget:
        return not_checked(NAME, f"the budget of {spec.budget:g} does not cover the questions")
    menu = endpoints_of(spec)[0].server.menu
    wanted = tried(menu) if spec.protocol == "auto" else (spec.protocol,)
    evidence = [line for one in found for line in _lines(one, wanted)]
    figures = {"judges": len(found), "calls": sum(one.calls for one in found)}
    if not all(one.chosen(wanted) for one in found):
        remedy = "another model or server, or another [judge] protocol"
        return failed(NAME, evidence, remedy, figures=figures)
    if any(True for one in found for _ in _doubts(one)):
        remedy = (
            "ketchup judge --dry-run shows the most it may cost; its controls, how far to trust it"
        )
        return warned(NAME, evidence, remedy, figures=figures)
    return passed(NAME, evidence, figures=figures)


async def _ask(endpoint: Endpoint, spec: JudgeSpec) -> _Found:
    server = endpoint.server
    key = "" if endpoint.key_file is None else read_key(endpoint.key_file)
    wire = OpenAIWire(endpoint.base_url, key=key)
    works: dict[Protocol, Abilities] = {}
    refused: dict[Protocol, str] = {}
    said: list[Said] = []
    with tempfile.TemporaryDirectory() as folder, Responses(Path(folder) / "asked") as kept:
        means = Means(
            pace=pace_of(spec),
            budget=budget_of(spec).priced(endpoint.prices),
            limits=replace(limits_of(spec), attempts=1),
        )
        judge = Judge(wire, kept, means, address=server.address)

        async def send(body: Mapping[str, Any], protocol: Protocol) -> Answer:
            said.append(await judge.ask(Ask(body=body, protocol=protocol, menu=server.menu)))
            return said[-1].answer

        try:
            for form in _forms(server.menu):
                one = await try_form(send, server.settings, protocol=form, menu=server.menu)
                if isinstance(one, Abilities):
                    works[form] = one
                else:
                    refused[form] = described(one)
        finally:
            await wire.close()
    return _Found(name=server.name, works=works, refused=refused, said=tuple(said))


def _forms(menu: Menu) -> tuple[Protocol, ...]:
    # one token cannot answer for several aspects
    return SPOKEN if menu.aspects else (*SPOKEN, "logprob")


def _lines(found: _Found, wanted: tuple[Protocol, ...]) -> Iterator[str]:
    chosen = found.chosen(wanted)
    told = f"asked as {chosen.protocol}" if chosen else f"nothing of {', '.join(wanted)} works"
    works = ", ".join(found.works) or "no form"
    yield f"`{found.name}` answers as {works}; {told}"
    for form, why in found.refused.items():
        yield f"{form}: {why}"
    yield from _doubts(found)
    answered = [one for one in found.said if one.answer.outcome == "ok"]
    if answered:
        slowest_s = max(one.latency_ms for one in answered) / 1000
        yield f"{found.calls} calls, the slowest answer after {slowest_s:.1f} s"


def _doubts(found: _Found) -> Iterator[str]:
    """Yield what works otherwise than a judgement takes it to."""
    dropped = sorted({name for one in found.works.values() for name in one.dropped})
    if dropped:
        yield f"takes no {' and no '.join(dropped)}: asked again it may answer otherwise"
    answers = [one.answer for one in found.said if one.answer.outcome == "ok"]
    if any(answer.usage is None or answer.usage.estimated for answer in answers):
        yield "counts no tokens: what is spent is estimated, from above"
    names = sorted({answer.model for answer in answers if answer.model})
    if len(names) > 1:
        yield f"calls itself {' and '.join(names)}: not one model answers"
