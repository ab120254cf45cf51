import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs
import tiny
import torch

from ketchup_cli.reporting import SilentReporter
from ketchup_cli.signals import Batch
from ketchup_cli.specs import ReplaySpec
from ketchup_cli.train.loop import train
from ketchup_cli.train.replay import Replay
from ketchup_cli.train.run import Run

BOTH = ("data", "student")
SKEWED = (
    {"name": "nll", "prefixes": "data"},
    {"name": "ketchup", "k": 2, "importance": "step"},
)


def make_replay(**settings: float) -> Replay:
    spec = ReplaySpec(**({"capacity": 6, "share": 0.5} | settings))  # type: ignore[arg-type]
    return Replay(spec, batch=4, updates=100, seed=3, pad_id=0)


def written(numbers: Iterator[int]) -> Iterator[Batch]:
    """Return batches of four completions of one to four tokens, no two alike."""
    sizes_B = torch.tensor([1, 3, 2, 4])
    mask_BT = (torch.arange(4) < sizes_B[:, None]).float()
    for number in numbers:
        tokens_BT = (torch.arange(4)[:, None] + 10 * (number + 1)).repeat(1, 4)
        yield Batch(
            ids=tuple(f"{number}-{row // 2}" for row in range(4)),
            prompt_BS=torch.tensor([[number + 1, 7]] * 4),
            prompt_mask_BS=torch.tensor([[1, 1]] * 4),
            tokens_BT=(tokens_BT * mask_BT).long(),
            mask_BT=mask_BT,
            source="student",
            behaviour_logp_BT=-tokens_BT.float() * mask_BT,
            group_B=torch.tensor([0, 0, 1, 1]),
            rows=(number,) * 4,
        )


def taken(replay: Replay, update: int, stream: Iterator[Batch]) -> Batch:
    return next(replay.batches(update, "student", stream))


def test_turns_come_as_often_as_the_share_says() -> None:
    turns = [make_replay(share=0.3).turn(update, BOTH) for update in range(2000)]

    assert turns.count("student") / 2000 == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_or_everything_leaves_no_turn_to_the_other(share: float) -> None:
    turns = {make_replay(share=share).turn(update, BOTH) for update in range(200)}

    assert turns == {"student" if share else "data"}


def test_a_source_alone_has_every_turn() -> None:
    assert {make_replay(share=0.0).turn(update, ("student",)) for update in range(20)} == {
        "student"
    }


def test_new_completions_are_written_less_and_less() -> None:
    replay = Replay(ReplaySpec(capacity=6), batch=4, updates=900, seed=3, pad_id=0)
    stream = written(itertools.count())

    counts = []
    for third in (range(300), range(300, 600), range(600, 900)):
        before = replay.taken("student")
        for update in third:
            taken(replay, update, stream)
        counts.append((replay.taken("student") - before) / 300)

    assert counts == pytest.approx([5 / 6, 1 / 2, 1 / 6], abs=0.08)


def test_an_empty_buffer_is_filled_first() -> None:
    replay = make_replay()

    taken(replay, 99, written(itertools.count()))

    assert replay.taken("student") == 1


def test_the_oldest_completions_go() -> None:
    replay = make_replay()
    stream = written(itertools.count())
    for _ in range(3):
        taken(replay, 0, stream)

    assert replay.figures()["replay_kept"] == 6
    assert set(replay.facts()["ids"]) <= {"1-1", "2-0", "2-1"}


def test_a_kept_completion_comes_back_with_its_own_numbers() -> None:
    replay = make_replay(capacity=40)
    batches = [taken(replay, 0, written(iter([number]))) for number in range(5)]

    batch = batches[-1]
    sizes_B = batch.mask_BT.sum(dim=1).int().tolist()
    for row, size in enumerate(sizes_B):
        assert batch.behaviour_logp_BT is not None
        numbers = batch.tokens_BT[row, :size].tolist()
        assert batch.behaviour_logp_BT[row].tolist() == [
            *(-float(number) for number in numbers),
            *[0.0] * (batch.tokens_BT.shape[1] - size),
        ]
        assert numbers[0] // 10 == int(batch.ids[row][0]) + 1 == int(batch.prompt_BS[row, 0])


