"""Completions with a calculator on their way through training."""

import itertools
from dataclasses import replace
from pathlib import Path

import calculating
import pytest
import runs
import tiny
from calculating import LENGTH, chained

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.models.generation.calculator import Calculator
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Batch, Inputs
from ketchup_cli.specs import ReplaySpec, RolloutSpec
from ketchup_cli.train.data import PromptSource
from ketchup_cli.train.loop import student_signal, train
from ketchup_cli.train.pairs import PairSource
from ketchup_cli.train.rehearsal import with_logps
from ketchup_cli.train.replay import Replay
from ketchup_cli.train.rollouts import RolloutSource, without_unfinished

UPDATES = 10
COUNTING = RolloutSpec(
    prompts=4, samples=2, max_new_tokens=LENGTH, unfinished="terminal", calculator=True
)


def source_of(rollout: RolloutSpec = COUNTING) -> RolloutSource:
    policy = chained("gpt2")
    prompts = PromptSource(calculating.prompts(policy), prompts=rollout.prompts, seed=0)
    return RolloutSource(policy, prompts, rollout=rollout, seed=0)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return next(source_of().batches(0, 1))


def another() -> LiveTeacher:
    """Return a teacher of the same tokenizer that writes no sums."""
    return LiveTeacher(tiny.make_policy("gpt2", seed=1, examples=calculating.make_examples()))


def put_in(batch: Batch) -> list[list[bool]]:
    """Return what a calculator would have put, row by row, from the tokens alone."""
    calculator = Calculator(chained("gpt2"))
    rows = zip(batch.tokens_BT.tolist(), batch.mask_BT.bool().tolist(), strict=True)
    return [
        [put and real for put, real in zip(calculator.put(ids), mask, strict=True)]
        for ids, mask in rows
    ]


def test_rollouts_carry_what_was_put(batch: Batch) -> None:
    assert batch.forced_BT is not None
    assert batch.forced_BT.any()
    assert batch.forced_BT.tolist() == put_in(batch)


def test_rows_that_are_left_keep_their_marks() -> None:
    samples = next(samples for _, samples in source_of().samples(0, 1))
    left = without_unfinished(samples, keep=False)

    assert 0 < len(left.ids) < len(samples.batch.ids)
    assert left.forced_BT is not None
    assert left.forced_BT.tolist() == put_in(left)


def test_own_tokens_alone_are_counted_and_the_share_of_others_is_told(
    batch: Batch, tmp_path: Path
) -> None:
    policy = chained.__wrapped__("gpt2")
    run = runs.make_run(
        tmp_path,
        policy=policy,
        tables=({"name": "ketchup", "k": 2},),
        spec=runs.make_spec(updates=1),
        teachers={"student": another()},
        sources={"student": runs.Batches([batch])},
        evaluate=runs.planted([1.0, 1.0], "loss"),
    )
    train(run)
    (line,) = runs.log_of(tmp_path)
    forced, real = float(batch.forced_BT.sum()), float(batch.mask_BT.sum())

    assert line["student_tokens"] == real - forced
    assert line["student_forced"] == pytest.approx(forced / real)


def make_replay() -> Replay:
    return Replay(ReplaySpec(capacity=8), batch=4, updates=UPDATES, seed=3, pad_id=0)


def test_kept_completions_keep_their_marks_through_a_checkpoint(batch: Batch) -> None:
    replay, again = make_replay(), make_replay()
    next(replay.batches(0, "student", iter([batch])))
    again.restore(replay.facts(), replay.tensors())
    for other in (replay, again):
        # the last update writes nothing new
        drawn = next(other.batches(UPDATES, "student", itertools.repeat(batch)))

        assert drawn.forced_BT is not None
        assert drawn.forced_BT.any()
        assert drawn.forced_BT.tolist() == put_in(drawn)


def test_kept_completions_without_a_calculator_have_no_marks(batch: Batch) -> None:
    replay, again = make_replay(), make_replay()
    plain = replace(batch, forced_BT=None)
    next(replay.batches(0, "student", iter([plain])))
    again.restore(replay.facts(), replay.tensors())

    assert "forced" not in replay.tensors()
    assert next(again.batches(UPDATES, "student", itertools.repeat(plain))).forced_BT is None


def test_both_texts_of_a_pair_are_without_what_a_calculator_puts() -> None:
    policy = chained("gpt2")
    (right, wrong) = policy.completion_ids(["<<9*9=81>>81", "<<9*9=82>>82"])
    rows = calculating.prompts(policy)
    texts = [
        replace(row, completion=tuple(ids))
        for row, ids in zip(rows, (right, wrong, right, wrong), strict=True)
    ]
    batch = next(PairSource(policy, texts, rollout=COUNTING, seed=0).batches(0, 1))
    half = len(batch.ids) // 2
    put_B = batch.forced_BT.sum(dim=1)

    # of a wrong result nothing was put, of a right one all of `81>>`
    assert [bool(count) for count in put_B[:half]] == [
        name in {"p0", "p2"} for name in batch.ids[:half]
    ]
    assert put_B[half:].any()
    assert not (batch.forced_BT & (batch.mask_BT == 0)).any()


def test_stored_rows_are_read_with_their_marks(batch: Batch) -> None:
    plain = replace(batch, forced_BT=None, rows=tuple(range(len(batch.ids))))
    places = {
        row: [place for place, put in enumerate(puts) if put]
        for row, puts in enumerate(put_in(batch))
    }
    logps = {row: [-1.0] * LENGTH for row in plain.rows}

    assert with_logps(plain, logps, put=places).forced_BT.tolist() == put_in(batch)
    assert with_logps(plain, logps, put={}).forced_BT is None


def test_the_gradient_of_a_step_is_that_of_its_own_tokens(batch: Batch) -> None:
    policy = chained.__wrapped__("gpt2")
    (term,) = objectives.build({"name": "vopd"})
    student = student_signal(policy, batch)
    student.logits_BTV.retain_grad()
    teacher = another().signal(batch, term.needs, student)
    inputs = F.own_steps(Inputs(batch=batch, student=student, teacher=teacher))
    F.reduce(term.objective(inputs), inputs.batch.mask_BT).backward()
    slope_BT = student.logits_BTV.grad.abs().sum(dim=-1)
    own_BT = F.own_mask(batch.mask_BT, batch.forced_BT).bool()

    assert (slope_BT[~own_BT] == 0).all()
    assert (slope_BT[own_BT] > 0).any()
