import json
from pathlib import Path

import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import RewardError, SpecError
from ketchup_cli.scoring import bleu
from ketchup_cli.specs import DecodingSpec, RewardSpec, RolloutsSpec
from ketchup_cli.stages import rollout
from ketchup_cli.store.find import Artifact, file_input
from ketchup_cli.store.layout import Store

DECODING = DecodingSpec(method="sample", texts=4, max_new_tokens=8)
OWN = """
def half(prompt, completion, references):
    if not completion:
        raise ValueError("nothing was written")
    return len(completion) % 2
"""


def make_spec(**changes) -> RolloutsSpec:
    settings = {
        "decoding": DECODING,
        "examples": 6,
        "examples_per_shard": 2,
        "reward": RewardSpec(shaped="bleu", cut="judged"),
    }
    return RolloutsSpec(**(settings | changes))


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("inputs")
    own = folder / "own.py"
    own.write_text(OWN, encoding="utf-8")
    inputs = tiny.inputs(
        corpus=tiny.make_corpus(folder / "corpus"), model=tiny.make_policy_folder(folder / "model")
    )
    return inputs | {"reward.own": file_input(own, "reward.own")}


def made(folder: Path, spec: RolloutsSpec, given: dict, name: str = "runs", **more) -> Artifact:
    return tiny.run_stage(Store.open(folder / name), "rollout", spec, given, **more)


def rows_of(artifact: Artifact):
    return corpora.read_rollouts(artifact.path / "rollouts.jsonl")


def report_of(artifact: Artifact) -> dict:
    return json.loads((artifact.path / "report.json").read_bytes())


def test_every_prompt_has_its_samples_with_what_they_earned(given, tmp_path):
    artifact = made(tmp_path, make_spec(), given)
    rows = rows_of(artifact)
    examples = corpora.read_split(given["corpus"].path, "train")[:6]
    references = {example.id: example.references for example in examples}
    (measured,) = bleu.measure(
        ["bleu"], [row.text for row in rows], [references[row.id] for row in rows]
    )

    assert [(row.id, row.sample) for row in rows] == [
        (example.id, number) for example in examples for number in range(4)
    ]
    assert [row.reward for row in rows] == [value / 100 for value in measured.items]


def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(given, tmp_path):
    straight = made(tmp_path, make_spec(), given)
    with pytest.raises(tiny.Interrupted):
        made(tmp_path, make_spec(), given, "again", reporter=tiny.InterruptingReporter(3))
    resumed = made(tmp_path, make_spec(), given, "again")

    assert resumed.digest == straight.digest


def test_without_a_reward_there_is_none_in_the_rows(given, tmp_path):
    artifact = made(tmp_path, make_spec(reward=RewardSpec()), given)

    assert {(row.correct, row.reward) for row in rows_of(artifact)} == {(None, None)}
    assert "correct" not in report_of(artifact)


def test_the_report_counts_what_is_right_and_what_failed(given, tmp_path):
    spec = make_spec(reward=RewardSpec(correct="own:half", cut="judged"))
    artifact = made(tmp_path, spec, given)
    rows, report = rows_of(artifact), report_of(artifact)
    failed = [row for row in rows if row.failure]

    assert report["judged"] == len(rows) - len(failed)
    assert report["failed"] == ({"raised": len(failed)} if failed else {})
    assert report["correct"] == sum(bool(row.correct) for row in rows) / report["judged"]
    assert report["sampling"] == {"samples": 4, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    assert sum(report["right_of_each"].values()) <= 6


def test_pass_at_1_is_the_share_of_right_samples(given, tmp_path):
    spec = make_spec(reward=RewardSpec(shaped="rouge1", threshold=0.01, cut="judged"))
    report = report_of(made(tmp_path, spec, given))

    assert report["pass_at"]["1"] == pytest.approx(report["correct"])
    assert report["pass_at"]["4"] >= report["pass_at"]["1"]


def test_a_failure_may_be_the_end(given, tmp_path):
    path = tmp_path / "own.py"
    path.write_text("def f(prompt, completion, references):\n    return None\n", encoding="utf-8")
    spec = make_spec(reward=RewardSpec(shaped="own:f", failed="error", cut="judged"))

    with pytest.raises(RewardError, match="not a number: NoneType"):
        made(tmp_path, spec, given | {"reward.own": file_input(path, "reward.own")})


def test_the_plan_says_what_is_rewarded(given):
    lines = dict(rollout.plan(make_spec(), given))

    assert lines["reward"] == "right: bleu of 1 and more; earns: bleu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoding": DecodingSpec(method="beam")}, "rollouts are samples"),
        ({"reward": RewardSpec(correct="regex")}, "has no `reward.pattern`"),
        ({"split": "tset"}, "is not a split"),
    ],
    ids=["beams", "no pattern", "no split"],
)
def test_what_makes_no_sense_is_refused_by_the_plan(changes, message, given):
    with pytest.raises(SpecError, match=message):
        rollout.plan(make_spec(**changes), given)
