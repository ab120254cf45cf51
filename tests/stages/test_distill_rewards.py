"""Rewards inside training: whom they reach, what fails, and that a run resumes with them."""

import distilling
import pytest
import tiny
import torch

from ketchup_cli.errors import RewardError, SpecError
from ketchup_cli.specs import ReplaySpec, RewardSpec, RolloutSpec
from ketchup_cli.stages import distill
from ketchup_cli.store.find import file_input

KDRL = {"name": "kdrl", "coefficient": 0.1}
BLEU = RewardSpec(shaped="rouge1", threshold=0.05, cut="judged")
OWN = """
def odd(prompt, completion, references):
    if len(completion) % 3 == 0:
        raise ValueError("a third of all lengths")
    return len(completion) % 2

def never(prompt, completion, references):
    return None
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    own = folder / "own.py"
    own.write_text(OWN, encoding="utf-8")
    return distilling.make_inputs(folder) | {"reward.own": file_input(own, "reward.own")}


def without(inputs, *roles):
    return {role: item for role, item in inputs.items() if role not in roles}


def test_what_is_earned_is_logged_beside_what_is_right(given, tmp_path):
    artifact = distilling.run(tmp_path, distilling.make_spec(KDRL, reward=BLEU), given)
    lines = distilling.log_of(artifact)

    assert all(0 <= line["student_correct"] <= 1 for line in lines)
    assert all(line["return"] == pytest.approx(line["student_reward"]) for line in lines)
    assert artifact.manifest.summary["failed_rewards"] == {}


def test_a_resumed_run_equals_one_that_was_never_stopped(given, tmp_path):
    spec = distilling.make_spec(KDRL, reward=BLEU)
    straight = distilling.run(tmp_path, spec, given)
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(
            distilling.Store.open(tmp_path / "again"),
            "distill",
            spec,
            given,
            reporter=tiny.InterruptingReporter(2),
        )
    resumed = distilling.run(tmp_path, spec, given, "again")

    assert resumed.digest == straight.digest


def test_completions_whose_reward_failed_are_left_out_and_counted(given, tmp_path):
    reward = RewardSpec(shaped="own:odd", cut="judged")
    artifact = distilling.run(tmp_path, distilling.make_spec(KDRL, reward=reward), given)
    lines = distilling.log_of(artifact)
    failed = artifact.manifest.summary["failed_rewards"]["raised"]

    left = sum(line["student_sequences"] for line in lines)
    assert left + failed == 3 * 12  # three updates of 6 prompts x 2 samples
    assert any(line["unrewarded"] > 0 for line in lines)


def test_a_failed_reward_may_count_as_wrong(given, tmp_path):
    reward = RewardSpec(shaped="own:odd", cut="judged", failed="wrong")
    lines = distilling.log_of(
        distilling.run(tmp_path, distilling.make_spec(KDRL, reward=reward), given)
    )

    assert {line["student_sequences"] for line in lines} == {12}
    assert {line["unrewarded"] for line in lines} == {0}


def test_a_reward_that_always_fails_ends_the_run(given, tmp_path):
    reward = RewardSpec(shaped="own:never", cut="judged")

    with pytest.raises(RewardError, match="of all 12 completions"):
        distilling.run(tmp_path, distilling.make_spec(KDRL, reward=reward), given)


def test_grpo_runs_without_a_teacher(given, tmp_path):
    spec = distilling.make_spec({"name": "kdrl", "mixer": "grpo"}, reward=BLEU)
    artifact = distilling.run(tmp_path, spec, without(given, "teacher"))

    assert "teacher_reward" not in distilling.log_of(artifact)[0]


def test_another_objective_s_completions_are_rewarded_too(given, tmp_path):
    spec = distilling.make_spec({"name": "ketchup"}, reward=BLEU)
    lines = distilling.log_of(distilling.run(tmp_path, spec, given))

    assert all("student_reward" in line for line in lines)


def test_an_objective_that_learns_from_a_reward_needs_one():
    spec = distilling.make_spec(KDRL)

    with pytest.raises(SpecError, match="`kdrl` learns from a reward, and none is named"):
        distill.plan(spec, {})


def test_a_replay_keeps_no_rewards():
    spec = distilling.make_spec(KDRL, reward=BLEU, replay=ReplaySpec(capacity=10))

    with pytest.raises(SpecError, match="keeps no rewards"):
        distill.plan(spec, {})


def test_the_plan_says_what_is_rewarded(given):
    lines = dict(distill.plan(distilling.make_spec(KDRL, reward=BLEU), given))

    assert lines["reward"] == "right: rouge1 of 0.05 and more; earns: rouge1"


def test_a_student_learns_what_is_rewarded(tmp_path):
    """GRPO alone, on the share of one letter: it must rise far above the start's."""
    own = tmp_path / "letters.py"
    own.write_text("def e(prompt, text, refs):\n    return text.count('e') / 10\n", "utf-8")
    inputs = distilling.make_inputs(tmp_path)
    spec = distilling.make_spec(
        {"name": "kdrl", "mixer": "grpo"},
        reward=RewardSpec(shaped="letters:e", cut="judged"),
        updates=10,
        checkpoint_every=0,
        optimizer=distilling.OptimizerSpec(learning_rate=6e-3, warmup=0, schedule="constant"),
        rollout=RolloutSpec(prompts=3, samples=16, max_new_tokens=6, unfinished="terminal"),
    )
    inputs |= {"reward.letters": file_input(own, "reward.letters")}
    lines = distilling.log_of(distilling.run(tmp_path, spec, inputs))
    earned = torch.tensor([line["student_reward"] for line in lines])

    assert earned[-3:].mean() > 2 * earned[:2].mean()
