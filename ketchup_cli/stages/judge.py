"""Ask a language model which of two texts is better: both orders, an aspect at a time, with controls.

Writes `judge.json`, the figures, and `judgments.jsonl`, a line for every call.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError, Unjudged
from ketchup_cli.judging import calls as asking
from ketchup_cli.judging.answers import Usage
from ketchup_cli.judging.aspects import Task, choose_aspects, choose_task
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.calls import Call, Form, Item
from ketchup_cli.judging.client import Judge, Means, Said, read_key
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.probe import Abilities, Settings
from ketchup_cli.judging.prompts import messages
from ketchup_cli.judging.report import lines, make_report
from ketchup_cli.judging.responses import Responses, public_address
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.session import Server, abilities_of, kept_count, known_abilities
from ketchup_cli.judging.session import run as ask_all
from ketchup_cli.judging.tally import Judgment
from ketchup_cli.judging.wire import OpenAIWire, most_tokens
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring.items import join
from ketchup_cli.specs import JudgeSpec
from ketchup_cli.stages.comparison import ROLE
from ketchup_cli.statistics.power import minimum_detectable, win_rate_variance
from ketchup_cli.store import manifest
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

GENERATIONS_FILE = "generations.jsonl"
RESPONSES_FILE = "judge/responses.sqlite"
EXPECTED_TIES = 0.35
"""Share of ties the plan's power is computed for."""


