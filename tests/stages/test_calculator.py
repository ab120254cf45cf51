"""A calculator in the stages that let a model write: what they store and what they count."""

import json
from pathlib import Path

import calculating
import distilling
import msgspec
import pytest
import tiny
from golden import NO_PROJECT

from ketchup_cli import corpora
from ketchup_cli.cli.settings import calculator_flag, resolve_settings
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.models.load import save_policy
from ketchup_cli.spec import identity
from ketchup_cli.specs import (
    DecodingSpec,
    FiltersSpec,
    GenerateSpec,
    RehearsalSpec,
    RewardSpec,
    RolloutSpec,
    RolloutsSpec,
    SeqkdSpec,
    ValidationSpec,
)
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


REWARD = RewardSpec(correct="regex", pattern="<<", cut="judged")
ROLLOUT = RolloutSpec(
    prompts=4,
    samples=2,
    max_new_tokens=calculating.LENGTH,
    unfinished="terminal",
    calculator=True,
)


@pytest.fixture(scope="module")
def given(folder: Path) -> dict:
    teacher = tiny.make_policy("gpt2", seed=1, examples=calculating.make_examples())
    (folder / "teacher").mkdir()
    save_policy(teacher, folder / "teacher", dtype="float32")
    spec = RolloutsSpec(decoding=SAMPLED, reward=REWARD)
    rollouts = made(folder, "rollout", spec, runs="rewarded").path
    return tiny.inputs(
        corpus=folder / "corpus",
        student=folder / "model",
        teacher=folder / "teacher",
        rollouts=rollouts,
    )


def distilled(folder: Path, given: dict, table: dict, *, roles: tuple[str, ...], **changes):
    settings = {
        "rollout": ROLLOUT,
        "updates": 1,
        "reward": REWARD,
        "rehearsal": RehearsalSpec(threshold=0.0, held=0),
        "validation": ValidationSpec(
            metric="exact", every=0, probe=0, max_new_tokens=12, calculator=True
        ),
    }
    spec = distilling.make_spec(table, **(settings | changes))
    used = {role: given[role] for role in ("corpus", "student", *roles)}
    return distilling.log_of(distilling.run(folder, spec, used))


def test_distill_takes_no_loss_on_forced_tokens_and_tells_their_share(given, tmp_path):
    (line,) = distilled(tmp_path, given, {"name": "ketchup", "k": 2}, roles=("teacher",))

    assert 0 < line["student_forced"] < 1


def test_stored_tokens_that_were_put_are_not_rehearsed(given, tmp_path):
    table = {"name": "dph_rl", "prefixes": "rehearsal"}
    (line,) = distilled(tmp_path, given, table, roles=("rollouts",))

    assert 0 < line["rehearsal_forced"] < 1
    # the student wrote them: where it chose, nothing is forgotten
    assert line["divergence"] == pytest.approx(0, abs=1e-5)


def test_exploring_without_what_samples_were_drawn_with_is_refused(given, tmp_path):
    alone = msgspec.structs.replace(ROLLOUT, calculator=False)

    with pytest.raises(MismatchError, match="drawn with a calculator, and the student") as caught:
        distilled(tmp_path, given, {"name": "dph_rl"}, roles=("rollouts",), rollout=alone)

    assert caught.value.hint == "--set rollout.calculator=true"


def test_the_flag_of_distill_sets_samples_and_validation():
    layers = calculator_flag("rollout", "validation", asked=True)
    spec = resolve_settings(STAGES["distill"], NO_PROJECT, layers).spec

    assert spec.rollout.calculator
    assert spec.validation.calculator
