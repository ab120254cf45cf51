from pathlib import Path
from typing import Any

import distilling
import pytest
import tiny
from safetensors.torch import load_file

from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError, ModelError, SpecError
from ketchup_cli.models import adapters
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import ValidationSpec
from ketchup_cli.stages.teaching import choose
from ketchup_cli.stages.training import PARTS
from ketchup_cli.store.artifact import Artifact, Input

HEAD = {"name": "okd", "module": "head", "rank": 4, "teacher_rate": 1.0}


class Notes(tiny.SilentReporter):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    def note(self, label: str, text: str) -> None:
        self.notes[label] = text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learning")


@pytest.fixture(scope="module")
def inputs(folder: Path) -> dict[str, Input]:
    return distilling.make_inputs(folder)


@pytest.fixture(scope="module")
def states(folder: Path, inputs: dict[str, Input]) -> Input:
    """A cache of last states."""
    return distilling.make_cache(folder, inputs, keep="hidden", top=0)


@pytest.fixture(scope="module")
def live(folder: Path, inputs: dict[str, Input]) -> Artifact:
    return distilling.run(folder, distilling.make_spec(HEAD), inputs)


@pytest.fixture(scope="module")
def balanced(folder: Path, inputs: dict[str, Input]) -> Artifact:
    fields: dict[str, Any] = {"name": "bd_kd", "module": "lora", "rank": 2, "teacher_rate": 1.0}
    return distilling.run(folder, distilling.make_spec(fields), inputs)


def figures(artifact: Artifact) -> list[dict[str, Any]]:
    return distilling.log_of(artifact, "validation")


def test_the_part_is_saved_beside_the_student(live: Artifact) -> None:
    tensors = load_file(live.path / PARTS)

    assert set(tensors) == {f"teacher/{name}" for name in ("down_RH", "down_R", "up_VR", "up_V")}
    assert tensors["teacher/up_VR"].abs().max() > 0


def test_of_a_teacher_with_low_rank_matrices_those_alone_are_saved(balanced: Artifact) -> None:
    names = set(load_file(balanced.path / PARTS))

    assert names
    assert {name for name in names if ".lora_" not in name} == set()


def test_the_student_s_folder_loads_as_ever(balanced: Artifact) -> None:
    policy = load_policy(balanced.path, device="cpu")

    assert policy.model.num_parameters() == balanced.manifest.summary["parameters"]


@pytest.mark.parametrize("name", ["live", "balanced"])
def test_the_teacher_s_drift_begins_at_nothing_and_is_told_with_its_loss(
    name: str, request: pytest.FixtureRequest
) -> None:
    first, *others = figures(request.getfixturevalue(name))

    assert first["teacher_drift"] == pytest.approx(0.0, abs=1e-6)
    assert min(line["teacher_drift"] for line in others) > 1e-6
    assert all(line["teacher_loss"] > 0 for line in (first, *others))


def test_calibration_before_and_after_stands_in_the_summary(balanced: Artifact) -> None:
    summary = balanced.manifest.summary

    for when in ("first", "kept", "last"):
        assert 0 <= summary[when]["ece"] <= 1
        assert 0 <= summary[when]["teacher_ece"] <= 1
    assert summary["kept"]["update"] == summary["best_update"]


def test_kept_states_train_a_head_adapter_as_the_live_teacher_does(
    folder: Path, inputs: dict[str, Input], states: Input, live: Artifact
) -> None:
    own = {role: item for role, item in inputs.items() if role != "teacher"} | {"cache": states}

    cached = distilling.run(folder, distilling.make_spec(HEAD), own, "cached")

    one, other = (distilling.log_of(artifact) for artifact in (cached, live))
    # states are kept in half precision unless told otherwise
    for name in ("loss", "teacher_nll", "divergence"):
        assert [line[name] for line in one] == pytest.approx(
            [line[name] for line in other], abs=5e-3
        )
    assert (cached.path / PARTS).is_file()
    assert "ece" in figures(cached)[0]


