import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import tiny
from msgspec import structs

from ketchup_cli import corpora
from ketchup_cli.cli.console import Console
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.specs import LabSpec
from ketchup_cli.stages import lab
from ketchup_cli.store.find import Artifact
from ketchup_cli.store.layout import Store

SPEC = LabSpec(
    prompts=4,
    batches=8,
    max_new_tokens=6,
    k=(1, 2, "all"),
    values=("max",),
    immediate=("sampled",),
    timed=1,
)


def make_inputs(folder: Path, architecture: str = "t5") -> dict:
    return tiny.inputs(
        corpus=tiny.make_corpus(folder / "corpus"),
        student=tiny.make_policy_folder(folder / "student", architecture, layers=1, seed=1),
        teacher=tiny.make_policy_folder(folder / "teacher", architecture),
    )


def run(folder: Path, spec: LabSpec = SPEC, *, store: str = "runs", **more) -> Artifact:
    given = make_inputs(folder, **more)
    return tiny.run_stage(Store.open(folder / store), "lab", spec, given)


def document(artifact: Artifact) -> dict:
    return json.loads((artifact.path / "lab.json").read_bytes())


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_every_estimator_has_its_figures(architecture: str, tmp_path: Path) -> None:
    artifact = run(tmp_path, architecture=architecture)
    found = {item["label"]: item["figures"] for item in document(artifact)["estimators"]}

    assert list(found) == ["K=1 max sampled", "K=2 max sampled", "K=all max sampled"]
    assert found["K=1 max sampled"]["relative_trace"]["value"] == pytest.approx(1)
    assert found["K=1 max sampled"]["plain_cosine"]["value"] == pytest.approx(1)
    for figures in found.values():
        assert figures["trace"]["low"] < figures["trace"]["value"] < figures["trace"]["high"]


def test_the_artifact_holds_figures_texts_plot_and_times(tmp_path: Path) -> None:
    artifact = run(tmp_path)
    names = {path.name for path in artifact.path.iterdir()}
    texts = corpora.read_generations(artifact.path / "rollouts.jsonl")

    assert names == {"manifest.json", "lab.json", "rollouts.jsonl", "lab.svg", "logs"}
    assert len(texts) == 4 * 8
    assert {text.sample for text in texts} == set(range(8))
    assert set(json.loads((artifact.path / "logs" / "seconds.json").read_bytes())) == {
        item["label"] for item in document(artifact)["estimators"]
    }


def test_the_same_command_makes_the_same_bytes(tmp_path: Path) -> None:
    first, second = (run(tmp_path, store=store).digest for store in ("first", "second"))

    assert first == second


def test_the_table_is_told_line_by_line(tmp_path: Path) -> None:
    reporter = SilentReporter()
    tiny.run_stage(
        Store.open(tmp_path / "runs"), "lab", SPEC, make_inputs(tmp_path), reporter=reporter
    )
    labels = [label for label, _ in reporter.notes]
    first, legend = labels.index("lab"), labels.index("legend")
    heading, *rows = [text for _, text in reporter.notes[first:legend]]

    assert heading.split()[:4] == ["estimator", "trace", "signal/noise", "cosine"]
    assert [row.split("  ")[0] for row in rows] == [
        item["label"] for item in document(run(tmp_path, store="other"))["estimators"]
    ]


def test_the_legend_is_told_and_stands_below_the_plot(tmp_path: Path) -> None:
    reporter = SilentReporter()
    store, given = Store.open(tmp_path / "runs"), make_inputs(tmp_path)
    artifact = tiny.run_stage(store, "lab", SPEC, given, reporter=reporter)
    labels = [label for label, _ in reporter.notes]
    *legend, times = [text for _, text in reporter.notes[labels.index("legend") :]]
    caption = " ".join(ET.fromstring((artifact.path / "lab.svg").read_bytes()).itertext())

    assert "in units of that of `K=1 max sampled`" in legend[0]
    assert "over 8 groups of batches" in legend[-1]
    assert all(line in caption for line in legend)
    assert (
        times == "ms: an update of this estimator alone, CPU time, all threads, median of 1 batches"
    )
    assert times not in caption


