"""Caches that keep the last states, and the head that reads them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import caches
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from ketchup_cli.errors import Damaged, MismatchError, NonFiniteError
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.heads import HEAD, head_of
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Needs, TeacherSignal
from ketchup_cli.stages import cache_teacher
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.verify import verify

TOLERANCE = 1e-5
"""Batches of another shape add float32 numbers in another order."""

HIDDEN: dict[str, Any] = {"keep": "hidden", "state_dtype": "float32", "examples_per_shard": 7}
STATISTICS = ("taken_BT", "best_BT", "mean_BT", "lse_BT", "expected_BT")


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def inputs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Input]:
    return caches.make_inputs(tmp_path_factory.mktemp(request.param), request.param, train=20)


@pytest.fixture(scope="module")
def policy(inputs: dict[str, Input]) -> Policy:
    return load_policy(inputs["teacher"].path)


@pytest.fixture(scope="module")
def hidden(inputs: dict[str, Input], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return caches.make_cache(tmp_path_factory.mktemp("hidden") / "runs", inputs, **HIDDEN)


def logits_of(signal: TeacherSignal) -> Tensor:
    assert signal.dense is not None
    return signal.dense.logits(slice(None))


def test_logits_made_of_states_are_the_live_teachers(
    inputs: dict[str, Input], policy: Policy, hidden: Artifact
) -> None:
    batch, needs = caches.batch_of(policy, inputs, (19, 0, 7)), Needs(teacher="dense")

    kept_NV, live_NV = (
        logits_of(teacher.signal(batch, needs))
        for teacher in (CachedTeacher(hidden.path, name="kept"), LiveTeacher(policy))
    )

    torch.testing.assert_close(kept_NV, live_NV, atol=TOLERANCE, rtol=0)


def test_states_in_half_precision_give_logits_to_that_precision(
    inputs: dict[str, Input], policy: Policy, tmp_path: Path
) -> None:
    artifact = caches.make_cache(tmp_path / "runs", inputs, keep="hidden")
    batch, needs = caches.batch_of(policy, inputs, (19, 0, 7)), Needs(teacher="dense")
    states_NH = policy.hidden(batch)[batch.mask_BT.bool()].detach()

    kept_NV = logits_of(caches.read(artifact, batch, needs))

    live_NV = logits_of(LiveTeacher(policy).signal(batch, needs))
    # each coordinate is off by at most half a unit in the last of its 11 places
    bound_NV = 2.0**-11 * states_NH.abs() @ head_of(policy).weight_VH.abs().T
    assert bool(((kept_NV - live_NV).abs() <= bound_NV + TOLERANCE).all())
    assert not torch.equal(kept_NV, live_NV)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_states_serve_any_temperature(
    inputs: dict[str, Input], policy: Policy, hidden: Artifact, temperature: float
) -> None:
    batch = caches.batch_of(policy, inputs, (19, 0, 7))
    needs = Needs(teacher="dense", temperature=temperature)

    kept, live = caches.read(hidden, batch, needs), LiveTeacher(policy).signal(batch, needs)

    for name in STATISTICS:
        torch.testing.assert_close(getattr(kept, name), getattr(live, name), atol=TOLERANCE, rtol=0)


def test_states_answer_where_the_largest_entries_are_asked_for(
    inputs: dict[str, Input], policy: Policy, hidden: Artifact
) -> None:
    signal = caches.read(hidden, caches.batch_of(policy, inputs, (3,)), Needs(teacher="top"))

    assert signal.dense is not None
    assert signal.top is None


def test_the_states_themselves_can_be_had_with_their_head(
    inputs: dict[str, Input], policy: Policy, hidden: Artifact
) -> None:
    batch = caches.batch_of(policy, inputs, (3, 11))

    states_NH, head = CachedTeacher(hidden.path, name="kept").states(batch)

    torch.testing.assert_close(
        head(states_NH), policy.logits(batch)[batch.mask_BT.bool()], atol=TOLERANCE, rtol=0
    )


def test_a_cache_of_other_things_has_no_states(
    inputs: dict[str, Input], policy: Policy, tmp_path: Path
) -> None:
    plain = caches.make_cache(tmp_path / "runs", inputs, top=2)

    with pytest.raises(MismatchError, match="holds no states") as raised:
        CachedTeacher(plain.path, name="kept").states(caches.batch_of(policy, inputs, (3,)))
    assert "keep=hidden" in (raised.value.hint or "")


def test_the_head_is_one_file_and_verified(hidden: Artifact) -> None:
    assert [file.path for file in hidden.manifest.files if file.path == HEAD] == [HEAD]
    assert verify(hidden.path).intact


def test_a_changed_head_is_found(inputs: dict[str, Input], tmp_path: Path) -> None:
    artifact = caches.make_cache(tmp_path / "runs", inputs, **HIDDEN)
    caches.spoil(artifact.path / HEAD, "weight", 1)

    assert list(verify(artifact.path).changed) == [HEAD]


def test_a_head_of_other_sizes_is_not_read(inputs: dict[str, Input], tmp_path: Path) -> None:
    artifact = caches.make_cache(tmp_path / "runs", inputs, **HIDDEN)
    path = artifact.path / HEAD
    path.chmod(0o644)
    save_file({"weight": torch.zeros(3, 4)}, path)

    with pytest.raises(Damaged, match="sizes"):
        CachedTeacher(artifact.path, name="kept")


def test_a_missing_head_is_named(inputs: dict[str, Input], tmp_path: Path) -> None:
    artifact = caches.make_cache(tmp_path / "runs", inputs, **HIDDEN)
    artifact.path.chmod(0o755)
    (artifact.path / HEAD).unlink()

    with pytest.raises(Damaged, match=HEAD):
        CachedTeacher(artifact.path, name="kept")


def test_a_state_too_large_for_its_type_stops_the_run(
    inputs: dict[str, Input], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cache_teacher.score

    def enlarged(*given: Any) -> Any:
        reduced = plain(*given)
        return replace(reduced, hidden_NH=reduced.hidden_NH * 1e6)

    monkeypatch.setattr(cache_teacher, "score", enlarged)

    with pytest.raises(NonFiniteError, match="float16") as raised:
        caches.make_cache(tmp_path / "runs", inputs, keep="hidden")
    assert raised.value.hint == "--set state_dtype=float32"