def test_samples_of_one_prompt_share_a_group() -> None:
    batch = taken(make_replay(capacity=4), 0, written(itertools.count()))

    assert batch.group_B is not None
    groups = dict(zip(batch.ids, batch.group_B.tolist(), strict=True))
    assert groups.keys() == {"0-0", "0-1"}
    assert len(set(groups.values())) == 2
    assert [groups[name] for name in batch.ids] == batch.group_B.tolist()


def test_nothing_is_drawn_twice_into_a_batch() -> None:
    replay = make_replay(capacity=4)
    batch = taken(replay, 0, written(itertools.count()))

    assert sorted(batch.tokens_BT[:, 0].tolist()) == [10, 11, 12, 13]


@pytest.mark.parametrize(
    ("losses", "share"),
    [((2.0, 2.05), 0.5), ((2.0, 2.2), 0.6), ((2.0, 2.2, 2.5), 0.7), ((2.2, 2.0, 2.05), 0.5)],
)
def test_the_share_rises_with_the_dev_loss(losses: tuple[float, ...], share: float) -> None:
    replay = make_replay()
    for loss in losses:
        replay.observe(loss)

    assert replay.share == pytest.approx(share)


def test_the_share_stays_a_share() -> None:
    replay = make_replay(share=0.95, step=0.5)
    for loss in (1.0, 2.0):
        replay.observe(loss)

    assert replay.share == 1.0


@pytest.mark.parametrize("before", [0, 3])
def test_what_is_saved_can_be_put_back(before: int) -> None:
    one, other = make_replay(), make_replay()
    stream = written(itertools.count())
    for update in range(before):
        taken(one, update, stream)
    one.observe(1.0)
    one.observe(3.0)

    other.restore(one.facts(), one.tensors())

    assert other.facts() == one.facts()
    torch.testing.assert_close(other.tensors(), one.tensors())
    a, b = (taken(replay, 50, written(itertools.count(before))) for replay in (one, other))
    assert a.tokens_BT.tolist() == b.tokens_BT.tolist()


def make_run(folder: Path, **more: object) -> Run:
    spec = runs.make_spec(updates=8, checkpoint_every=3)
    run = runs.make_run(folder, tables=SKEWED, spec=spec, **more)
    replay = Replay(
        ReplaySpec(capacity=12, share=0.6), batch=8, updates=8, seed=0, pad_id=run.policy.pad_id
    )
    return dataclasses.replace(run, replay=replay)


@pytest.mark.parametrize("after", [4, 7])
def test_a_resumed_run_with_a_replay_equals_an_uninterrupted_one(
    after: int, tmp_path: Path
) -> None:
    straight = make_run(tmp_path / "straight", reporter=SilentReporter())
    train(straight)
    with pytest.raises(tiny.Interrupted):
        train(make_run(tmp_path / "resumed", reporter=runs.StoppingReporter(after)))
    resumed = make_run(tmp_path / "resumed", reporter=SilentReporter())
    train(resumed)

    assert runs.same_weights(runs.weights(straight.policy), runs.weights(resumed.policy))


def test_every_update_learns_from_one_source(tmp_path: Path) -> None:
    train(make_run(tmp_path / "run", reporter=SilentReporter()))

    lines = runs.log_of(tmp_path / "run")
    sources = [{"data_tokens", "student_tokens"} & line.keys() for line in lines]
    assert {len(names) for names in sources} == {1}
    assert set().union(*sources) == {"data_tokens", "student_tokens"}
    assert {"replay_share", "replay_kept", "replay_written"} <= lines[0].keys()
