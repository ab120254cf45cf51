"""Rehearsal of stored rollouts inside training, with no reference model in memory."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import distilling
import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.specs import DecodingSpec, RehearsalSpec, RewardSpec, RolloutsSpec
from ketchup_cli.store.layout import Store

DPH = {"name": "dph_rl", "coefficient": 0.5}
ALONE = {**DPH, "prefixes": "rehearsal"}
REWARD = RewardSpec(shaped="letters:e", threshold=0.1, cut="judged")
HALF = RehearsalSpec(threshold=0.5)
LETTERS = "def e(prompt, text, refs):\n    return min(1.0, text.count('e') / 10)\n"


def sampled(folder, inputs, **decoding):
    """Return rollouts of the student itself as an input of `distill`."""
    settings = {"method": "sample", "texts": 5, "max_new_tokens": 6} | decoding
    spec = RolloutsSpec(decoding=DecodingSpec(**settings), reward=REWARD)
    used = {
        "corpus": inputs["corpus"],
        "model": replace(inputs["student"], role="model"),
        "reward.letters": inputs["reward.letters"],
    }
    artifact = tiny.run_stage(Store.open(folder / "rollouts"), "rollout", spec, used)
    return tiny.inputs(rollouts=artifact.path)["rollouts"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    from ketchup_cli.store.find import file_input

    folder = tmp_path_factory.mktemp("models")
    path = folder / "letters.py"
    path.write_text(LETTERS, encoding="utf-8")
    inputs = distilling.make_inputs(folder)
    inputs = {role: inputs[role] for role in ("corpus", "student")}
    inputs["reward.letters"] = file_input(path, "reward.letters")
    return inputs | {"rollouts": sampled(folder, inputs)}


def run(folder, given, table=DPH, **changes):
    spec = distilling.make_spec(table, **({"reward": REWARD, "rehearsal": HALF} | changes))
    return distilling.run(folder, spec, given)


def test_known_prompts_are_rehearsed_and_the_others_explored(given, tmp_path):
    lines = distilling.log_of(run(tmp_path, given))

    # the student wrote what it rehearses: at first nothing is forgotten
    assert lines[0]["divergence_rehearsal"] == pytest.approx(0, abs=1e-5)
    assert lines[-1]["rehearsal_tokens"] > 0
    assert all(0 <= line["student_correct"] <= 1 for line in lines)


def test_rehearsal_alone_needs_no_reward_and_writes_nothing(given, tmp_path):
    lines = distilling.log_of(run(tmp_path, given, ALONE, reward=RewardSpec()))

    assert not any("student_tokens" in line for line in lines)


def test_a_student_that_is_not_who_wrote_may_differ(given, tmp_path):
    other = tiny.make_policy_folder(tmp_path / "other", seed=3)
    changed = given | {"student": tiny.inputs(student=other)["student"]}
    lines = distilling.log_of(run(tmp_path, changed, ALONE))

    assert lines[0]["divergence"] > 0.01


def tampered(folder, given, change):
    """Return the rollouts with every row changed, the manifest left as it was."""
    shutil.copytree(given["rollouts"].path, folder / "tampered")
    path = folder / "tampered" / "rollouts.jsonl"
    rows = [change(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return given | {"rollouts": replace(given["rollouts"], path=folder / "tampered")}


def test_log_probabilities_of_another_template_are_refused(given, tmp_path):
    def change(row):
        return row | {"logps": [logp - 0.01 for logp in row["logps"]]}

    with pytest.raises(MismatchError, match=r"another log-probability, by up to 0\.01"):
        run(tmp_path, tampered(tmp_path, given, change))


def test_samples_of_a_bent_distribution_are_refused(given, tmp_path):
    bent = sampled(tmp_path, given, temperature=0.7)

    with pytest.raises(MismatchError, match=r"drawn at temperature 0.7, top_k 0, top_p 1"):
        run(tmp_path, given | {"rollouts": bent})


@pytest.mark.parametrize(
    ("threshold", "message"),
    [(0.0, "none is left to explore"), (1.0, "no right sample of a known prompt")],
    ids=["all are known", "none is known"],
)
def test_a_side_without_prompts_is_refused(threshold, message, given, tmp_path):
    settings = RehearsalSpec(threshold=threshold)

    def wrong(row):
        return row | {"correct": row["correct"] and threshold == 0.0}

    with pytest.raises(SpecError, match=message):
        run(tmp_path, tampered(tmp_path, given, wrong), rehearsal=settings)


def test_prompts_without_samples_are_explored(given):
    from ketchup_cli.rewards.partition import partition
    from ketchup_cli.stages.rehearsing import Stored

    rows = corpora.read_rollouts(Path(given["rollouts"].path) / "rollouts.jsonl")
    examples = corpora.read_split(given["corpus"].path, "train")
    parted = partition([row for row in rows if row.id == examples[0].id], threshold=0.0, held=0)
    stored = Stored(parted=parted, label="x", writer=None)

    assert stored.explored(examples) == examples[1:]
