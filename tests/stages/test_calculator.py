"""A calculator in the stages that let a model write: what they store and what they count."""

import json
from pathlib import Path

import calculating
import msgspec
import pytest
import tiny
from golden import NO_PROJECT

from ketchup_cli import corpora
from ketchup_cli.cli.settings import calculator_flag, resolve_settings
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import identity
from ketchup_cli.specs import DecodingSpec, FiltersSpec, GenerateSpec, RolloutsSpec, SeqkdSpec
from ketchup_cli.stages import STAGES, generate, rollout
from ketchup_cli.store.find import Artifact
from ketchup_cli.store.layout import Store

SAMPLED = DecodingSpec(method="sample", texts=3, max_new_tokens=calculating.LENGTH, calculator=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sums")
    calculating.make_folder(folder / "model")
    calculating.make_corpus(folder / "corpus")
    return folder


def made(folder: Path, stage: str, spec, *, role: str = "model", runs: str = "runs") -> Artifact:
    given = tiny.inputs(corpus=folder / "corpus", **{role: folder / "model"})
    return tiny.run_stage(Store.open(folder / runs), stage, spec, given)


def report_of(artifact: Artifact) -> dict:
    return json.loads((artifact.path / "report.json").read_bytes())


def test_generate_counts_what_became_of_expressions(folder: Path) -> None:
    spec = GenerateSpec(split="test", decoding=SAMPLED)
    report = report_of(made(folder, "generate", spec))
    alone = GenerateSpec(split="test", decoding=msgspec.structs.replace(SAMPLED, calculator=False))

    assert report["expressions"]["completed"] > 3
    assert report["expressions"]["begun otherwise"] == 0
    assert report["decoding"].endswith(", with a calculator")
    assert "expressions" not in report_of(made(folder, "generate", alone))


def test_the_plan_says_that_there_is_a_calculator(folder: Path) -> None:
    given = tiny.inputs(corpus=folder / "corpus", model=folder / "model")
    lines = dict(generate.plan(GenerateSpec(decoding=SAMPLED), given))

    assert lines["decoding"].endswith(", with a calculator")


def test_seqkd_keeps_completed_text(folder: Path) -> None:
    spec = SeqkdSpec(decoding=SAMPLED, filters=FiltersSpec(unfinished=False))
    artifact = made(folder, "seqkd", spec, role="teacher")
    rows = corpora.read_generations(artifact.path / corpora.PSEUDO_TARGETS)

    assert report_of(artifact)["expressions"]["completed"] > 3
    assert any(">>" in row.text for row in rows)


def test_rollouts_hold_the_places_of_forced_tokens_and_count_them(folder: Path) -> None:
    spec = RolloutsSpec(decoding=SAMPLED, examples_per_shard=2)
    artifact = made(folder, "rollout", spec)
    rows = corpora.read_rollouts(artifact.path / rollout.ROLLOUTS)

    assert report_of(artifact)["forced_tokens"] == sum(len(row.put) for row in rows) > 0
    assert all(row.logps[place] == 0 for row in rows for place in row.put)
    assert report_of(artifact)["sampling"]["calculator"] is True


def test_a_model_that_cannot_write_sums_is_refused_in_one_sentence(tmp_path: Path) -> None:
    calculating.make_corpus(tmp_path / "corpus")
    tiny.make_policy_folder(tmp_path / "words", "t5")
    given = tiny.inputs(corpus=tmp_path / "corpus", model=tmp_path / "words")

    with pytest.raises(SpecError, match="tokenizer cannot write"):
        tiny.run_stage(
            Store.open(tmp_path / "runs"), "generate", GenerateSpec(decoding=SAMPLED), given
        )


def test_a_setting_that_is_off_is_no_part_of_an_id() -> None:
    assert "calculator" not in identity(GenerateSpec())["decoding"]
    assert identity(GenerateSpec(decoding=SAMPLED))["decoding"]["calculator"] is True


@pytest.mark.parametrize("name", ["generate", "rollout", "seqkd"])
def test_the_flag_is_the_setting(name: str) -> None:
    layers = calculator_flag("decoding", asked=True)
    settings = resolve_settings(STAGES[name], NO_PROJECT, layers)

    assert settings.spec.decoding.calculator
    assert settings.origins["decoding.calculator"] == "--calculator"
