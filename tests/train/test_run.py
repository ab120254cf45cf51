from pathlib import Path

import pytest
import runs
import tiny

from ketchup_cli.models.teacher import LiveTeacher, Teacher
from ketchup_cli.signals import Batch, Needs, Offers, StudentSignal, TeacherSignal
from ketchup_cli.specs import RolloutSpec
from ketchup_cli.train.loop import train


class CountingTeacher(Teacher):
    """Counts how often it is asked."""

    def __init__(self, inner: LiveTeacher) -> None:
        self.inner = inner
        self.asked = 0

    @property
    def offers(self) -> Offers:
        return self.inner.offers

    def signal(
        self, batch: Batch, needs: Needs, student: StudentSignal | None = None
    ) -> TeacherSignal:
        self.asked += 1
        return self.inner.signal(batch, needs, student)


def test_the_teacher_is_asked_once_for_completions_that_are_used_again(tmp_path: Path) -> None:
    teacher = CountingTeacher(runs.live_teacher())
    train(runs.make_run(tmp_path, tables=runs.KETCHUP, teachers={"student": teacher}, reuse=3))

    assert teacher.asked == 2


def test_rollouts_are_reused_and_data_is_not(tmp_path: Path) -> None:
    spec = runs.make_spec()
    student = runs.make_student(tmp_path, spec)
    sources = runs.make_sources(student, ["data", "student"], spec, runs.ROLLOUT)
    sources["data"] = data = runs.Batches([runs.make_batch(student, [n]) for n in range(8)])
    run = runs.make_run(
        tmp_path,
        tables=(*runs.KETCHUP, *runs.NLL),
        spec=spec,
        policy=student,
        sources=sources,
        reuse=3,
    )
    train(run)
    lengths = [line["student_length"] for line in runs.log_of(tmp_path)]

    assert data.drawn == 6
    assert lengths[0] == lengths[1] == lengths[2] != lengths[3]


def test_reused_rollouts_are_weighed_by_how_likely_they_have_become(tmp_path: Path) -> None:
    tables = ({"name": "ketchup", "k": 2, "importance": "step"},)
    train(runs.make_run(tmp_path, tables=tables, reuse=2))
    ratios = [line["ratio"] for line in runs.log_of(tmp_path)]

    assert ratios[0] == pytest.approx(1.0, abs=1e-4)
    assert ratios[1] != pytest.approx(1.0, abs=1e-3)
    assert ratios[2] == pytest.approx(1.0, abs=1e-4)


def test_unfinished_rollouts_are_dropped_from_the_loss_and_counted(tmp_path: Path) -> None:
    rollout = RolloutSpec(prompts=24, samples=8, max_new_tokens=6)
    train(
        runs.make_run(
            tmp_path, tables=runs.KETCHUP, spec=runs.make_spec(updates=1), rollout=rollout
        )
    )
    (line,) = runs.log_of(tmp_path)

    assert 0 < line["finished"] < 1
    assert line["student_sequences"] == pytest.approx(192 * line["finished"], abs=1e-3)


def test_a_log_of_a_run_killed_before_its_first_checkpoint_is_begun_again(tmp_path: Path) -> None:
    spec = runs.make_spec(checkpoint_every=0)
    with pytest.raises(tiny.Interrupted):
        train(runs.make_run(tmp_path, spec=spec, reporter=runs.StoppingReporter(4)))
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"update": 5, "lo')
    train(runs.make_run(tmp_path, spec=spec))

    assert [line["update"] for line in runs.log_of(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_resumed_log_holds_every_update_once(tmp_path: Path) -> None:
    with pytest.raises(tiny.Interrupted):
        train(runs.make_run(tmp_path, reporter=runs.StoppingReporter(5)))
    train(runs.make_run(tmp_path))

    assert [line["update"] for line in runs.log_of(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_validation_knows_the_mean_return_since_the_one_before(tmp_path: Path) -> None:
    run = runs.make_run(tmp_path, tables=runs.KETCHUP)
    train(run)
    returns = [line["return"] for line in runs.log_of(tmp_path)]
    found = run.checkpoints.latest()

    assert found is not None
    (_, _, first), (_, _, second), (_, _, third) = found.facts["watch"]["history"]
    assert first is None
    assert second == pytest.approx(sum(returns[:3]) / 3, abs=1e-5)
    assert third == pytest.approx(sum(returns[3:]) / 3, abs=1e-5)