def plan(spec: JudgeSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan: whom, what, how many calls and tokens, and what they could show.

    Opens no socket; what is kept already is counted.

    Raises:
        SpecError: no judge is named, or an aspect nobody defines.
        MismatchError: texts of another split.
    """
    server = _server(spec)
    items, asked = _questions(spec, inputs)
    pairs = len(asking.pairs(spec.systems))
    controls = sum(call.control is not None for call in asked)
    shown = (
        f"{' against '.join(spec.systems)}, {len(items):,} items x {len(spec.aspects)} aspects x 2"
        f" orders" + (f" x {pairs} pairs" if pairs > 1 else "")
    )
    return (
        ("judge", f"{spec.model} at {server.address}, answers as {spec.protocol}"),
        ("plan", f"{shown}, and {controls} controls = {len(asked):,} calls"),
        ("cost", _cost_line(spec, server, asked)),
        ("power", _power_line(len(items))),
    )


def run(
    spec: JudgeSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `judge.json` and `judgments.jsonl`; what was answered is kept whatever happens.

    Raises:
        SpecError: no judge is named, or an aspect nobody defines.
        MismatchError: texts of another split.
        JudgeRefused, JudgeUnreachable, OverBudget: the same command goes on later.
        Unjudged: more calls than allowed came to nothing.
    """
    _, asked = _questions(spec, inputs)
    abilities, judgments, judge = asyncio.run(_ask(spec, asked, build.id, reporter))
    _check_judged(spec, judgments)
    task = _task(spec)
    report = make_report(
        judgments,
        abilities=abilities,
        model=spec.model,
        asked={"task": task.line, "aspects": choose_aspects(task, spec.aspects)},
        resamples=spec.resamples,
        seed=spec.seed,
    )
    build.write_json("judge.json", msgspec.to_builtins(report))
    build.write_rows("judgments.jsonl", judgments)
    for label, text in lines(report):
        reporter.note(label, text)
    for warning in report.warnings:
        reporter.note("warning", warning)
    budget = judge.means.budget
    first = report.figures[0]
    return {
        "note": first.claim,
        "judge": spec.model,
        "figures": msgspec.to_builtins(report.figures),
        "controls": msgspec.to_builtins(report.controls),
        "unjudged": report.unjudged,
        "tokens": {
            "prompt": sum(row.prompt_tokens for row in judgments),
            "completion": sum(row.completion_tokens for row in judgments),
        },
        "spent": str(budget.spent),
        "retries": judge.retries,
        "warnings": list(report.warnings),
    }


async def _ask(
    spec: JudgeSpec, asked: tuple[Call, ...], job: str, reporter: Reporter
) -> tuple[Abilities, tuple[Judgment, ...], Judge]:
    """Ask every question that is not answered yet."""
    server = _server(spec)
    wire = None if spec.cache_only else OpenAIWire(spec.base_url, key=read_key(spec.api_key_file))
    with Responses(Path(spec.responses), read_only=spec.cache_only) as kept:
        budget = _budget(spec)
        budget.spent = kept.spent(job)
        means = Means(
            pace=_pace(spec), budget=budget, limits=_limits(spec), job=job, refresh=spec.refresh
        )
        judge = Judge(wire, kept, means, address=server.address)
        try:
            abilities = await abilities_of(judge, server)
            reporter.note("answers", _abilities_line(abilities))
            done = kept_count(judge, server, asked, abilities)
            lost = 0
            with reporter.progress("judging", total=len(asked), unit="calls", done=done) as bar:

                def told(said: Said) -> None:
                    nonlocal lost
                    lost += said.answer.outcome != "ok"
                    if not said.cached:
                        used = said.answer.usage
                        bar.advance(tokens=0 if used is None else used.prompt + used.completion)
                        bar.status(_status(judge, lost))

                judgments = await ask_all(judge, server, asked, abilities=abilities, told=told)
        finally:
            if wire is not None:
                await wire.close()
        if kept.damaged:
            reporter.note("warning", f"{kept.damaged} kept answers were damaged and asked again")
    return abilities, judgments, judge


def _questions(
    spec: JudgeSpec, inputs: Mapping[str, Input]
) -> tuple[tuple[Item, ...], tuple[Call, ...]]:
    """Return the items that are judged, and every question on them, controls last."""
    items = asking.chosen(_items(spec, inputs), spec.examples, seed=spec.seed)
    task = _task(spec)
    form = Form(
        task=task.line,
        aspects=choose_aspects(task, spec.aspects),
        characters=spec.max_characters,
        with_reference=spec.with_reference,
        repeats=spec.repeats,
    )
    real = asking.calls(items, spec.systems, form)
    controls = asking.controls(items, spec.systems, form, count=spec.controls, seed=spec.seed)
    return items, (*real, *controls)


def _items(spec: JudgeSpec, inputs: Mapping[str, Input]) -> tuple[Item, ...]:
    """Return the examples every system has answered."""
    if len(spec.systems) < 2:
        raise SpecError(
            f"{len(spec.systems)} systems are named, and a judgement takes two",
            hint="ketchup judge kl-student ketchup-student",
        )
    roles = [ROLE.format(system=number, run=1) for number in range(1, len(spec.systems) + 1)]
    if [role for role in roles if role not in inputs] or len(inputs) != len(roles) + 1:
        raise SpecError(
            f"the systems {', '.join(spec.systems)} are not those of the inputs: one run of each",
            hint="name one run of each system: ketchup judge kl-s0 k4-s0",
        )
    first = {_answered(spec, inputs[role]) for role in roles}
    if len(first) > 1:
        raise MismatchError(
            "the systems answered other numbers of examples",
            hint="generate the same examples with every system",
        )
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: first.pop() or None]
    texts = {
        name: join(
            examples, corpora.read_generations(inputs[role].path / GENERATIONS_FILE)
        ).hypotheses
        for name, role in zip(spec.systems, roles, strict=True)
    }
    return tuple(
        Item(
            id=example.id,
            source=example.prompt,
            reference=example.references[0] if example.references else "",
            texts={name: texts[name][index] for name in spec.systems},
        )
        for index, example in enumerate(examples)
    )


def _answered(spec: JudgeSpec, texts: Input) -> int:
    recipe = manifest.read(texts.path).spec
    if recipe.get("split") != spec.split:
        raise MismatchError(
            f"generations `{texts.label}` answer split `{recipe.get('split')}`, not `{spec.split}`",
            hint=f"--split {recipe.get('split')}",
        )
    return int(recipe.get("examples") or 0)


def _task(spec: JudgeSpec) -> Task:
    if not spec.own_task.aspects:
        return choose_task(spec.task)
    return choose_task("", line=spec.own_task.line, aspects=spec.own_task.aspects)


