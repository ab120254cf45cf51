import json
import math
from pathlib import Path

import pytest

from ketchup_cli.train.metrics import MetricsLog, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def updates(path: Path) -> list[int]:
    return [line["update"] for line in read_metrics(path)]


def written(path: Path, count: int) -> MetricsLog:
    log = MetricsLog(path)
    for update in range(1, count + 1):
        log.write({"update": update, "loss": 1 / update})
    return log


def test_every_line_is_one_document(path: Path) -> None:
    written(path, 3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert [line["loss"] for line in lines] == [1.0, 0.5, 0.333333333]
    assert all(line["seconds"] >= 0 for line in lines)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_written_as_null(path: Path, value: float) -> None:
    MetricsLog(path).write({"update": 1, "loss": value})

    assert read_metrics(path)[0]["loss"] is None


def test_a_torn_last_line_is_left_out(path: Path) -> None:
    written(path, 3)
    path.write_text(path.read_text()[:-9])

    assert updates(path) == [1, 2]


def test_a_resumed_log_forgets_what_will_be_done_again(path: Path) -> None:
    written(path, 5)
    log = MetricsLog(path)
    log.resume(3)
    log.write({"update": 4})

    assert updates(path) == [1, 2, 3, 3, 4]
    assert [line.get("event") for line in read_metrics(path)].count("resume") == 1


def test_a_torn_line_does_not_swallow_what_is_written_after_a_resume(path: Path) -> None:
    written(path, 5)
    path.write_text(path.read_text()[:-9])
    log = MetricsLog(path)
    log.resume(4)
    log.write({"update": 5})

    assert updates(path) == [1, 2, 3, 4, 4, 5]


def test_a_run_without_a_checkpoint_begins_its_log_afresh(path: Path) -> None:
    written(path, 5)
    path.write_text(path.read_text()[:-9])
    log = MetricsLog(path)
    log.begin()
    log.write({"update": 1})

    assert updates(path) == [1]


def test_a_log_that_is_not_there_can_be_resumed(path: Path) -> None:
    MetricsLog(path).resume(3)

    assert not path.exists()


def test_nothing_but_the_log_is_left_after_a_resume(path: Path) -> None:
    written(path, 5)
    MetricsLog(path).resume(3)

    assert [item.name for item in path.parent.iterdir()] == ["metrics.jsonl"]


def test_a_log_without_a_path_writes_nothing(tmp_path: Path) -> None:
    log = MetricsLog(None)
    log.begin()
    log.resume(2)
    log.write({"update": 1})

    assert list(tmp_path.iterdir()) == []
