import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.specs import DecodingSpec, GenerateSpec
from ketchup_cli.stages import generate
from ketchup_cli.store.find import Artifact
from ketchup_cli.store.layout import Store

SPEC = GenerateSpec(
    split="train",
    decoding=DecodingSpec(method="sample", texts=2, max_new_tokens=12),
    examples_per_shard=5,
    tokens_per_batch=60,
)


def make_inputs(folder: Path, architecture: str = "t5") -> dict:
    return tiny.inputs(
        corpus=tiny.make_corpus(folder / "corpus"),
        model=tiny.make_policy_folder(folder / "model", architecture),
    )


def files(artifact: Artifact) -> list[str]:
    return sorted(item.name for item in artifact.path.iterdir() if item.name != "manifest.json")


@dataclass(frozen=True)
class Straight:
    """What `SPEC` makes where nothing happens to it, and of what."""

    given: dict
    artifact: Artifact


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Straight]:
    """Runs it once for each family."""

    @cache
    def run(architecture: str = "t5") -> Straight:
        folder = tmp_path_factory.mktemp("straight")
        given = make_inputs(folder, architecture)
        artifact = tiny.run_stage(Store.open(folder / "runs"), "generate", SPEC, given)
        return Straight(given, artifact)

    return run


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_every_prompt_has_its_texts_in_corpus_order(
    architecture: str, straight: Callable[[str], Straight]
) -> None:
    made = straight(architecture)
    artifact = made.artifact
    rows = corpora.read_generations(artifact.path / "generations.jsonl")
    examples = corpora.read_split(made.given["corpus"].path, "train")

    assert [(row.id, row.sample) for row in rows] == [
        (example.id, sample) for example in examples for sample in (0, 1)
    ]
    assert files(artifact) == ["generations.jsonl", "report.json"]


def test_a_resumed_run_makes_the_same_bytes_as_a_straight_one(
    tmp_path: Path, straight: Callable[[str], Straight]
) -> None:
    whole = straight("t5")
    given = whole.given
    store = Store.open(tmp_path / "resumed")
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "generate", SPEC, given, reporter=tiny.InterruptingReporter(12))
    (part,) = store.staging.glob("*/state/part-00000.jsonl")
    touched = part.stat().st_mtime_ns
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "generate", SPEC, given, reporter=tiny.InterruptingReporter(5))
    kept = part.stat().st_mtime_ns
    resumed = tiny.run_stage(store, "generate", SPEC, given)

    assert resumed.digest == whole.artifact.digest
    assert kept == touched


def test_the_size_of_parts_and_batches_does_not_change_the_samples(
    tmp_path: Path, straight: Callable[[str], Straight]
) -> None:
    whole = straight("t5")
    store = Store.open(tmp_path / "runs")
    other = GenerateSpec(
        split="train", decoding=SPEC.decoding, examples_per_shard=100, tokens_per_batch=4000
    )
    found = [
        corpora.read_generations(artifact.path / "generations.jsonl")
        for artifact in (
            whole.artifact,
            tiny.run_stage(store, "generate", other, whole.given),
        )
    ]

    assert [row.tokens for row in found[0]] == [row.tokens for row in found[1]]


def test_the_report_counts_texts(straight: Callable[[str], Straight]) -> None:
    artifact = straight("t5").artifact
    rows = corpora.read_generations(artifact.path / "generations.jsonl")
    report = json.loads((artifact.path / "report.json").read_bytes())

    assert report["texts"] == len(rows) == 48
    assert report["tokens"] == sum(len(row.tokens) for row in rows)
    assert report["unfinished"] == sum(row.stop == "length" for row in rows)
    assert artifact.manifest.summary["texts_per_s"] > 0


def test_skipped_prompts_are_counted(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    spec = GenerateSpec(
        split="train",
        decoding=DecodingSpec(max_new_tokens=4),
        max_prompt_tokens=10,
        too_long="skip",
    )
    artifact = tiny.run_stage(Store.open(tmp_path / "runs"), "generate", spec, given)
    summary = artifact.manifest.summary

    assert 0 < summary["skipped_prompts"] < 24
    assert summary["texts"] == 24 - summary["skipped_prompts"]


@pytest.mark.parametrize(("too_long", "message"), [("error", "limits are 1"), ("skip", "24 were")])
def test_prompts_that_are_all_too_long_are_an_error(
    too_long: str, message: str, tmp_path: Path
) -> None:
    spec = GenerateSpec(split="train", max_prompt_tokens=1, too_long=too_long)

    with pytest.raises(DataError, match=message):
        tiny.run_stage(Store.open(tmp_path / "runs"), "generate", spec, make_inputs(tmp_path))


def test_the_plan_tells_decoding_and_size(tmp_path: Path) -> None:
    lines = dict(generate.plan(SPEC, make_inputs(tmp_path)))

    assert lines["decoding"] == "samples at temperature 1, top-k 0, top-p 1, seed 0"
    assert lines["plan"] == "24 prompts of split train x 2 -> at most 576 tokens in 5 parts"


def test_a_split_that_is_not_there_is_refused_by_the_plan(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`tset` is not a split"):
        generate.plan(GenerateSpec(split="tset"), make_inputs(tmp_path))
