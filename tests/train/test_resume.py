from pathlib import Path

import pytest
import runs
import tiny
import torch

from ketchup_cli.errors import Damaged
from ketchup_cli.models.load import weights_of
from ketchup_cli.specs import OptimizerSpec, ValidationSpec
from ketchup_cli.train.loop import train
from ketchup_cli.train.resume import Checkpoints
from ketchup_cli.train.run import Run

ADAFACTOR = OptimizerSpec(name="adafactor", learning_rate=2e-2, warmup=2)
FACTS = {"watch": {"best_update": 0}}
CASES = {
    "nll, dropout": ({"tables": runs.NLL}, {"dropout": 0.2}),
    "nll, adafactor": ({"tables": runs.NLL}, {"dropout": 0.2, "optimizer": ADAFACTOR}),
    "nll, accumulated": ({"tables": runs.NLL}, {"accumulate": 2, "dropout": 0.2}),
    "kl, live": ({"tables": runs.KL}, {}),
    "ketchup": ({"tables": runs.KETCHUP}, {}),
    "ketchup, reuse": ({"tables": runs.KETCHUP, "reuse": 2}, {"dropout": 0.2}),
    "ketchup, adafactor, reuse": ({"tables": runs.KETCHUP, "reuse": 3}, {"optimizer": ADAFACTOR}),
    "mix": ({"tables": (*runs.KETCHUP, *runs.NLL), "reuse": 2}, {}),
}


def some_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(3, 4, generator=generator) for name in ("a", "b")}


def make_run(folder: Path, case: str, **more: object) -> Run:
    parts, changes = CASES[case]
    return runs.make_run(folder, spec=runs.make_spec(**changes), **parts, **more)


def last_facts(run: Run) -> dict:
    found = run.checkpoints.latest()
    assert found is not None
    return found.facts


def interrupted(folder: Path, case: str, *, after: int) -> None:
    with pytest.raises(tiny.Interrupted):
        train(make_run(folder, case, reporter=runs.StoppingReporter(after)))


@pytest.mark.parametrize(
    ("case", "after"),
    [*((case, 3) for case in CASES), ("nll, dropout", 1), ("ketchup, reuse", 5)],
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    case: str, after: int, tmp_path: Path
) -> None:
    straight = make_run(tmp_path / "straight", case)
    wanted = train(straight)
    interrupted(tmp_path / "resumed", case, after=after)
    resumed = make_run(tmp_path / "resumed", case)
    found = train(resumed)

    assert runs.same_weights(runs.weights(straight.policy), runs.weights(resumed.policy))
    assert found == wanted
    assert last_facts(resumed) == last_facts(straight)


def test_a_run_killed_twice_ends_alike(tmp_path: Path) -> None:
    straight = make_run(tmp_path / "straight", "nll, dropout")
    train(straight)
    for after in (3, 2):
        interrupted(tmp_path / "resumed", "nll, dropout", after=after)
    resumed = make_run(tmp_path / "resumed", "nll, dropout")
    train(resumed)

    assert runs.same_weights(runs.weights(straight.policy), runs.weights(resumed.policy))


def test_a_run_that_fails_while_it_is_judged_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def failing() -> dict[str, float]:
        raise tiny.Interrupted

    straight = make_run(tmp_path / "straight", "nll, dropout")
    train(straight)
    run = make_run(tmp_path / "resumed", "nll, dropout")
    answers = iter([run.evaluate, failing])
    with pytest.raises(tiny.Interrupted):
        train(make_run(tmp_path / "resumed", "nll, dropout", evaluate=lambda: next(answers)()))
    resumed = make_run(tmp_path / "resumed", "nll, dropout")
    train(resumed)

    assert runs.same_weights(runs.weights(straight.policy), runs.weights(resumed.policy))


def test_the_last_update_of_a_finished_run_is_not_taken_again(tmp_path: Path) -> None:
    first = make_run(tmp_path, "nll, dropout")
    train(first)
    again = make_run(tmp_path, "nll, dropout", reporter=runs.StoppingReporter(1))
    train(again)

    assert runs.same_weights(runs.weights(first.policy), runs.weights(again.policy))


def test_a_run_that_ended_early_is_not_trained_further_when_resumed(tmp_path: Path) -> None:
    spec = runs.make_spec(
        updates=20, validation=ValidationSpec(metric="bleu", every=2, patience=1, probe=0)
    )
    first = runs.make_run(tmp_path, spec=spec, evaluate=runs.planted([5.0, 4.0]))
    wanted = train(first)
    again = runs.make_run(tmp_path, spec=spec, evaluate=runs.planted([]))
    found = train(again)

    assert wanted.ended == "patience"
    assert found == wanted


