import dataclasses
import io
import itertools
from pathlib import Path

import pytest
import runs
import tiny
import torch

from ketchup_cli.cli.console import Console
from ketchup_cli.errors import NonFiniteError
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.specs import OptimizerSpec, TrainingSpec, ValidationSpec
from ketchup_cli.train.loop import train
from ketchup_cli.train.metrics import read_metrics
from ketchup_cli.train.run import Run

PLAIN = OptimizerSpec(learning_rate=1e-3, warmup=0, max_norm=0.0)


def told(run: Run) -> list[str]:
    """Train and return the lines a person sees off a terminal."""
    stream = io.StringIO()
    train(dataclasses.replace(run, reporter=Console(plain=True, stream=stream)))
    return stream.getvalue().splitlines()


def test_the_last_line_of_progress_shows_the_last_validation(tmp_path: Path) -> None:
    spec = runs.make_spec(validation=ValidationSpec(metric="bleu", every=3, probe=0))
    lines = told(runs.make_run(tmp_path, spec=spec, evaluate=runs.planted([1.0, 2.0, 7.5])))

    (last,) = [line for line in lines if line.startswith("training") and "6/6" in line]
    assert last.endswith("dev bleu 7.50 (best 7.50 @6)")


def test_a_small_figure_of_a_validation_keeps_its_digits(tmp_path: Path) -> None:
    figures = {"loss": 2.0, "teacher_drift": 3.21987e-07}
    lines = told(runs.make_run(tmp_path, spec=one_update(), evaluate=lambda: figures))
    logged = read_metrics(tmp_path / "metrics.jsonl")

    assert "teacher_drift 3.22e-07" in lines[-2] + lines[-1]
    assert next(line["teacher_drift"] for line in logged if "teacher_drift" in line) == 3.21987e-07


def one_update(**changes: object) -> TrainingSpec:
    return runs.make_spec(**({"updates": 1, "checkpoint_every": 0, "optimizer": PLAIN} | changes))


def gradients(run: Run) -> dict[str, torch.Tensor]:
    train(run)
    return {
        name: weight.grad.clone()
        for name, weight in run.policy.model.named_parameters()
        if weight.grad is not None
    }


def gradient_of(folder: Path, tables: runs.Tables, **parts: object) -> dict[str, torch.Tensor]:
    return gradients(runs.make_run(folder, tables=tables, spec=one_update(), **parts))


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert runs.distance(one, other) < 1e-6
    assert max(float(value.abs().max()) for value in one.values()) > 1e-3


# tokens that are compared with no other: the loss of a batch is then the mean of theirs
TOKEN_BY_TOKEN = ({"name": "sinkd", "max_tokens": 1},)


@pytest.mark.parametrize("tables", [runs.NLL, TOKEN_BY_TOKEN], ids=["token loss", "batch loss"])
def test_two_batches_give_the_gradient_of_one_twice_the_size(
    tables: runs.Tables, tmp_path: Path
) -> None:
    found = []
    for accumulate, parts in ((2, [range(3), range(3, 12)]), (1, [range(12)])):
        spec = one_update(accumulate=accumulate)
        student = runs.make_student(tmp_path / str(accumulate), spec)
        source = runs.Batches([runs.make_batch(student, list(numbers)) for numbers in parts])
        folder, sources = tmp_path / str(accumulate), {"data": source}
        run = runs.make_run(folder, tables=tables, spec=spec, policy=student, sources=sources)
        found.append(gradients(run))

    assert_close(*found)


def test_the_loss_of_an_update_is_the_mean_over_all_its_tokens(tmp_path: Path) -> None:
    from ketchup_cli.stages.training import mean_loss

    spec = one_update(accumulate=2)
    student = runs.make_student(tmp_path, spec)
    wanted = mean_loss(student, runs.data_rows(student)[:12], 400)
    source = runs.Batches([
        runs.make_batch(student, list(range(3))),
        runs.make_batch(student, list(range(3, 12))),
    ])
    train(runs.make_run(tmp_path, spec=spec, policy=student, sources={"data": source}))
    (line,) = runs.log_of(tmp_path)

    assert line["loss"] == pytest.approx(wanted, abs=1e-5)
    assert line["nll"] == pytest.approx(wanted, abs=1e-5)


def test_a_figure_of_a_batch_is_weighed_by_its_tokens(tmp_path: Path) -> None:
    spec = one_update(accumulate=2)
    student = runs.make_student(tmp_path, spec)
    batches = [runs.make_batch(student, list(numbers)) for numbers in (range(3), range(3, 12))]
    sources = {"data": runs.Batches(batches)}
    train(
        runs.make_run(tmp_path, tables=TOKEN_BY_TOKEN, spec=spec, policy=student, sources=sources)
    )
    (line,) = runs.log_of(tmp_path)

    assert line["transport"] == pytest.approx(line["loss"], rel=1e-5)
    assert line["transport"] > 0