def test_kept_states_tell_the_drift_a_live_teacher_would_on_the_same_rows(
    folder: Path, inputs: dict[str, Input], states: Input
) -> None:
    # the rows of the cache are those of train, so the live teacher is asked about these too
    judged = ValidationSpec(metric="loss", every=2, examples=6, probe=4, split="train")
    own = {role: item for role, item in inputs.items() if role != "teacher"} | {"cache": states}
    spec = distilling.make_spec(HEAD, validation=judged)

    cached = figures(distilling.run(folder, spec, own, "drift cached"))
    live = figures(distilling.run(folder, spec, inputs, "drift live"))

    drifts = [line["teacher_drift"] for line in cached]
    assert drifts[0] == pytest.approx(0.0, abs=1e-6)
    assert drifts[-1] > 1e-6
    # states are kept in half precision unless told otherwise
    assert drifts == pytest.approx([line["teacher_drift"] for line in live], rel=0.02, abs=1e-7)
    assert "teacher_loss" not in cached[0]


def test_where_a_live_teacher_speaks_beside_kept_states_both_are_measured_on_what_they_know(
    folder: Path, inputs: dict[str, Input], states: Input
) -> None:
    spec = distilling.make_spec(HEAD, {"name": "kl", "prefixes": "student"})

    lines = figures(distilling.run(folder, spec, inputs | {"cache": states}, "both"))

    assert lines[-1]["teacher_drift"] > 1e-6
    assert lines[-1]["kl_probe"] > 0
    assert "teacher_loss" not in lines[-1]


def chosen(inputs: dict[str, Input], *tables: dict[str, Any], **changes: Any) -> Any:
    spec = distilling.make_spec(*tables, **changes)
    return choose(spec, objectives.terms(tables), inputs)["data"]


def test_a_cache_of_logits_is_refused_in_favour_of_the_model(
    folder: Path, inputs: dict[str, Input]
) -> None:
    cache = distilling.make_cache(folder, inputs)

    speaker = chosen(inputs | {"cache": cache}, HEAD)

    assert not speaker.cached
    assert "then out of date" in speaker.reason


def test_behind_kept_states_no_matrices_can_be_trained(
    inputs: dict[str, Input], states: Input
) -> None:
    with pytest.raises(MismatchError, match="`module = head` can be trained; okd trains `lora`"):
        chosen(inputs | {"cache": states}, {"name": "okd"}, teacher="cache")


def test_a_missing_package_is_named_before_a_model_is_loaded(
    inputs: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ModelError, match="`peft`"):
        chosen(inputs, {"name": "okd"})


def test_two_objectives_cannot_train_different_parts_of_one_teacher() -> None:
    with pytest.raises(SpecError, match="`okd` and `bd_kd` train different parts"):
        objectives.terms([{"name": "okd"}, {"name": "bd_kd", "module": "head"}])


def test_a_teacher_trained_whole_cannot_also_be_asked_as_it_came() -> None:
    with pytest.raises(SpecError, match="`kl` asks for the teacher as it came"):
        objectives.terms([{"name": "bd_kd", "module": "full"}, {"name": "kl"}])


def test_the_share_of_the_teacher_that_learns_is_told(inputs: dict[str, Input]) -> None:
    from ketchup_cli.stages.learning import give_part
    from ketchup_cli.stages.teaching import load_live

    student = load_policy(inputs["student"].path, device="cpu")
    teacher = load_live(inputs["teacher"], student, chunk_tokens=64)
    whole = teacher.policy.model.num_parameters()
    reporter = Notes()

    learner = give_part(
        objectives.terms([{"name": "okd", "rank": 2}]),
        {"data": teacher},
        teacher,
        rows=(),
        seed=0,
        reporter=reporter,
    )

    assert learner is not None
    own = learner.adapter.size()
    assert reporter.notes["teacher part"] == (
        f"lora, {own:,} numbers learn, {100 * own / whole:.2f} % of the teacher's"
    )