class Counting(tiny.InterruptingReporter):
    """Ends the run like its parent, and remembers what was done when a count was opened."""

    def __init__(self, after: int = 1000) -> None:
        super().__init__(after)
        self.done: dict[str, int] = {}

    def progress(self, label: str, *, total: int, unit: str, done: int = 0):
        self.done[label] = done
        return super().progress(label, total=total, unit=unit, done=done)


@pytest.mark.parametrize(
    ("after", "measured"), [(9, 0), (32 + 3, 4)], ids=["while sampling", "while measuring"]
)
def test_a_killed_run_goes_on_at_the_next_batch_and_ends_with_the_same_bytes(
    after: int, measured: int, tmp_path: Path
) -> None:
    straight = run(tmp_path, store="straight")
    store, given = Store.open(tmp_path / "runs"), make_inputs(tmp_path)
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "lab", SPEC, given, reporter=Counting(after))
    again = Counting()
    artifact = tiny.run_stage(store, "lab", SPEC, given, reporter=again)

    assert artifact.digest == straight.digest
    assert again.done["measuring"] == measured
    assert not (artifact.path / "state").exists()


def test_samples_of_a_killed_run_are_read_and_not_drawn_again(tmp_path: Path) -> None:
    store, given = Store.open(tmp_path / "runs"), make_inputs(tmp_path)
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "lab", SPEC, given, reporter=Counting(32))
    (kept,) = (tmp_path / "runs").rglob("state")
    before = {path.name: path.stat().st_mtime_ns for path in kept.glob("samples-*")}
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "lab", SPEC, given, reporter=Counting(34))

    assert len(before) == 8
    assert {path.name: path.stat().st_mtime_ns for path in kept.glob("samples-*")} == before


def test_what_is_not_to_be_timed_opens_no_count_of_times(tmp_path: Path) -> None:
    stream = io.StringIO()
    given = make_inputs(tmp_path)
    store = Store.open(tmp_path / "runs")
    spec = structs.replace(SPEC, k=(1,), timed=0)
    tiny.run_stage(store, "lab", spec, given, reporter=Console(plain=True, stream=stream))

    assert "measuring" in stream.getvalue()
    assert "timing" not in stream.getvalue()


def test_an_objective_of_any_name_stands_beside_ketchup(tmp_path: Path) -> None:
    llmr = {"name": "llmr", "value": "max", "baseline": "batch", "normalise": "none", "clip": 0.0}
    spec = structs.replace(SPEC, k=(1,), timed=0, objectives=(llmr,))
    one, other = document(run(tmp_path, spec))["estimators"]

    assert other["reference"] == one["label"]
    assert other["figures"]["plain_cosine"]["value"] == pytest.approx(1)
    assert other["figures"]["trace"] == pytest.approx(one["figures"]["trace"])


def test_fewer_prompts_than_asked_for_is_an_error(tmp_path: Path) -> None:
    spec = LabSpec(prompts=40, batches=8)

    with pytest.raises(DataError, match=r"24 prompts of 1 to 512 tokens; 40 are asked for"):
        run(tmp_path, spec)


def test_the_plan_tells_estimators_and_size(tmp_path: Path) -> None:
    lines = dict(lab.plan(SPEC, make_inputs(tmp_path)))

    assert lines["estimators"] == "3: K=1 max sampled, K=2 max sampled, K=all max sampled"
    assert lines["plan"] == "8 batches of 4 prompts x 1, gradient of: decoder"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LabSpec(split="tset"), "`tset` is not a split"),
        (LabSpec(baselines=("mean",)), "`mean` is not a value of `objective.baseline`"),
        (LabSpec(objectives=({"name": "nll"},)), "`nll` cannot learn from"),
        (LabSpec(baselines=("leave-one-out",)), "a batch has 1"),
        (LabSpec(k=()), "no estimator"),
    ],
    ids=["split", "baseline", "objective", "samples", "nothing"],
)
def test_what_cannot_be_measured_is_refused_by_the_plan(
    spec: LabSpec, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=message):
        lab.plan(spec, make_inputs(tmp_path))
