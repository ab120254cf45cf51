"""Trackers are told what the log is told, change nothing that is made, and fail aloud."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from accelerate import tracking as accelerated

from ketchup_cli.cli import tracking
from ketchup_cli.cli.execute import prepare
from ketchup_cli.cli.request import Common, Request
from ketchup_cli.cli.tracking import Subject, TrackingReporter, check_trackers, tracked
from ketchup_cli.errors import SpecError, TrackerError
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.specs import OptimizerSpec, TrainSpec, ValidationSpec
from ketchup_cli.store.layout import Store

ID = "3f9c1b2a" * 8
SECRET = "s3cr3t-of-4-tracker"
LINES: tuple[dict[str, Any], ...] = (
    {"event": "begin", "update": 0, "updates": 2, "metric": "bleu", "seconds": 0.0},
    {"event": "validation", "update": 0, "bleu": 20.0, "best_update": 0, "seconds": 0.1},
    {"update": 1, "loss": 2.5, "broken": None, "seconds": 0.2},
    {"event": "warning", "update": 1, "text": "beware", "seconds": 0.2},
)


class Recorder(accelerated.GeneralTracker):
    """A tracker that remembers what it was told."""

    name = "wandb"
    requires_logging_directory = False
    main_process_only = False
    fails_at: tuple[str, ...] = ()

    def __init__(self, project: str, **options: Any) -> None:
        super().__init__()
        self.told: list[Any] = [("made", project, options)]
        made.append(self)

    @property
    def tracker(self) -> "Recorder":
        return self

    def _tell(self, what: str, *values: Any) -> None:
        self.told.append((what, *values))
        if what in self.fails_at:
            raise RuntimeError(f"no route to https://me:{SECRET}@host, key {SECRET}")

    def start(self) -> None:
        self._tell("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._tell("settings", values)

    def log(self, values: dict[str, Any], step: int | None = None, **more: Any) -> None:
        del more
        self._tell("log", step, values)

    def finish(self) -> None:
        self._tell("finish")


made: list[Recorder] = []


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    """Stands where the tracker `wandb` is looked up; its package is said to be there."""
    made.clear()
    monkeypatch.setitem(accelerated.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setitem(tracking.PACKAGES, "wandb", "accelerate")
    monkeypatch.setattr(Recorder, "fails_at", ())
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    yield Recorder
    made.clear()


def subject(folder: Path) -> Subject:
    settings = {"seed": 0, "optimizer.betas": [0.9, 0.98]}
    return Subject(label="kl", id=ID, settings=settings, folder=folder / "trackers")


def tell(folder: Path, *lines: dict[str, Any], names: tuple[str, ...] = ("wandb",)) -> list:
    """Tell these lines, and return the notes a person gets."""
    reporter = SilentReporter()
    with tracked(names, subject(folder), reporter) as telling:
        for line in lines:
            telling.figures(line)
    return reporter.notes


@pytest.mark.usefixtures("recorder")
def test_a_tracker_is_told_settings_figures_and_the_end(tmp_path: Path) -> None:
    tell(tmp_path, *LINES)

    (wandb,) = made
    assert wandb.told[1:] == [
        ("start",),
        ("settings", {"seed": 0, "optimizer.betas": "[0.9, 0.98]"}),
        ("log", 0, {"dev/bleu": 20.0}),
        ("log", 1, {"train/loss": 2.5}),
        ("finish",),
    ]


@pytest.mark.usefixtures("recorder")
def test_a_resumed_run_goes_on_in_the_same_run_of_the_tracker(tmp_path: Path) -> None:
    tell(tmp_path, *LINES)
    tell(tmp_path, {"event": "resume", "update": 1}, {"update": 2, "loss": 2.0})

    first, second = made
    assert first.told[0] == second.told[0]
    assert second.told[0][2]["resume"] == "allow"
    assert second.told[1:] == [("start",), ("log", 2, {"train/loss": 2.0}), ("finish",)]


def test_a_tracker_that_fails_while_it_is_told_is_left_off_aloud(
    recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "fails_at", ("log",))
    notes = tell(tmp_path, *LINES)

    assert [what for what, *_ in made[0].told].count("log") == 1
    first, last = (text for label, text in notes if label == "warning")
    assert first == (
        "tracker `wandb` failed at update 0 and is left off: RuntimeError: no route to"
        " https://***@host, key ***"
    )
    assert last == "tracker `wandb` was left off at update 0; the log holds all figures"


@pytest.mark.parametrize("moment", ["start", "settings"])
def test_a_tracker_that_cannot_start_ends_the_run_without_telling_keys(
    moment: str, recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "fails_at", (moment,))

    with pytest.raises(TrackerError, match="tracker `wandb` cannot start: RuntimeError") as caught:
        tell(tmp_path, *LINES)
    assert SECRET not in caught.value.message
    assert "leave out --track wandb" in (caught.value.hint or "")


def test_an_unknown_tracker_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="`tensorbord` is not a tracker; nearest: `tensorboard`"):
        check_trackers(["tensorbord"])


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.PACKAGES, "wandb", "no_such_package_of_ours")

    with pytest.raises(SpecError, match="needs the package `no_such_package_of_ours`") as caught:
        check_trackers(["wandb"])
    assert "pip install no_such_package_of_ours" in (caught.value.hint or "")


def test_a_wrong_tracker_is_an_error_before_any_work(ketchup, corpus, folder: Path) -> None:
    del corpus
    (folder / "teacher").mkdir()
    (folder / "teacher" / "config.json").write_text("{}")
    result = ketchup("train", "--student", "./teacher", "--track", "tensorbord", "--name", "x")

    assert result.code == 2
    assert "`tensorbord` is not a tracker" in result.err
    assert [path for path in (folder / "runs" / "tmp").iterdir() if path.is_dir()] == []


@pytest.mark.usefixtures("recorder", "corpus")
def test_the_id_does_not_depend_on_who_is_told(folder: Path) -> None:
    (folder / "teacher").mkdir()
    (folder / "teacher" / "config.json").write_text("{}")
    request = {"stage": "train", "roles": {"student": "./teacher"}, "common": Common()}
    silent = prepare(Request(**request))
    by_flag = prepare(Request(**request, trackers=("wandb", "wandb")))
    toml = (folder / "ketchup.toml").read_text(encoding="utf-8")
    (folder / "ketchup.toml").write_text(f'trackers = ["wandb"]\n{toml}', encoding="utf-8")
    by_file = prepare(Request(**request))

    assert silent.id == by_flag.id == by_file.id
    assert (silent.trackers, by_flag.trackers, by_file.trackers) == ((), ("wandb",), ("wandb",))


def test_trackers_that_are_no_list_are_refused(ketchup, folder: Path) -> None:
    toml = (folder / "ketchup.toml").read_text(encoding="utf-8")
    (folder / "ketchup.toml").write_text(f'trackers = "wandb"\n{toml}', encoding="utf-8")

    result = ketchup("ls")

    assert result.code == 2
    assert "`trackers` in `ketchup.toml` is not a list" in result.err


@pytest.mark.usefixtures("recorder")
def test_a_training_makes_the_same_bytes_and_no_file_holds_a_key(tmp_path: Path) -> None:
    validation = ValidationSpec(metric="loss", every=1, probe=0)
    spec = TrainSpec(updates=2, optimizer=OptimizerSpec(warmup=1), validation=validation)
    inputs = tiny.inputs(
        corpus=tiny.make_corpus(tmp_path / "corpus"),
        student=tiny.make_policy_folder(tmp_path / "student", "t5", layers=1),
    )
    plain = tiny.run_stage(Store.open(tmp_path / "plain"), "train", spec, inputs)
    telling = TrackingReporter(("wandb",), subject(tmp_path), SilentReporter())
    told = tiny.run_stage(Store.open(tmp_path / "told"), "train", spec, inputs, reporter=telling)
    telling.finish()

    assert (told.id, told.digest) == (plain.id, plain.digest)
    steps = [step for what, step, *_ in made[0].told[3:-1]]
    assert steps == [0, 1, 1, 2, 2]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in content for content in files)


@pytest.mark.usefixtures("recorder")
def test_a_person_is_told_who_is_told(tmp_path: Path) -> None:
    assert tell(tmp_path, *LINES) == [("tracker", "wandb is told every figure")]


def test_tensorboard_shows_the_figures_of_a_resumed_run_once(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed: pip install 'ketchup-kd[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(tmp_path, *LINES, {"update": 2, "loss": 9.0}, names=("tensorboard",))
    resumed = ({"event": "resume", "update": 1}, {"update": 2, "loss": 2.0})
    tell(tmp_path, *resumed, names=("tensorboard",))
    events = EventAccumulator(str(tmp_path / "trackers" / "tensorboard" / "kl-3f9c1b2a"))
    events.Reload()

    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(1, 2.5), (2, 2.0)]
    assert json.dumps(events.Tags()["scalars"]) == json.dumps(["dev/bleu", "train/loss"])
