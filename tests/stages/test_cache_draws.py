"""Caches that keep tokens drawn from the teacher."""

from pathlib import Path
from typing import Any

import caches
import pytest
import tiny
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import Damaged, SpecError
from ketchup_cli.models.cache import read_meta
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.encode import collate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Needs
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.stages import cache_teacher
from ketchup_cli.store.artifact import Artifact, Input

TOLERANCE = 1e-5
"""Batches of another shape add float32 numbers in another order."""

DRAWS = 12
SAMPLED: dict[str, Any] = {"keep": "sampled", "draws": DRAWS, "examples_per_shard": 7}


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def inputs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Input]:
    return caches.make_inputs(tmp_path_factory.mktemp(request.param), request.param, train=20)


@pytest.fixture(scope="module")
def policy(inputs: dict[str, Input]) -> Policy:
    return load_policy(inputs["teacher"].path)


@pytest.fixture(scope="module")
def sampled(inputs: dict[str, Input], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return caches.make_cache(tmp_path_factory.mktemp("sampled") / "runs", inputs, **SAMPLED)


def test_the_draws_follow_the_teacher_and_the_numbers_of_the_example(
    inputs: dict[str, Input], policy: Policy, sampled: Artifact
) -> None:
    rows = [caches.rows_of(policy, inputs["corpus"].path)[number] for number in (13, 2)]
    batch = collate(rows, pad_id=policy.pad_id, source="data")
    u_NG = cache_teacher.numbers_of(rows, seed=0, draws=DRAWS)
    logits_NV = policy.logits(batch)[batch.mask_BT.bool()]
    ids_NG, counts_NG = F.sampled_entries(logits_NV.detach(), u_NG)

    top = caches.read(sampled, batch, Needs(teacher="top", sampled=True)).top

    assert top is not None
    assert top.weights_BTM is not None
    mask_BT, most = batch.mask_BT.bool(), top.ids_BTM.shape[-1]
    assert torch.equal(top.ids_BTM[mask_BT], ids_NG[:, :most])
    assert torch.equal(top.weights_BTM[mask_BT], counts_NG[:, :most].float() / DRAWS)


def test_kl_from_draws_has_the_exact_entropy_of_the_teacher(
    inputs: dict[str, Input], policy: Policy, sampled: Artifact
) -> None:
    batch = caches.batch_of(policy, inputs, (0, 5))
    signal = caches.read(sampled, batch, Needs(teacher="top", sampled=True))
    live_BT = F.entropy(policy.logits(batch).detach()) * batch.mask_BT

    entropy_BT = signal.lse_BT - signal.expected_BT

    torch.testing.assert_close(entropy_BT, live_BT, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "changed", [{"tokens_per_batch": 40}, {"examples_per_shard": 3}, {"chunk_tokens": 3}], ids=str
)
def test_batches_and_shards_move_no_draw(
    inputs: dict[str, Input],
    policy: Policy,
    sampled: Artifact,
    tmp_path: Path,
    changed: dict[str, int],
) -> None:
    other = caches.make_cache(tmp_path / "runs", inputs, **{**SAMPLED, **changed})
    batch, needs = caches.batch_of(policy, inputs, (19, 0, 7)), Needs(teacher="top", sampled=True)

    one, two = (caches.read(artifact, batch, needs).top for artifact in (sampled, other))

    assert one is not None
    assert two is not None
    assert torch.equal(one.ids_BTM, two.ids_BTM)
    assert torch.equal(one.weights_BTM, two.weights_BTM)  # type: ignore[arg-type]


def test_another_seed_draws_other_tokens(
    inputs: dict[str, Input], sampled: Artifact, tmp_path: Path
) -> None:
    other = caches.make_cache(tmp_path / "runs", inputs, **SAMPLED, seed=1)

    first, second = (caches.shard_tensors(artifact)[0]["drawn"] for artifact in (sampled, other))

    assert first.tolist() != second.tolist()


def test_rows_read_from_disk_equal_those_in_memory(
    inputs: dict[str, Input], policy: Policy, sampled: Artifact
) -> None:
    batch, needs = caches.batch_of(policy, inputs, (19, 0, 7)), Needs(teacher="top", sampled=True)
    inside = CachedTeacher(sampled.path, name="kept").signal(batch, needs).top
    outside = CachedTeacher(sampled.path, name="kept", memory_bytes=0).signal(batch, needs).top

    assert inside is not None
    assert outside is not None
    assert torch.equal(inside.ids_BTM, outside.ids_BTM)
    assert torch.equal(inside.weights_BTM, outside.weights_BTM)  # type: ignore[arg-type]


def test_bytes_per_token_count_the_tokens_that_differ(sampled: Artifact) -> None:
    tensors = caches.shard_tensors(sampled)
    tokens = sum(len(shard["tokens"]) for shard in tensors)
    entries = sum(len(shard["drawn"]) for shard in tensors)

    meta = read_meta(sampled.path)

    # tokens, taken, best, mean, expected, lse; how many differ; an id and a count for each
    assert meta.bytes_per_token == pytest.approx(6 * 4 + 1 + 5 * entries / tokens)
    assert meta.bytes_per_token < meta.layout.bytes_per_token


DAMAGED = {
    "a count of 0": ("counts", 0),
    "an id past the vocabulary": ("drawn", 10**6),
    "too few": ("distinct", 0),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_draws_nobody_can_have_made_are_found(
    name: str, inputs: dict[str, Input], policy: Policy, tmp_path: Path
) -> None:
    artifact = caches.make_cache(tmp_path / "runs", inputs, **SAMPLED)
    column, value = DAMAGED[name]
    caches.spoil(artifact.path / "shard-00000.safetensors", column, value)

    with pytest.raises(Damaged, match="shard-00000"):
        caches.read(
            artifact, caches.batch_of(policy, inputs, (0,)), Needs(teacher="top", sampled=True)
        )


def test_draws_at_two_temperatures_are_refused_before_any_work(inputs: dict[str, Input]) -> None:
    spec = CacheTeacherSpec(keep="sampled", temperatures=(1.0, 2.0))

    with pytest.raises(SpecError, match="drawn at one of them") as raised:
        cache_teacher.plan(spec, inputs)
    assert "a cache for each" in (raised.value.hint or "")
