from pathlib import Path
from typing import Any

import caches
import msgspec
import pytest
import tiny
import torch

from ketchup_cli.corpora import read_split
from ketchup_cli.models.cache import read_meta
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.encode import collate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.sources import pseudo_target_rows
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.records import Generation
from ketchup_cli.signals import Needs
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.stages import cache_teacher
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.verify import verify

TOLERANCE = 1e-5
"""Batches of another shape add float32 numbers in another order."""

COUNT = 24
"""Examples of the training split."""


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def inputs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Input]:
    return caches.make_inputs(tmp_path_factory.mktemp(request.param), request.param, train=COUNT)


@pytest.fixture(scope="module")
def plain(inputs: dict[str, Input], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Return a cache of references made in one go."""
    root = tmp_path_factory.mktemp("plain") / "runs"
    return caches.make_cache(root, inputs, top=8, examples_per_shard=7)


def test_a_cache_is_shards_a_meta_and_a_report(plain: Artifact) -> None:
    names = [file.path for file in plain.manifest.files]

    shards = [f"shard-{number:05d}.safetensors" for number in range(4)]
    assert sorted(names) == sorted([*shards, "meta.json", "report.json"])
    report = verify(plain.path)
    assert not (report.extra)
    assert not (report.missing)
    assert not (report.changed)


def test_shards_follow_the_corpus(plain: Artifact) -> None:
    positions = [tensors["positions"].tolist() for tensors in caches.shard_tensors(plain)]

    assert positions == [
        list(range(7)),
        list(range(7, 14)),
        list(range(14, 21)),
        list(range(21, 24)),
    ]


def test_the_summary_counts_what_the_shards_hold(plain: Artifact) -> None:
    summary = plain.manifest.summary
    tensors = caches.shard_tensors(plain)
    tails = torch.cat([shard["tail"][:, 0] for shard in tensors])

    assert summary["rows"] == COUNT
    assert summary["tokens"] == len(tails)
    assert summary["tail_mass_mean"] == pytest.approx(float(tails.mean()), abs=1e-6)
    # tokens, taken, best, mean; expected, lse, tail; ids and float16 gaps of 8 entries
    assert summary["bytes_per_token"] == 4 * 4 + 3 * 4 + 8 * (4 + 2)
    assert summary["signature"].startswith("teacher:teacher|top:8|temp:1.0|tok:")


def test_the_meta_says_what_was_cached(inputs: dict[str, Input], plain: Artifact) -> None:
    policy = load_policy(inputs["teacher"].path)

    meta = read_meta(plain.path)

    assert meta.layout.tokenizer == policy.fingerprint
    assert meta.layout.vocabulary == policy.vocabulary
    assert (meta.completions, meta.split, meta.rows) == ("references", "train", COUNT)


def test_the_same_run_gives_the_same_bytes(
    inputs: dict[str, Input], plain: Artifact, tmp_path: Path
) -> None:
    again = caches.make_cache(tmp_path / "runs", inputs, top=8, examples_per_shard=7)

    assert again.digest == plain.digest


@pytest.mark.parametrize(
    "changed", [{"tokens_per_batch": 1}, {"tokens_per_batch": 50}, {"chunk_tokens": 3}], ids=str
)
def test_how_rows_are_batched_changes_numbers_by_rounding_only(
    inputs: dict[str, Input], plain: Artifact, tmp_path: Path, changed: dict[str, int]
) -> None:
    settings: dict[str, Any] = {"top": 8, "examples_per_shard": 7, **changed}

    other = caches.make_cache(tmp_path / "runs", inputs, **settings)

    for one, two in zip(caches.shard_tensors(plain), caches.shard_tensors(other), strict=True):
        for name in ("offsets", "positions", "prompts", "tokens"):
            assert torch.equal(one[name], two[name])
        for name in ("taken", "best", "mean", "expected", "lse", "tail"):
            torch.testing.assert_close(one[name], two[name], atol=TOLERANCE, rtol=0)


def test_the_order_of_the_corpus_changes_numbers_by_rounding_only(
    inputs: dict[str, Input], plain: Artifact, tmp_path: Path
) -> None:
    examples = read_split(inputs["corpus"].path, "train")
    folder = tmp_path / "reversed"
    folder.mkdir()
    lines = [msgspec.json.encode(example) + b"\n" for example in reversed(examples)]
    (folder / "train.jsonl").write_bytes(b"".join(lines))

    turned = caches.inputs_of(inputs["teacher"].path, folder)
    other = caches.make_cache(tmp_path / "runs", turned, top=8, examples_per_shard=7)

    one, two = by_position(plain), by_position(other)
    for position, lse in one.items():
        torch.testing.assert_close(two[COUNT - 1 - position], lse, atol=TOLERANCE, rtol=0)


def by_position(artifact: Artifact) -> dict[int, torch.Tensor]:
    """Return the log-sum-exps of every row."""
    found: dict[int, torch.Tensor] = {}
    for tensors in caches.shard_tensors(artifact):
        parts = tensors["lse"].split(tensors["offsets"].diff().tolist())
        found |= dict(zip(tensors["positions"].tolist(), parts, strict=True))
    return found


@pytest.mark.parametrize("stop_after", [3, 9, 15, 24], ids=lambda rows: f"after {rows} rows")
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    inputs: dict[str, Input], plain: Artifact, tmp_path: Path, stop_after: int
) -> None:
    settings: dict[str, Any] = {"top": 8, "examples_per_shard": 7}
    with pytest.raises(caches.Stopped):
        caches.make_cache(
            tmp_path / "runs",
            inputs,
            reporter=caches.CountingReporter(stop_after=stop_after),
            **settings,
        )
    second = caches.CountingReporter()

    resumed = caches.make_cache(tmp_path / "runs", inputs, reporter=second, **settings)

    finished = (stop_after - 1) // 7 * 7
    assert resumed.digest == plain.digest
    assert (second.done, second.rows) == (finished, COUNT - finished)


def test_progress_counts_every_token_once(inputs: dict[str, Input], tmp_path: Path) -> None:
    reporter = caches.CountingReporter()

    artifact = caches.make_cache(tmp_path / "runs", inputs, reporter=reporter, top=2)

    assert (reporter.rows, reporter.tokens) == (COUNT, artifact.manifest.summary["tokens"])


def test_pseudo_targets_are_scored_as_the_ids_they_are(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    policy = load_policy(inputs["teacher"].path)

    artifact = caches.make_cache(tmp_path / "runs", inputs, top=2, completions="pseudo-targets")

    (tensors,) = caches.shard_tensors(artifact)
    rows = [part.tolist() for part in tensors["tokens"].split(tensors["offsets"].diff().tolist())]
    assert rows[:4] == [[7, 7, 9, policy.eos_id], [7, 7, 9], [7, 8, 9, policy.eos_id], [7, 8, 9]]


def test_a_cache_of_pseudo_targets_reads_back_as_the_live_teacher(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    policy = load_policy(inputs["teacher"].path)
    texts = [
        msgspec.json.decode(line, type=Generation)
        for line in (inputs["pseudo-targets"].path / "pseudo-targets.jsonl")
        .read_bytes()
        .splitlines()
    ]
    examples = read_split(inputs["corpus"].path, "train")
    rows = pseudo_target_rows(policy, examples, texts, caches.LIMITS).rows
    artifact = caches.make_cache(
        tmp_path / "runs", inputs, top=2, completions="pseudo-targets", examples_per_shard=5
    )

    batch = collate([rows[i] for i in (11, 0, 5)], pad_id=policy.pad_id, source="teacher")
    read = CachedTeacher(artifact.path, name="texts").signal(batch, Needs(teacher="stats"))

    live = LiveTeacher(policy).signal(batch, Needs(teacher="stats"))
    torch.testing.assert_close(read.taken_BT, live.taken_BT, atol=TOLERANCE, rtol=0)


def test_without_entries_only_statistics_are_kept(inputs: dict[str, Input], tmp_path: Path) -> None:
    artifact = caches.make_cache(tmp_path / "runs", inputs, top=0)

    (tensors,) = caches.shard_tensors(artifact)
    assert tensors["ids"].shape[1] == 0
    assert artifact.manifest.summary["tail_mass_mean"] == 1.0


def test_all_entries_leave_no_tail(inputs: dict[str, Input], tmp_path: Path) -> None:
    vocabulary = load_policy(inputs["teacher"].path).vocabulary

    artifact = caches.make_cache(tmp_path / "runs", inputs, top=vocabulary)

    assert artifact.manifest.summary["tail_mass_mean"] == 0.0


def test_the_report_gives_the_tail_at_every_temperature(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    artifact = caches.make_cache(tmp_path / "runs", inputs, top=4, temperatures=(1.0, 4.0))

    tails = caches.report_of(artifact)["tail_mass_mean"]
    assert list(tails) == ["1.0", "4.0"]
    # a hotter teacher leaves more to the others
    assert tails["4.0"] > tails["1.0"]


def test_shards_never_grow_past_their_bytes(
    inputs: dict[str, Input], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_teacher, "SHARD_BYTES", 3000)

    artifact = caches.make_cache(tmp_path / "runs", inputs, top=8)

    meta = read_meta(artifact.path)
    assert len(meta.shards) > 1
    assert all(entry.tokens * meta.layout.bytes_per_token <= 3000 for entry in meta.shards)
    assert sum(entry.rows for entry in meta.shards) == COUNT


def test_the_plan_says_rows_tokens_bytes_and_shards(
    inputs: dict[str, Input], plain: Artifact
) -> None:
    spec = CacheTeacherSpec(top=8, examples_per_shard=7)

    ((label, text),) = cache_teacher.plan(spec, inputs)

    tokens = plain.manifest.summary["tokens"]
    assert label == "plan"
    # so small a corpus is counted, not estimated
    assert f"{COUNT} references of split train, about {tokens:,} tokens -> 4 shards" in text
    assert "(76 B/token)" in text


def test_the_plan_counts_pseudo_targets_exactly(inputs: dict[str, Input]) -> None:
    spec = CacheTeacherSpec(completions="pseudo-targets")

    ((_label, text),) = cache_teacher.plan(spec, inputs)

    assert "16 pseudo-targets of split train, 56 tokens -> 1 shards" in text