def test_the_gradient_of_a_mix_is_the_weighted_sum_of_its_terms(tmp_path: Path) -> None:
    weights = {"ketchup": 1.0, "kl": 0.5, "nll": 0.25}
    terms = {
        "ketchup": {"name": "ketchup", "k": 2},
        "kl": {"name": "kl", "prefixes": "data"},
        "nll": {"name": "nll"},
    }
    parts = {name: gradient_of(tmp_path / name, (table,)) for name, table in terms.items()}
    mix = gradient_of(
        tmp_path / "mix", [{**table, "weight": weights[name]} for name, table in terms.items()]
    )
    wanted = {weight: sum(weights[name] * parts[name][weight] for name in terms) for weight in mix}

    assert_close(mix, wanted)


def test_the_loss_of_a_mix_is_the_weighted_sum_of_its_logged_parts(tmp_path: Path) -> None:
    tables = (
        {"name": "nll", "weight": 0.25},
        {"name": "ketchup", "k": 2},
        {"name": "kl", "weight": 2.0},
    )
    train(runs.make_run(tmp_path, tables=tables, spec=one_update()))
    (line,) = runs.log_of(tmp_path)

    assert line["loss"] == pytest.approx(
        0.25 * line["loss_nll"] + line["loss_ketchup"] + 2 * line["loss_kl"], abs=1e-5
    )


def test_one_objective_on_two_kinds_of_completions_has_two_figures(tmp_path: Path) -> None:
    tables = ({"name": "kl", "prefixes": "data"}, {"name": "kl", "prefixes": "student"})
    train(runs.make_run(tmp_path, tables=tables, spec=one_update()))
    (line,) = runs.log_of(tmp_path)

    assert line["loss"] == pytest.approx(line["loss_kl_data"] + line["loss_kl_student"], abs=1e-5)
    assert line["kl_data"] != line["kl_student"]


