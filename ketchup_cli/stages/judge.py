"""Ask a language model which of two texts is better, or how good each is; with controls.

Writes `judge.json`, the figures, and `judgments.jsonl`, a line for every call.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

import msgspec

from ketchup_cli.errors import SpecError, Unjudged
from ketchup_cli.judging import calls as asking
from ketchup_cli.judging.budget import Budget
from ketchup_cli.judging.calls import Call, Item
from ketchup_cli.judging.client import Judge, Means, Said, read_key
from ketchup_cli.judging.clusters import clusters_of, told_of
from ketchup_cli.judging.families import familiar
from ketchup_cli.judging.human import Label, read_labels
from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.probe import Abilities
from ketchup_cli.judging.rating import Rated, RatingCall, rated
from ketchup_cli.judging.report import Report, Terms, make_rating_report, make_report
from ketchup_cli.judging.report_lines import lines
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.rows import judgments, logged
from ketchup_cli.judging.session import Asking, abilities_of
from ketchup_cli.judging.tally import Judgment
from ketchup_cli.judging.wire import OpenAIWire
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import JudgeSpec
from ketchup_cli.stages.judge_expense import (
    Expense,
    cost_line,
    expense,
    power_line,
    time_line,
)
from ketchup_cli.stages.judge_lines import abilities_line, plan_line, status_line
from ketchup_cli.stages.judge_means import (
    Endpoint,
    budget_of,
    endpoints_of,
    judges_of,
    limits_of,
    pace_of,
)
from ketchup_cli.stages.judge_questions import (
    Questions,
    aspects_of,
    is_joint,
    questions,
    task_of,
)
from ketchup_cli.stages.judged_texts import HUMAN, writers_of
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

LOG = "calls.jsonl"


def plan(spec: JudgeSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan: whom, what, how many calls and tokens, and what they could show.

    Opens no socket; what is kept already is counted.

    Raises:
        SpecError: no judge is named, or an aspect nobody defines.
        MismatchError: texts of another split.
    """
    endpoints = endpoints_of(spec)
    _labels(spec, inputs)
    asked = questions(spec, inputs)
    found = expense(spec, asked.calls)
    judges = ", ".join(f"{one.server.settings.model} at {one.server.address}" for one in endpoints)
    lines = [
        ("judge", f"{judges}, answers as {spec.protocol}"),
        (
            "plan",
            plan_line(
                spec, items=len(asked.items), calls=len(asked.calls), controls=asked.controls
            ),
        ),
        ("cost", cost_line(found)),
        ("time", time_line(found)),
    ]
    pairs = len(asking.pairs(spec.systems, against=spec.against))
    independent = told_of([item.id for item in asked.items], clusters_of(asked.items))
    lines += independent.line
    if pairs:
        lines.append(("power", power_line(spec, items=independent.count, pairs=pairs)))
    models = [one.model for one in judges_of(spec)]
    lines += [
        (
            "warning",
            f"{judge} is of the family {family}, and so is {writer} or what it learnt from: judges"
            " over-rate text of their own family; take another judge beside it",
        )
        for judge, writer, family in familiar(models, writers_of(spec, inputs))
    ]
    return tuple(lines)


