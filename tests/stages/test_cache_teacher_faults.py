import os
from pathlib import Path
from types import SimpleNamespace

import caches
import pytest
import tiny
import torch

from ketchup_cli.errors import DataError, MismatchError, NonFiniteError, NoSpace, SpecError
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.encode import collate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Needs
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.stages import cache_teacher
from ketchup_cli.store.artifact import Input

TOLERANCE = 1e-5
"""Batches of another shape add float32 numbers in another order."""

COUNT = 24
"""Examples of the training split."""


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def inputs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Input]:
    return caches.make_inputs(tmp_path_factory.mktemp(request.param), request.param, train=COUNT)


SIZES = {"skip": (0, 1), "truncate": (1, 0)}


@pytest.mark.parametrize("too_long", SIZES)
def test_rows_that_are_too_long_are_counted(
    inputs: dict[str, Input], tmp_path: Path, too_long: str
) -> None:
    policy = load_policy(inputs["teacher"].path)
    lengths = [len(row.completion) for row in caches.rows_of(policy, inputs["corpus"].path)]
    limit = sorted(lengths)[len(lengths) // 2]
    over = sum(length > limit for length in lengths)

    artifact = caches.make_cache(
        tmp_path / "runs", inputs, top=2, max_completion_tokens=limit, too_long=too_long
    )

    report = caches.report_of(artifact)
    assert over > 0
    truncated, skipped = (over * share for share in SIZES[too_long])
    assert (report["truncated"], report["skipped"]) == (truncated, skipped)
    assert report["rows"] == COUNT - skipped


def test_after_skipped_rows_the_others_are_still_found(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    policy = load_policy(inputs["teacher"].path)
    rows = caches.rows_of(policy, inputs["corpus"].path)
    limit = sorted(len(row.completion) for row in rows)[len(rows) // 2]
    kept = [row for row in rows if len(row.completion) <= limit]
    artifact = caches.make_cache(
        tmp_path / "runs",
        inputs,
        top=2,
        max_completion_tokens=limit,
        too_long="skip",
        examples_per_shard=5,
    )

    batch = collate(kept[::-1], pad_id=policy.pad_id, source="data")
    read = CachedTeacher(artifact.path, name="short").signal(batch, Needs(teacher="stats"))

    live = LiveTeacher(policy).signal(batch, Needs(teacher="stats"))
    torch.testing.assert_close(read.lse_BT, live.lse_BT, atol=TOLERANCE, rtol=0)


def test_a_row_that_is_too_long_is_an_error_unless_said_otherwise(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="the limits are") as raised:
        caches.make_cache(tmp_path / "runs", inputs, max_completion_tokens=3)
    assert "too_long=skip" in (raised.value.hint or "")


def test_nothing_left_to_cache_is_an_error(inputs: dict[str, Input], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"all {COUNT} rows"):
        caches.make_cache(tmp_path / "runs", inputs, max_completion_tokens=1, too_long="skip")


BAD = {
    "more entries than the vocabulary": ({"top": 10**6}, "vocabulary has"),
    "a temperature twice": ({"temperatures": (1.0, 1.0)}, "name each once"),
    "no temperature": ({"temperatures": ()}, "at least one"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_make_no_sense_are_refused_before_any_work(
    name: str, inputs: dict[str, Input]
) -> None:
    settings, words = BAD[name]

    with pytest.raises(SpecError, match=words) as raised:
        cache_teacher.plan(CacheTeacherSpec(**settings), inputs)
    assert (raised.value.hint or "").startswith("--set")


def test_a_teacher_of_nan_stops_the_run_and_leaves_no_shard(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    policy = load_policy(inputs["teacher"].path)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[-1] = float("nan")
    folder = tmp_path / "broken"
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    broken = caches.inputs_of(folder, inputs["corpus"].path)

    with pytest.raises(NonFiniteError, match="not finite"):
        caches.make_cache(tmp_path / "runs", broken)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_a_disk_too_small_is_noticed_before_the_first_shard(
    inputs: dict[str, Input], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=1, f_frsize=4096))
    reporter = caches.CountingReporter()

    with pytest.raises(NoSpace):
        caches.make_cache(tmp_path / "runs", inputs, reporter=reporter)
    assert reporter.rows == 0


def test_an_unknown_split_is_named_with_those_there_are(inputs: dict[str, Input]) -> None:
    with pytest.raises(SpecError, match="`dev`"):
        cache_teacher.plan(CacheTeacherSpec(split="de"), inputs)


def test_pseudo_targets_of_another_split_are_refused(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    with pytest.raises(MismatchError, match="belongs to no example"):
        caches.make_cache(tmp_path / "runs", inputs, completions="pseudo-targets", split="dev")
