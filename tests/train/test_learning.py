"""A teacher that learns beside the student, over whole runs of the loop."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import runs
import tiny
import torch

from ketchup_cli.models.adapters import attach
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.models.trained_teacher import TrainedTeacher
from ketchup_cli.specs import OptimizerSpec
from ketchup_cli.train.extras import Extra
from ketchup_cli.train.loop import train
from ketchup_cli.train.run import Run

SPEC = runs.make_spec(updates=4)


def table(name: str = "okd", **fields: Any) -> dict[str, Any]:
    return {"name": name, "module": "lora", "rank": 2, "teacher_rate": 1.0, **fields}


def make_run(folder: Path, fields: Mapping[str, Any], **more: Any) -> Run:
    """A run whose teacher has the part that the objective asks for."""
    run = runs.make_run(folder, tables=(fields,), teachers={}, **({"spec": SPEC} | more))
    part = run.terms[0].objective.teacher_part
    assert part is not None
    policy = tiny.make_policy("t5", seed=1)
    adapter = attach(policy, part, seed=0)
    return replace(
        run,
        teachers={"data": TrainedTeacher(LiveTeacher(policy), adapter)},
        extras=(Extra(name="teacher", module=adapter.module, rate=part.rate),),
    )


def learnt(run: Run) -> dict[str, torch.Tensor]:
    return {name: x.clone() for extra in run.extras for name, x in extra.tensors().items()}


def teacher_weights(run: Run) -> dict[str, torch.Tensor]:
    """Return the weights of the teacher's model that do not learn."""
    teacher = run.teachers["data"]
    assert isinstance(teacher, TrainedTeacher)
    assert isinstance(teacher.frozen, LiveTeacher)
    named = teacher.frozen.policy.model.named_parameters()
    return {name: w.clone() for name, w in named if not w.requires_grad}


@pytest.mark.parametrize(
    "fields",
    [table(), table(coupling="joint", module="head"), table("bd_kd", module="full")],
    ids=["okd, lora", "okd, head, joint", "bd_kd, full"],
)
def test_a_resumed_run_ends_with_both_models_as_an_uninterrupted_one(
    fields: Mapping[str, Any], tmp_path: Path
) -> None:
    straight = make_run(tmp_path / "straight", fields)
    train(straight)
    with pytest.raises(tiny.Interrupted):
        train(make_run(tmp_path / "resumed", fields, reporter=runs.StoppingReporter(3)))
    resumed = make_run(tmp_path / "resumed", fields)
    train(resumed)

    assert runs.same_weights(runs.weights(straight.policy), runs.weights(resumed.policy))
    assert runs.same_weights(learnt(straight), learnt(resumed))


@pytest.mark.parametrize("module", ["lora", "head"])
def test_what_does_not_learn_is_the_same_to_the_bit_after_a_run(
    module: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path, table(module=module))
    frozen, part = teacher_weights(run), learnt(run)
    train(run)

    assert len(frozen) > 10
    assert runs.same_weights(frozen, teacher_weights(run))
    assert runs.distance(part, learnt(run)) > 1e-4


OFFLINE = {
    "okd": (
        {"nll": 0.5, "gamma": 1.0, "teacher_nll": 1.0},
        ({"name": "nll", "weight": 0.5}, {"name": "kl", "weight": 0.5}),
    ),
    # with an emphasis of 1 the gate has no say, and both divergences weigh 1
    "bd_kd": (
        {"emphasis": 1.0, "teacher_weight": 3.0},
        ({"name": "nll"}, {"name": "kl"}, {"name": "reverse_kl", "prefixes": "data"}),
    ),
}


@pytest.mark.parametrize("name", OFFLINE)
def test_a_teacher_that_stands_still_trains_the_student_as_offline(
    name: str, tmp_path: Path
) -> None:
    fields, tables = OFFLINE[name]
    online = make_run(tmp_path / "online", table(name, teacher_rate=0.0, **fields))
    before = learnt(online)
    train(online)
    offline = runs.make_run(tmp_path / "offline", tables=tables, spec=SPEC)
    train(offline)

    assert runs.same_weights(before, learnt(online))
    assert runs.distance(runs.weights(online.policy), runs.weights(offline.policy)) < 1e-5
    ours, theirs = (runs.log_of(tmp_path / side) for side in ("online", "offline"))
    assert [line["nll"] for line in ours] == pytest.approx(
        [line["nll"] for line in theirs], abs=1e-6
    )


def test_the_teacher_s_gradient_does_not_decide_how_much_of_the_student_s_is_cut(
    tmp_path: Path,
) -> None:
    optimizer = OptimizerSpec(learning_rate=1e-2, warmup=0, max_norm=0.1)
    spec = runs.make_spec(updates=2, optimizer=optimizer)
    found = []
    for weight in (1.0, 100.0):
        run = make_run(
            tmp_path / str(weight), table(teacher_nll=weight, teacher_rate=0.0), spec=spec
        )
        train(run)
        found.append(runs.weights(run.policy))

    assert runs.distance(*found) < 1e-6


def test_a_teacher_pulled_by_nothing_else_comes_ever_nearer_to_a_fixed_student(
    tmp_path: Path,
) -> None:
    fields = table(
        nll=1.0, gamma=1.0, teacher_nll=0.0, allow_collapse=True, teacher_rate=1e6, rank=4
    )
    # the student all but stands still: the rate is the teacher's
    spec = runs.make_spec(
        updates=6, optimizer=OptimizerSpec(learning_rate=1e-9, warmup=0, weight_decay=0.0)
    )
    student = runs.make_student(tmp_path, spec)
    batch = runs.make_batch(student, range(8))
    source = {"data": runs.Batches([batch])}
    train(make_run(tmp_path, fields, spec=spec, policy=student, sources=source))

    distances = [line["teacher_divergence"] for line in runs.log_of(tmp_path)]
    assert all(one > other for one, other in itertools.pairwise(distances))


def test_the_run_tells_the_teacher_s_loss_and_both_divergences(tmp_path: Path) -> None:
    train(make_run(tmp_path, table(), spec=runs.make_spec(updates=1)))
    (line,) = runs.log_of(tmp_path)

    assert {"nll", "divergence", "teacher_nll", "teacher_divergence"} <= line.keys()