def estimate(spec: JudgeSpec, inputs: Mapping[str, Input]) -> Expense:
    """Return what the judgement would take; opens no socket.

    Raises:
        SpecError: no judge is named, or an aspect nobody defines.
        MismatchError: texts of another split.
    """
    return expense(spec, questions(spec, inputs).calls)


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
    asked = questions(spec, inputs)
    labels = _labels(spec, inputs)
    with build.log_path(LOG).open("wb") as log:
        found = asyncio.run(_ask_judges(spec, asked, build.id, log=log, reporter=reporter))
    _check_judged(spec, found.rows)
    report = _report(spec, found, labels)
    build.write_json("judge.json", msgspec.to_builtins(report))
    build.write_rows("judgments.jsonl", found.rows)
    for label, text in lines(report):
        reporter.note(label, text)
    for warning in report.warnings:
        reporter.note("warning", warning)
    return {
        "note": _note(report),
        "judges": [judge.name for judge in report.judges],
        "figures": msgspec.to_builtins((*report.figures, *report.ratings, *report.differences)),
        "controls": {judge.name: msgspec.to_builtins(judge.controls) for judge in report.judges},
        "unjudged": {judge.name: judge.unjudged for judge in report.judges},
        "tokens": _tokens(spec, found.rows),
        "spent": str(found.budget.spent),
        "retries": found.retries,
        "warnings": list(report.warnings),
    }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What all judges said."""

    items: tuple[Item, ...]
    rows: tuple[Judgment | Rated, ...]
    abilities: Mapping[str, Abilities]
    budget: Budget
    retries: int


async def _ask_judges(
    spec: JudgeSpec, asked: Questions, job: str, *, log: BinaryIO, reporter: Reporter
) -> _Found:
    """Ask every judge every question that it has not answered yet, one judge after another."""
    budget = budget_of(spec)
    rows: list[Any] = []
    abilities: dict[str, Abilities] = {}
    retries = 0
    with Responses(Path(spec.responses), read_only=spec.cache_only) as kept:
        budget.resume(kept.spent(job))
        for endpoint in endpoints_of(spec):
            means = Means(
                pace=pace_of(spec),
                budget=budget.priced(endpoint.prices),
                limits=limits_of(spec),
                job=job,
                refresh=spec.refresh,
            )
            judge = Judge(None, kept, means, address=endpoint.server.address)
            asking = await _ask_one(judge, endpoint, asked, spec=spec, log=log, reporter=reporter)
            abilities[endpoint.server.name] = asking.abilities
            retries += judge.retries
            rows += asking.rows
        if kept.damaged:
            reporter.note("warning", f"{kept.damaged} kept answers were damaged and asked again")
    return _Found(
        items=asked.items,
        rows=tuple(rows),
        abilities=abilities,
        budget=budget,
        retries=retries,
    )


async def _ask_one(
    judge: Judge,
    endpoint: Endpoint,
    asked: Questions,
    *,
    spec: JudgeSpec,
    log: BinaryIO,
    reporter: Reporter,
) -> Asking[Call | RatingCall, Judgment | Rated]:
    server = endpoint.server
    lost = 0

    def made(call: Call | RatingCall, said: Said) -> tuple[Judgment | Rated, ...]:
        nonlocal lost
        lost += said.answer.outcome != "ok"
        log.write(msgspec.json.encode(logged(said, judge=server.name)) + b"\n")
        return _rows(call, said, server.name)

    if not spec.cache_only:
        key = "" if endpoint.key_file is None else read_key(endpoint.key_file)
        judge.wire = OpenAIWire(endpoint.base_url, key=key)
    try:
        abilities = await abilities_of(judge, server)
        several = f"{server.name}: " if len(spec.judges) > 1 else ""
        reporter.note("answers", f"{several}{abilities_line(abilities)}")
        asking = Asking(judge, server, asked.calls, abilities=abilities, made=made)
        await asking.replay()
        count = len(asked.calls)
        with reporter.progress("judging", total=count, unit="calls", done=asking.done) as bar:

            def told(said: Said) -> None:
                used = said.answer.usage
                bar.advance(tokens=0 if used is None else used.prompt + used.completion)
                bar.status(status_line(judge, lost))

            await asking.ask(told)
        return asking
    finally:
        if isinstance(judge.wire, OpenAIWire):
            await judge.wire.close()


def _rows(call: Call | RatingCall, said: Said, judge: str) -> tuple[Judgment | Rated, ...]:
    if isinstance(call, RatingCall):
        return rated(call, said, judge=judge)
    return judgments(call, said, judge=judge)


def _labels(spec: JudgeSpec, inputs: Mapping[str, Input]) -> tuple[Label, ...]:
    """Return what people said, where a file of it was given."""
    if HUMAN not in inputs:
        return ()
    if spec.mode == "rating":
        raise SpecError(
            "labels of people say which of two texts is better, and a rating is of one",
            hint="leave out --human, or --mode rating",
        )
    return read_labels(inputs[HUMAN].path)


def _report(spec: JudgeSpec, found: _Found, labels: Sequence[Label]) -> Report:
    terms = Terms(
        judges=found.abilities,
        task=task_of(spec).line,
        aspects=aspects_of(spec),
        systems=spec.systems,
        how=Resampling(resamples=spec.resamples, seed=spec.seed, clusters=clusters_of(found.items)),
        joint=is_joint(spec),
    )
    pairs = [row for row in found.rows if isinstance(row, Judgment)]
    ratings = [row for row in found.rows if isinstance(row, Rated)]
    return (
        make_rating_report(ratings, terms) if ratings else make_report(pairs, terms, labels=labels)
    )


def _tokens(spec: JudgeSpec, rows: Sequence[Judgment | Rated]) -> dict[str, int]:
    """Return the tokens of all calls; of a joint one every row holds those of the whole call."""
    calls = [row for row in rows if not is_joint(spec) or row.aspect == spec.aspects[0]]
    return {
        "prompt": sum(row.prompt_tokens for row in calls),
        "completion": sum(row.completion_tokens for row in calls),
    }


def _note(report: Report) -> str:
    """Return the line that stands beside the artifact's name."""
    if report.claims:
        return report.claims[0]
    rating = report.ratings[0]
    return f"{rating.system} {rating.mean:.2f} in {rating.aspect}" if rating.mean else ""


def _check_judged(spec: JudgeSpec, rows: Sequence[Judgment | Rated]) -> None:
    real = [row for row in rows if row.control is None]
    lost = [row for row in real if row.outcome != "ok"]
    if len(lost) > spec.max_unjudged * len(real):
        example = lost[0]
        each = len(spec.aspects) if is_joint(spec) else 1
        raise Unjudged(
            f"{len(lost) // each:,} of {len(real) // each:,} calls came to nothing, more than"
            f" {spec.max_unjudged:.0%}; the first: {example.outcome} {example.detail}".rstrip(),
            hint="the same command asks them again; --set max_unjudged=1 publishes what there is",
        )