def _server(spec: JudgeSpec) -> Server:
    for field in ("base_url", "model"):
        if not getattr(spec, field):
            raise SpecError(
                f"no judge is named: `{field}` is empty",
                hint='[judge] base_url = "http://127.0.0.1:8080/v1", model = "NAME" in ketchup.toml',
            )
    return Server(
        address=public_address(spec.base_url),
        settings=Settings(
            model=spec.model,
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            seed=spec.seed,
        ),
        protocol=spec.protocol,
    )


def _budget(spec: JudgeSpec) -> Budget:
    prices = Prices(
        prompt=_decimal(spec.price_prompt),
        cached=_decimal(spec.price_cached) if spec.price_cached else None,
        completion=_decimal(spec.price_completion),
    )
    if spec.budget and not prices.known:
        raise SpecError(
            f"a budget of {spec.budget:g} means nothing without prices",
            hint="--set price_prompt=0.15 --set price_completion=0.60, per million tokens",
        )
    return Budget(prices, _decimal(spec.budget) if spec.budget else None)


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))


def _pace(spec: JudgeSpec) -> Pace:
    return Pace(
        most=spec.concurrency,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
    )


def _limits(spec: JudgeSpec) -> Limits:
    return Limits(
        attempt_s=spec.timeout_s,
        request_s=spec.request_s,
        attempts=spec.attempts,
        max_wait_s=spec.max_wait_s,
    )


def _check_judged(spec: JudgeSpec, judgments: tuple[Judgment, ...]) -> None:
    real = [row for row in judgments if row.control is None]
    lost = [row for row in real if row.outcome != "ok"]
    if len(lost) > spec.max_unjudged * len(real):
        example = lost[0]
        raise Unjudged(
            f"{len(lost):,} of {len(real):,} calls came to nothing, more than"
            f" {spec.max_unjudged:.0%}; the first: {example.outcome} {example.detail}".rstrip(),
            hint="the same command asks them again; --set max_unjudged=1 publishes what there is",
        )


def _cost_line(spec: JudgeSpec, server: Server, asked: tuple[Call, ...]) -> str:
    """Return calls that are kept, and a bound of tokens and cost of the others."""
    budget = _budget(spec)
    path = Path(spec.responses)
    open_calls, told = list(asked), "none kept"
    if path.is_file():
        with Responses(path, read_only=True) as kept:
            judge = Judge(
                None,
                kept,
                Means(pace=_pace(spec), budget=budget, limits=_limits(spec)),
                address=server.address,
            )
            abilities = known_abilities(judge, server)
            if abilities is not None and not spec.refresh:
                count = kept_count(judge, server, asked, abilities)
                told = f"{count:,} kept"
                open_calls = open_calls[count:]
    prompt = sum(_most_tokens(call) for call in open_calls)
    room = spec.max_tokens * len(open_calls)
    parts = [told, f"at most {prompt:,} tokens in and {room:,} out"]
    if budget.prices.known:
        most = budget.prices.cost(Usage(prompt=prompt, completion=room))
        limit = f", of a budget of {budget.limit}" if budget.limit is not None else ""
        parts.append(f"at most {most:.4f}{limit}")
    else:
        parts.append("no price given")
    return ", ".join(parts)


def _most_tokens(call: Call) -> int:
    return most_tokens(message["content"] for message in messages(call.question, protocol="text"))


def _power_line(items: int) -> str:
    error = (win_rate_variance(0.5, ties=EXPECTED_TIES) / max(1, items)) ** 0.5
    rate = min(1.0, 0.5 + minimum_detectable(error))
    return f"finds a win rate of {rate:.0%} or more (80 % power, {EXPECTED_TIES:.0%} ties)"


def _abilities_line(abilities: Abilities) -> str:
    parts: list[str] = [abilities.protocol]
    parts += [f"without {name}" for name in abilities.dropped]
    parts += [f"{name} is called {instead}" for name, instead in abilities.renamed.items()]
    parts += [f"{name} refused: {why}" for name, why in abilities.refused.items()]
    return "; ".join(parts)


def _status(judge: Judge, lost: int) -> str:
    pace, budget = judge.means.pace, judge.means.budget
    parts = [f"{pace.open} open", f"{lost:,} unjudged"]
    parts += [f"{judge.retries} retries"] if judge.retries else []
    parts += [f"{budget.spent:.4f} spent"] if budget.prices.known else []
    return "  ".join(parts)
