"""Draw a model's completions and reward them: `rollouts.jsonl` and `report.json`.

A row holds the log-probability of every token, so that what learns from it later needs no model
that wrote it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, final

from ketchup_cli import corpora
from ketchup_cli.errors import SpecError
from ketchup_cli.models.encode import Row
from ketchup_cli.models.generation.drawing import draw_rollouts
from ketchup_cli.models.generation.hf import OnBatch
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Rollout
from ketchup_cli.reporting import Reporter
from ketchup_cli.rewards.rewarder import check, is_named
from ketchup_cli.scoring.passes import pass_at
from ketchup_cli.specs import RolloutsSpec
from ketchup_cli.stages.answering import Draw, answer, counted, describe, overview
from ketchup_cli.stages.answering import amount as amount
from ketchup_cli.stages.rewarding import open_rewarder, rewarded, told
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

ROLLOUTS = "rollouts.jsonl"
SHOWN = 3
"""Failures a report shows for every kind."""


@final
@dataclass(slots=True)
class Tally:
    """What the rewards came to so far."""

    earned: float = 0.0
    judged: Counter[str] = field(default_factory=Counter)
    """Completions with a reward, by example."""
    right: Counter[str] = field(default_factory=Counter)
    """Right ones among them, by example."""
    failed: Counter[str] = field(default_factory=Counter)
    """Failures by kind."""
    shown: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def plan(spec: RolloutsSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: how completions are drawn, for how many prompts, what they earn.

    Raises:
        SpecError: the corpus has no such split, the decoding draws nothing, or a reward nobody knows.
    """
    _check(spec)
    return (*describe(spec, inputs), ("reward", told(spec.reward)))


def _check(spec: RolloutsSpec) -> None:
    check(spec.reward)
    if spec.decoding.method != "sample":
        raise SpecError(
            f"rollouts are samples; `decoding.method` is `{spec.decoding.method}`",
            hint="--set decoding.method=sample, or `ketchup generate`",
        )


def run(
    spec: RolloutsSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `rollouts.jsonl`, one row a completion in corpus order, and `report.json`.

    Returns:
        Counts, rewards, and the speed of this run.

    Raises:
        SpecError: no such split, a decoding the model cannot do, or a reward nobody knows.
        DataError: a prompt is longer than allowed, or none is left.
        RewardError: a reward that cannot be used at all.
        NonFiniteError: the model's logits are not finite.
    """
    _check(spec)
    counts: Counter[str] = Counter()
    tally = Tally()
    with ExitStack() as open_:
        draw = _drawing(spec, inputs, open_)
        answers = answer(spec, inputs, build, reporter, role="model", draw=draw)
        rows = (row for part in answers.parts for row in corpora.read_rollouts(part))
        build.write_rows(ROLLOUTS, tallied(counted(rows, counts, spec=spec), tally))
    report = overview(spec, answers, counts) | {
        "sampling": _sampling(spec),
        "tokenizer": answers.tokenizer,
    }
    if spec.decoding.calculator:
        report["forced_tokens"] = counts["forced"]
    if is_named(spec.reward):
        report |= _rewards(spec, tally)
    build.write_json("report.json", report)
    note = f"{counts['texts']:,} completions of {spec.split}, {report['decoding']}{_said(report)}"
    reporter.note("rollouts", note)
    for kind, count in tally.failed.items():
        reporter.note("warning", f"{count:,} rewards failed: {kind}")
    summary = {name: value for name, value in report.items() if name != "failures"}
    return {"note": note, **summary, "texts_per_s": answers.texts_per_s}


def _drawing(spec: RolloutsSpec, inputs: Mapping[str, Input], open_: ExitStack) -> Draw:
    """Return what draws the completions of a part, and has them rewarded where that is asked."""
    examples = {
        example.id: example for example in corpora.read_split(inputs["corpus"].path, spec.split)
    }
    rewarder = None
    if is_named(spec.reward):
        rewarder = open_.enter_context(open_rewarder(spec.reward, inputs))

    def draw(policy: Policy, prompts: Sequence[Row], on_batch: OnBatch) -> Iterable[Rollout]:
        rows = draw_rollouts(
            policy,
            prompts,
            spec.decoding,
            seed=spec.seed,
            tokens_per_batch=spec.tokens_per_batch,
            on_batch=on_batch,
        )
        return rows if rewarder is None else rewarded(rows, examples, rewarder, spec.reward)

    return draw


def _sampling(spec: RolloutsSpec) -> dict[str, Any]:
    """Return the distribution the log-probabilities are of."""
    decoding = spec.decoding
    return {
        "samples": decoding.texts,
        "temperature": decoding.temperature,
        "top_k": decoding.top_k,
        "top_p": decoding.top_p,
        **({"calculator": True} if decoding.calculator else {}),
    }


def tallied(rows: Iterable[Rollout], tally: Tally) -> Iterator[Rollout]:
    """Yield the rows on, counting what they earned and which rewards failed."""
    for row in rows:
        if row.failure:
            kind = row.failure.partition(":")[0]
            tally.failed[kind] += 1
            shown = tally.shown.setdefault(kind, [])
            if len(shown) < SHOWN:
                shown.append({
                    "id": row.id,
                    "sample": row.sample,
                    "why": row.failure,
                    "text": row.text,
                })
        elif row.reward is not None:
            tally.earned += row.reward
            tally.judged[row.id] += 1
            tally.right[row.id] += bool(row.correct)
        yield row


def _rewards(spec: RolloutsSpec, tally: Tally) -> dict[str, Any]:
    """Return shares and means of the rewards, how many prompts have how many right, pass@k."""
    judged = tally.judged.total()
    full = [name for name, count in tally.judged.items() if count == spec.decoding.texts]
    levels = Counter(tally.right[name] for name in full)
    return {
        "reward": told(spec.reward),
        "judged": judged,
        "failed": dict(tally.failed),
        "failures": tally.shown,
        "correct": tally.right.total() / judged if judged else None,
        "mean_reward": tally.earned / judged if judged else None,
        "right_of_each": {str(number): levels[number] for number in sorted(levels)},
        "pass_at": {
            str(k): sum(
                pass_at(k, right=tally.right[name], count=spec.decoding.texts) for name in full
            )
            / len(full)
            for k in (sorted({1, spec.decoding.texts}) if full else ())
        },
    }


def _said(report: Mapping[str, Any]) -> str:
    if report.get("correct") is None:
        return ""
    return f"; {report['correct']:.1%} right, mean reward {report['mean_reward']:.3f}"
