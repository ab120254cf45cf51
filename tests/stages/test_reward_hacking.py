"""A reward a student exploits, in a run of real models: K = 1 with the maximum as value.

Nothing is contrived. Every token that is not the teacher's favourite costs q - max < 0, so a short
text costs less than a long one, and the student finds out that it may stop before it is done.
"""

from pathlib import Path

import distilling
import pytest
import tiny

from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import DistillSpec, OptimizerSpec, RolloutSpec, TrainSpec, ValidationSpec
from ketchup_cli.store.artifact import Artifact
from ketchup_cli.store.layout import Store

EVERY = 3
GUARD = 3
JUDGED = 24
LONGEST = 24
"""Tokens of a text at most."""


def trained(folder: Path, name: str, *, seed: int, updates: int) -> Path:
    """Return a T5 that learnt the references for so many updates."""
    spec = TrainSpec(
        updates=updates,
        tokens_per_batch=600,
        dropout=0.0,
        label_smoothing=0.0,
        checkpoint_every=0,
        optimizer=OptimizerSpec(learning_rate=1e-2, warmup=5),
        validation=ValidationSpec(metric="loss", every=0, examples=JUDGED),
        device="cpu",
    )
    start = tiny.make_policy_folder(folder / f"{name}-start", seed=seed)
    given = tiny.inputs(corpus=folder / "corpus", student=start)
    return tiny.run_stage(Store.open(folder / "runs"), "train", spec, given).path


def exploiting() -> DistillSpec:
    """Return the settings under which the reward is exploited."""
    return distilling.make_spec(
        {"name": "ketchup", "k": 1, "value": "max"},
        updates=60,
        checkpoint_every=0,
        optimizer=OptimizerSpec(learning_rate=3e-4, warmup=0, schedule="constant"),
        validation=ValidationSpec(
            metric="chrf",
            every=EVERY,
            guard=GUARD,
            examples=JUDGED,
            max_new_tokens=LONGEST,
            probe=0,
        ),
        rollout=RolloutSpec(prompts=24, samples=4, max_new_tokens=LONGEST, unfinished="terminal"),
    )


@pytest.fixture(scope="module")
def hacked(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A student that learnt from a teacher with K = 1 and the maximum as value."""
    folder = tmp_path_factory.mktemp("hacked")
    tiny.make_corpus(folder / "corpus", train=96, dev=JUDGED)
    given = tiny.inputs(
        corpus=folder / "corpus",
        teacher=trained(folder, "teacher", seed=1, updates=200),
        student=trained(folder, "student", seed=0, updates=120),
    )
    return distilling.run(folder, exploiting(), given)


def judged(artifact: Artifact, name: str) -> list[float]:
    """Return a figure of the last validations, those the guard looked at."""
    return [line[name] for line in distilling.log_of(artifact, "validation")][-GUARD - 1 :]


def between_validations(artifact: Artifact, name: str) -> list[float]:
    """Return the means of a figure of the updates before each of these validations."""
    values = [line[name] for line in distilling.log_of(artifact)]
    means = [sum(values[at : at + EVERY]) / EVERY for at in range(0, len(values), EVERY)]
    return means[-GUARD - 1 :]


def test_the_return_rises_while_the_metric_falls(hacked: Artifact) -> None:
    returns, metrics = between_validations(hacked, "return"), judged(hacked, "chrf")

    assert len(returns) == len(metrics) == GUARD + 1
    assert returns == sorted(set(returns))
    assert metrics == sorted(set(metrics), reverse=True)


def test_the_student_learnt_to_stop_early(hacked: Artifact) -> None:
    sampled, decoded = between_validations(hacked, "student_length"), judged(hacked, "length_ratio")

    assert sampled[-1] < 0.8 * sampled[0]
    assert decoded[-1] < 0.95 * decoded[0]  # how far differs from processor to processor
    assert decoded[-1] < 1


def test_the_run_ends_long_before_its_last_update(hacked: Artifact) -> None:
    summary = hacked.manifest.summary

    assert summary["ended"] == "reward hacking"
    assert summary["updates"] <= 30


def test_the_sentence_says_what_happened_with_its_figures(hacked: Artifact) -> None:
    returns, metrics = between_validations(hacked, "return"), judged(hacked, "chrf")

    assert hacked.manifest.summary["sentence"].startswith(
        f"stopped at update {hacked.manifest.summary['updates']}: the return rose from"
        f" {returns[0]:.3g} to {returns[-1]:.3g} while dev chrf fell from {metrics[0]:.2f} to"
        f" {metrics[-1]:.2f}; the student exploits the reward. kept update"
    )


def test_what_is_kept_is_the_student_before_it_fell(hacked: Artifact) -> None:
    summary = hacked.manifest.summary

    assert summary["best"] == pytest.approx(
        max(line["chrf"] for line in distilling.log_of(hacked, "validation")), abs=1e-4
    )
    assert summary["best_update"] < summary["updates"]
    assert load_policy(hacked.path, device="cpu").kind == "encoder-decoder"