@pytest.mark.parametrize(
    ("every", "reuse", "kept"),
    [(2, 1, [4, 6]), (2, 3, [3, 6]), (4, 3, [6]), (5, 2, [6]), (0, 1, [])],
)
def test_checkpoints_are_due_where_no_rollout_is_half_used(
    every: int, reuse: int, kept: list[int], tmp_path: Path
) -> None:
    spec = runs.make_spec(checkpoint_every=every)
    train(runs.make_run(tmp_path, tables=runs.KETCHUP, spec=spec, reuse=reuse))
    names = sorted(path.name for path in (tmp_path / "state").glob("checkpoint-*"))

    assert [int(name.split("-")[1]) for name in names] == kept


def test_the_newest_checkpoint_is_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.keep_best(0, some_weights())
    for update in (10, 20):
        checkpoints.save(update, some_weights(update), FACTS)
    found = Checkpoints(tmp_path).latest()

    assert found is not None
    assert found.update == 20
    assert runs.same_weights(found.tensors, some_weights(20))
    assert found.facts == FACTS


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").latest() is None


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def file_of(folder: Path, kind: str, update: int) -> Path:
    (found,) = folder.glob(f"{kind}-{update:08d}-*.safetensors")
    return found


def two_checkpoints(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for update in (10, 20):
        checkpoints.keep_best(update, some_weights(update))
        checkpoints.save(update, some_weights(), {"watch": {"best_update": update}})
    return checkpoints


@pytest.mark.parametrize("place", [0, 9, 60, 130, 200, -1])
def test_a_checkpoint_with_a_flipped_bit_is_not_believed(place: int, tmp_path: Path) -> None:
    checkpoints = two_checkpoints(tmp_path)
    flip(file_of(tmp_path, "checkpoint", 20), place)
    found = checkpoints.latest()

    assert found is not None
    assert found.update == 10


def test_a_checkpoint_cut_short_is_not_believed(tmp_path: Path) -> None:
    checkpoints = two_checkpoints(tmp_path)
    for update, size in ((10, 4), (20, 100)):
        path = file_of(tmp_path, "checkpoint", update)
        path.write_bytes(path.read_bytes()[:size])

    assert checkpoints.latest() is None


def test_a_checkpoint_whose_best_weights_are_damaged_is_not_believed(tmp_path: Path) -> None:
    checkpoints = two_checkpoints(tmp_path)
    flip(file_of(tmp_path, "best", 20), -1)
    found = checkpoints.latest()

    assert found is not None
    assert found.update == 10
    with pytest.raises(Damaged, match="best weights of the run, after update 20, are damaged"):
        checkpoints.best(20)


def test_what_was_being_written_at_a_kill_is_not_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = two_checkpoints(tmp_path)
    for update in (10, 20):
        file_of(tmp_path, "checkpoint", update).rename(tmp_path / ".tmp-checkpoint")

    assert checkpoints.latest() is None


def test_two_checkpoints_are_kept_and_the_best_weights_they_refer_to(tmp_path: Path) -> None:
    checkpoints = two_checkpoints(tmp_path)
    checkpoints.keep_best(30, some_weights(30))
    checkpoints.save(30, some_weights(), {"watch": {"best_update": 30}})
    names = sorted(path.name.rpartition("-")[0] for path in tmp_path.iterdir())

    assert names == ["best-00000020", "best-00000030", "checkpoint-00000020", "checkpoint-00000030"]


def test_a_checkpoint_written_again_replaces_the_damaged_one(tmp_path: Path) -> None:
    checkpoints = two_checkpoints(tmp_path)
    flip(file_of(tmp_path, "checkpoint", 20), -1)
    checkpoints.save(20, some_weights(7), {"watch": {"best_update": 20}})
    found = checkpoints.latest()

    assert found is not None
    assert runs.same_weights(found.tensors, some_weights(7))
    assert file_of(tmp_path, "checkpoint", 20).is_file()


def test_a_damaged_checkpoint_does_not_keep_a_run_from_saving(tmp_path: Path) -> None:
    checkpoints = two_checkpoints(tmp_path)
    flip(file_of(tmp_path, "checkpoint", 20), 12)
    checkpoints.save(30, some_weights(3), {"watch": {"best_update": 20}})
    found = checkpoints.latest()

    assert found is not None
    assert found.update == 30


def test_best_weights_come_back_equal(tmp_path: Path) -> None:
    policy = tiny.make_policy("t5")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.keep_best(7, weights_of(policy.model))
    other = tiny.make_policy("t5", seed=5)
    other.model.load_state_dict(checkpoints.best(7), strict=False)

    assert runs.same_weights(runs.weights(other), runs.weights(policy))


def test_a_checkpoint_holds_the_optimiser(tmp_path: Path) -> None:
    train(make_run(tmp_path, "nll, dropout"))
    found = Checkpoints(tmp_path / "state").latest()

    assert found is not None
    assert any(name.startswith("optimizer/") for name in found.tensors)
    assert found.facts["watch"]["best"] == min(m for _, m, _ in found.facts["watch"]["history"])