def test_an_update_of_ketchup_logs_what_one_watches(tmp_path: Path) -> None:
    train(runs.make_run(tmp_path, tables=runs.KETCHUP))
    lines = runs.log_of(tmp_path)

    assert [line["update"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {
        "loss", "loss_ketchup", "reward", "return", "return_variance", "k_step_advantage_variance",
        "advantage_variance", "entropy", "gradient_norm", "learning_rate", "student_length",
        "student_tokens", "student_sequences", "finished", "tokens_per_s",
    } <= lines[0].keys()  # fmt: skip
    assert 0 <= lines[0]["finished"] < 1


def test_the_same_run_twice_gives_the_same_weights(tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        run = runs.make_run(tmp_path / name, spec=runs.make_spec(dropout=0.3))
        train(run)
        found.append(runs.weights(run.policy))

    assert runs.same_weights(*found)


def test_every_update_drops_other_units(tmp_path: Path) -> None:
    still = OptimizerSpec(learning_rate=1e-30, warmup=0)
    spec = runs.make_spec(dropout=0.3, optimizer=still)
    student = runs.make_student(tmp_path, spec)
    source = runs.Batches([runs.make_batch(student, list(range(4)))])
    train(runs.make_run(tmp_path, spec=spec, policy=student, sources={"data": source}))

    assert len({line["loss"] for line in runs.log_of(tmp_path)}) == 6


def test_gradients_of_one_update_are_gone_in_the_next(tmp_path: Path) -> None:
    still = OptimizerSpec(learning_rate=1e-30, warmup=0, max_norm=0.0)
    spec = runs.make_spec(optimizer=still)
    student = runs.make_student(tmp_path, spec)
    source = runs.Batches([runs.make_batch(student, list(range(4)))])
    train(runs.make_run(tmp_path, spec=spec, policy=student, sources={"data": source}))
    norms = [line["gradient_norm"] for line in runs.log_of(tmp_path)]

    assert norms == pytest.approx([norms[0]] * 6, rel=1e-6)


def test_only_weights_that_are_better_are_written(tmp_path: Path) -> None:
    spec = runs.make_spec(
        checkpoint_every=0, validation=ValidationSpec(metric="bleu", every=2, probe=0)
    )
    train(runs.make_run(tmp_path, spec=spec, evaluate=runs.planted([1.0, 7.0, 3.0, 7.0])))
    names = sorted(path.name for path in (tmp_path / "state").iterdir())

    assert [int(name.split("-")[1]) for name in names] == [0, 2]


def test_a_run_lowers_its_loss(tmp_path: Path) -> None:
    spec = runs.make_spec(updates=30, optimizer=OptimizerSpec(learning_rate=1e-2, warmup=2))
    outcome = train(runs.make_run(tmp_path, spec=spec))

    assert outcome.validations[-1]["loss"] < 0.8 * outcome.validations[0]["loss"]


def test_the_dev_set_is_asked_first_last_and_in_between(tmp_path: Path) -> None:
    spec = runs.make_spec(updates=5, validation=ValidationSpec(metric="loss", every=2, probe=0))
    outcome = train(runs.make_run(tmp_path, spec=spec))

    assert [item["update"] for item in outcome.validations] == [0, 2, 4, 5]


def test_validation_at_the_end_only_still_knows_the_beginning(tmp_path: Path) -> None:
    spec = runs.make_spec(updates=3, validation=ValidationSpec(metric="loss", every=0, probe=0))
    outcome = train(runs.make_run(tmp_path, spec=spec))

    assert [item["update"] for item in outcome.validations] == [0, 3]


def test_the_student_is_left_with_the_best_weights_in_eval_mode(tmp_path: Path) -> None:
    seen = []
    values = iter([1.0, 7.0, 3.0, 2.0])
    spec = runs.make_spec(validation=ValidationSpec(metric="bleu", every=2, probe=0))
    student = runs.make_student(tmp_path, spec)

    def evaluate() -> dict[str, float]:
        seen.append(runs.weights(student))
        return {"bleu": next(values)}

    outcome = train(runs.make_run(tmp_path, spec=spec, policy=student, evaluate=evaluate))

    assert (outcome.best_update, outcome.best) == (2, 7.0)
    assert runs.same_weights(runs.weights(student), seen[1])
    assert not runs.same_weights(seen[1], seen[3])
    assert not student.module.training


def test_a_student_that_never_improves_keeps_its_first_weights(tmp_path: Path) -> None:
    spec = runs.make_spec(validation=ValidationSpec(metric="bleu", every=3, probe=0))
    student = runs.make_student(tmp_path, spec)
    before = runs.weights(student)
    train(runs.make_run(tmp_path, spec=spec, policy=student, evaluate=runs.planted([9, 1, 1])))

    assert runs.same_weights(runs.weights(student), before)


def test_patience_ends_a_run_early(tmp_path: Path) -> None:
    spec = runs.make_spec(
        updates=100, validation=ValidationSpec(metric="bleu", every=1, patience=2, probe=0)
    )
    outcome = train(runs.make_run(tmp_path, spec=spec, evaluate=runs.planted([1, 5, 4, 3, 9])))

    assert (outcome.ended, outcome.updates, outcome.best_update) == ("patience", 3, 1)


def test_a_reward_that_rises_while_the_dev_metric_falls_ends_the_run(tmp_path: Path) -> None:
    spec = runs.make_spec(
        updates=200,
        checkpoint_every=0,
        validation=ValidationSpec(metric="bleu", every=25, guard=2, probe=0),
        optimizer=OptimizerSpec(learning_rate=1e-2, warmup=2, schedule="constant"),
    )
    outcome = train(
        runs.make_run(
            tmp_path,
            tables=({"name": "ketchup", "value": "max"},),
            spec=spec,
            evaluate=runs.planted([float(40 - step) for step in range(20)]),
        )
    )

    assert outcome.ended == "reward hacking"
    assert outcome.best_update == 0
    assert "the student exploits the reward" in outcome.sentence


def poisoned(run_policy: Policy, at: int) -> object:
    """Return an evaluation that spoils a weight when it is asked for the `at`-th time."""
    count = itertools.count(1)

    def evaluate() -> dict[str, float]:
        if next(count) == at:
            with torch.no_grad():
                run_policy.model.shared.weight[5] = torch.nan
        return {"loss": 1.0}

    return evaluate


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    spec = runs.make_spec(checkpoint_every=2)
    student = runs.make_student(tmp_path, spec)
    run = runs.make_run(tmp_path, spec=spec, policy=student, evaluate=poisoned(student, 2))
    with pytest.raises(NonFiniteError, match="the loss on `data` completions is nan") as caught:
        train(run)
    found = run.checkpoints.latest()

    assert caught.value.exit_code == 7
    assert "precision=float32" in str(caught.value.hint)
    assert found is not None
    assert found.update == 2
    assert all(bool(value.isfinite().all()) for value in found.tensors.values())


def test_a_dev_figure_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    run = runs.make_run(tmp_path, evaluate=runs.planted([1.0, float("nan")], "loss"))

    with pytest.raises(NonFiniteError, match="dev loss is nan after update 3"):
        train(run)


@pytest.mark.parametrize("tables", [runs.KETCHUP, runs.KL], ids=["ketchup", "kl"])
def test_the_teacher_does_not_learn(tables: runs.Tables, tmp_path: Path) -> None:
    policy = tiny.make_policy("t5", seed=1)
    before = runs.weights(policy)
    run = runs.make_run(
        tmp_path, tables=tables, teachers=dict.fromkeys(("data", "student"), LiveTeacher(policy))
    )
    train(run)

    assert runs.same_weights(runs.weights(policy), before)
    assert all(weight.grad is None for weight in policy.model.parameters())
