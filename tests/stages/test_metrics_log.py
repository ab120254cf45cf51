"""What a run of `distill` writes to logs/metrics.jsonl: every figure one judges it by."""

import math

import distilling
import pytest

from ketchup_cli.corpora import read_split
from ketchup_cli.models.encode import Limits, encode_prompts
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.models.load import load_policy
from ketchup_cli.records import Generation
from ketchup_cli.specs import DecodingSpec, ValidationSpec
from ketchup_cli.store.artifact import Artifact

UPDATE = {
    "loss": "loss",
    "reward": "reward",
    "mean of the return": "return",
    "variance of the return": "return_variance",
    "variance of the advantage": "advantage_variance",
    "gradient norm": "gradient_norm",
    "entropy": "entropy",
    "lengths": "student_length",
    "finished share": "finished",
    "tokens per second": "tokens_per_s",
}
DEV = {
    "task metric": "bleu",
    "loss": "loss",
    "divergence on the probe": "kl_probe",
    "lengths": "length",
    "length ratio": "length_ratio",
    "brevity penalty": "brevity_penalty",
    "finished share": "finished",
}
LONGEST = 8


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("logged")
    validation = ValidationSpec(metric="bleu", every=2, examples=6, max_new_tokens=LONGEST, probe=4)
    spec = distilling.make_spec({"name": "ketchup", "k": 2}, updates=4, validation=validation)
    return distilling.run(folder, spec, distilling.make_inputs(folder))


def values(student: Artifact, name: str, event: str | None = None) -> list[float]:
    return [line[name] for line in distilling.log_of(student, event)]


@pytest.mark.parametrize("what", UPDATE)
def test_every_update_logs_it_as_a_number(what: str, student: Artifact) -> None:
    found = values(student, UPDATE[what])

    assert len(found) == 4
    assert all(isinstance(value, float) and math.isfinite(value) for value in found)


@pytest.mark.parametrize("what", DEV)
def test_every_validation_logs_it_as_a_number(what: str, student: Artifact) -> None:
    found = values(student, DEV[what], "validation")

    assert len(found) == 3
    assert all(isinstance(value, float) and math.isfinite(value) for value in found)


def test_the_log_begins_with_what_the_run_is_to_be(student: Artifact) -> None:
    (begin,) = distilling.log_of(student, "begin")

    assert (begin["updates"], begin["metric"]) == (4, "bleu")


def test_every_validation_says_whose_weights_are_kept(student: Artifact) -> None:
    kept = [line["best_update"] for line in distilling.log_of(student, "validation")]

    assert kept[0] == 0
    assert kept[-1] == student.manifest.summary["best_update"]


@pytest.mark.parametrize(
    "name", ["return_variance", "advantage_variance", "gradient_norm", "entropy", "tokens_per_s"]
)
def test_what_cannot_be_0_in_a_run_that_samples_is_above_it(name: str, student: Artifact) -> None:
    assert min(values(student, name)) > 0


def test_the_mean_length_is_tokens_by_completions(student: Artifact) -> None:
    for line in distilling.log_of(student):
        wanted = line["student_tokens"] / line["student_sequences"]

        assert line["student_length"] == pytest.approx(wanted, abs=1e-5)


def test_the_brevity_penalty_is_that_of_the_length_ratio(student: Artifact) -> None:
    for line in distilling.log_of(student, "validation"):
        ratio = line["length_ratio"]
        wanted = 1.0 if ratio >= 1 else math.exp(1 - 1 / ratio) if ratio else 0.0

        assert line["brevity_penalty"] == pytest.approx(wanted, abs=1e-4)


def test_the_length_on_dev_is_that_of_the_decoded_texts(student: Artifact) -> None:
    best = student.manifest.summary["best_update"]
    (line,) = [line for line in distilling.log_of(student, "validation") if line["update"] == best]
    answers = decoded(student)

    assert line["length"] == pytest.approx(
        sum(len(answer.tokens) for answer in answers) / len(answers)
    )


def decoded(student: Artifact) -> list[Generation]:
    """What the kept student answers to the dev prompts."""
    folder = student.path.parents[3] / "corpus"
    policy = load_policy(student.path, device="cpu")
    rows = encode_prompts(policy, read_split(folder, "dev")[:6], Limits(prompt=512)).rows
    decoding = DecodingSpec(max_new_tokens=LONGEST)
    return list(generate(policy, rows, decoding, seed=0, tokens_per_batch=400))
