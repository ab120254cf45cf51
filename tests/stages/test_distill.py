from pathlib import Path

import pytest
import storing
import tiny

from ketchup_cli import objectives
from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import (
    CacheTeacherSpec,
    DecodingSpec,
    DistillSpec,
    FiltersSpec,
    OptimizerSpec,
    RolloutSpec,
    SeqkdSpec,
    ValidationSpec,
)
from ketchup_cli.stages import distill
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.layout import Store
from ketchup_cli.train.metrics import read_metrics

ROLLOUT = RolloutSpec(prompts=6, samples=2, max_new_tokens=6, unfinished="terminal")
OBJECTIVES = {
    "nll": {"name": "nll"},
    "kl": {"name": "kl"},
    "kl on samples": {"name": "kl", "prefixes": "student"},
    "ketchup": {"name": "ketchup", "k": 2},
    "llmr": {"name": "llmr"},
}


def make_spec(*tables: dict, **changes: object) -> DistillSpec:
    terms = objectives.to_tables(objectives.terms(tables or ({"name": "kl"},)))
    settings = {
        "objective": terms,
        "updates": 3,
        "tokens_per_batch": 200,
        "dropout": 0.0,
        "checkpoint_every": 1,
        "optimizer": OptimizerSpec(learning_rate=1e-3, warmup=0),
        "validation": ValidationSpec(metric="loss", every=2, examples=6, probe=4),
        "rollout": ROLLOUT,
        "device": "cpu",
    }
    return DistillSpec(**(settings | changes))


def make_inputs(folder: Path, architecture: str = "t5") -> dict[str, Input]:
    """Corpus, teacher and student, made once."""
    if not (folder / "student").exists():
        tiny.make_corpus(folder / "corpus")
        tiny.make_policy_folder(folder / "student", architecture, seed=0)
        tiny.make_policy_folder(folder / "teacher", architecture, seed=1)
    return tiny.inputs(
        corpus=folder / "corpus", student=folder / "student", teacher=folder / "teacher"
    )


def make_cache(folder: Path, inputs: dict[str, Input], **changes: object) -> Input:
    """A cache of all logits unless told otherwise."""
    vocabulary = load_policy(folder / "teacher", device="cpu").vocabulary
    settings = {"top": vocabulary, "gap_dtype": "float32", "device": "cpu"}
    spec = CacheTeacherSpec(**(settings | changes))
    used = {role: item for role, item in inputs.items() if role != "student"}
    artifact = tiny.run_stage(Store.open(folder / "caches"), "cache-teacher", spec, used)
    return tiny.inputs(cache=artifact.path)["cache"]


def make_pseudo_targets(folder: Path, inputs: dict[str, Input]) -> Input:
    spec = SeqkdSpec(
        decoding=DecodingSpec(method="sample", texts=2, max_new_tokens=8),
        filters=FiltersSpec(unfinished=False),
    )
    used = {role: inputs[role] for role in ("corpus", "teacher")}
    artifact = tiny.run_stage(Store.open(folder / "texts"), "seqkd", spec, used)
    return tiny.inputs(pseudo_targets=artifact.path)["pseudo-targets"]


def run(folder: Path, spec: DistillSpec, inputs: dict[str, Input], name: str = "runs") -> Artifact:
    return tiny.run_stage(Store.open(folder / name), "distill", spec, inputs)


def log_of(artifact: Artifact, event: str | None = None) -> list[dict]:
    lines = read_metrics(artifact.path / "logs" / "metrics.jsonl")
    return [line for line in lines if line.get("event") == event]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_every_objective_trains_both_kinds_of_models(
    architecture: str, name: str, tmp_path: Path
) -> None:
    artifact = run(tmp_path, make_spec(OBJECTIVES[name]), make_inputs(tmp_path, architecture))
    student = load_policy(artifact.path, device="cpu")

    assert student.kind == ("encoder-decoder" if architecture == "t5" else "decoder-only")
    assert len(log_of(artifact)) == 3
    assert all(line["gradient_norm"] > 0 for line in log_of(artifact))


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_cache_of_all_logits_gives_the_loss_of_the_live_teacher(
    architecture: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path, architecture)
    live = run(tmp_path, make_spec(), given, "live")
    cached = run(tmp_path, make_spec(), {**given, "cache": make_cache(tmp_path, given)}, "cached")
    wanted, found = ([line["loss"] for line in log_of(item)] for item in (live, cached))

    assert found == pytest.approx(wanted, abs=1e-5)
    assert wanted[0] > 0.01


def test_a_truncated_cache_gives_a_smaller_loss(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    whole = run(tmp_path, make_spec(), given, "live")
    cut = {**given, "cache": make_cache(tmp_path, given, top=8)}
    bucket = run(tmp_path, make_spec(), cut, "cut")

    assert 0 < log_of(bucket)[0]["loss"] < log_of(whole)[0]["loss"]


def test_a_cache_of_pseudo_targets_gives_the_loss_of_the_live_teacher(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)
    spec = make_spec({"name": "kl", "prefixes": "teacher"})
    live = run(tmp_path, spec, given, "live")
    cache = make_cache(tmp_path, given, completions="pseudo-targets")
    cached = run(tmp_path, spec, {**given, "cache": cache}, "cached")
    wanted, found = ([line["loss"] for line in log_of(item)] for item in (live, cached))

    assert found == pytest.approx(wanted, abs=1e-5)
    assert log_of(live)[0]["teacher_tokens"] > 0


def test_seqkd_needs_no_teacher_only_its_text(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    texts = make_pseudo_targets(tmp_path, given)
    used = {"corpus": given["corpus"], "student": given["student"], "pseudo-targets": texts}
    artifact = run(tmp_path, make_spec({"name": "nll", "prefixes": "teacher"}), used)

    assert log_of(artifact)[0]["teacher_sequences"] > 0
    assert "kl_probe" not in log_of(artifact, "validation")[0]


def test_a_cache_and_the_live_teacher_serve_one_mix(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, top=8)
    spec = make_spec({"name": "ketchup"}, {"name": "kl", "weight": 0.1}, {"name": "nll"})
    artifact = run(tmp_path, spec, given)
    (line, *_) = log_of(artifact)

    assert line["loss"] == pytest.approx(
        line["loss_ketchup"] + 0.1 * line["loss_kl"] + line["loss_nll"], abs=1e-5
    )


def test_the_divergence_from_a_live_teacher_is_measured_on_the_dev_split(tmp_path: Path) -> None:
    artifact = run(tmp_path, make_spec({"name": "ketchup"}), make_inputs(tmp_path))
    found = [line["kl_probe"] for line in log_of(artifact, "validation")]

    assert len(found) == 3
    assert all(value > 0 for value in found)


def test_the_probe_of_a_student_that_is_its_teacher_is_zero(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["teacher"] = tiny.inputs(teacher=tmp_path / "student")["teacher"]
    artifact = run(tmp_path, make_spec({"name": "ketchup"}), given)

    assert log_of(artifact, "validation")[0]["kl_probe"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", ["kl", "ketchup"])
def test_a_resumed_run_makes_the_same_bytes_as_a_straight_one(name: str, tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, top=8)
    spec = make_spec(OBJECTIVES[name], updates=4, dropout=0.1)
    straight = run(tmp_path, spec, given, "straight")
    store = Store.open(tmp_path / "resumed")
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "distill", spec, given, reporter=tiny.InterruptingReporter(2))
    resumed = tiny.run_stage(store, "distill", spec, given)

    assert resumed.digest == straight.digest
    assert storing.leftovers(store) == []


def test_only_the_first_examples_are_used_when_asked(tmp_path: Path) -> None:
    reporter = tiny.SilentReporter()
    tiny.run_stage(
        Store.open(tmp_path / "runs"),
        "distill",
        make_spec(OBJECTIVES["nll"], examples=5),
        make_inputs(tmp_path),
        reporter=reporter,
    )

    assert dict(reporter.notes)["data rows"].startswith("5 rows")


def plan_lines(spec: DistillSpec, inputs: dict[str, Input]) -> list[str]:
    return [text for heading, text in distill.plan(spec, inputs) if heading == "teacher"]


def test_the_plan_says_who_speaks_for_the_teacher_and_why(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, top=8)
    label = given["cache"].label
    mix = make_spec({"name": "ketchup"}, {"name": "kl"})

    assert plan_lines(make_spec(), given) == [f"{label}, cached, for kl"]
    assert plan_lines(make_spec(teacher="live"), given) == ["teacher, live, for kl"]
    assert plan_lines(mix, given) == [
        "teacher, live, for ketchup: a teacher cache knows only completions scored before; ketchup"
        " learns from the student's own",
        f"{label}, cached, for kl",
    ]


def test_the_plan_writes_the_loss_out(tmp_path: Path) -> None:
    spec = make_spec({"name": "kl", "weight": 0.5}, {"name": "nll"})
    lines = dict(distill.plan(spec, make_inputs(tmp_path)))

    assert lines["objective"] == (
        "0.5 x kl(temperature=1.0, tail=bucket) on data completions"
        " + nll(label_smoothing=0.0) on data completions"
    )
    assert lines["plan"] == "3 updates x batches of 200 tokens, float32"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperatures": (2.0,)}, "holds temperatures 2.0; the objective asks 1.0"),
        ({"top": 0}, "holds statistics only"),
        ({"split": "dev"}, "is about references of split `dev`"),
    ],
    ids=["temperature", "statistics", "split"],
)
def test_a_cache_that_cannot_serve_is_passed_over_by_auto_and_refused_on_demand(
    settings: dict, message: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, **settings)
    (line,) = plan_lines(make_spec(), given)
    alone = {role: item for role, item in given.items() if role != "teacher"}

    assert line.startswith("teacher, live, for kl: teacher cache")
    assert message in line
    for spec, used in ((make_spec(teacher="cache"), given), (make_spec(), alone)):
        with pytest.raises(MismatchError, match=message):
            distill.plan(spec, used)


def assert_refused(
    folder: Path,
    spec: DistillSpec,
    inputs: dict[str, Input],
    match: str,
    *,
    error: type[Exception] = MismatchError,
) -> Exception:
    store = Store.open(folder / "refused")
    with pytest.raises(error, match=match) as caught:
        tiny.run_stage(store, "distill", spec, inputs)
    assert storing.leftovers(store) == []
    assert not store.object_path("model", "0").parent.exists()
    return caught.value


def without_models(folder: Path, inputs: dict[str, Input]) -> dict[str, Input]:
    """The same inputs, but no model can be loaded."""
    (folder / "empty").mkdir()
    empty = tiny.inputs(student=folder / "empty", teacher=folder / "empty")
    return {role: empty.get(role, item) for role, item in inputs.items()}


def test_an_objective_on_own_completions_refuses_a_cache_before_a_model_is_loaded(
    tmp_path: Path,
) -> None:
    given = without_models(tmp_path, make_inputs(tmp_path))
    spec = make_spec({"name": "ketchup"}, teacher="cache")
    error = assert_refused(tmp_path, spec, given, "ketchup learns from the student's own")

    assert error.exit_code == 3
    assert error.hint == "--set teacher=live"


def test_a_cache_that_is_asked_for_and_not_there_is_refused(tmp_path: Path) -> None:
    given = without_models(tmp_path, make_inputs(tmp_path))
    error = assert_refused(tmp_path, make_spec(teacher="cache"), given, "and there is none")

    assert error.exit_code == 3
    assert "ketchup cache-teacher" in str(error.hint)


def test_a_missing_teacher_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    given = without_models(tmp_path, make_inputs(tmp_path))
    del given["teacher"]
    error = assert_refused(tmp_path, make_spec(), given, "kl needs a teacher; there is neither")

    assert error.exit_code == 3
    assert "--teacher NAME" in str(error.hint)


def test_a_cache_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    other = make_inputs(tmp_path / "other", "gpt2")
    given["cache"] = make_cache(tmp_path / "other", other)
    error = assert_refused(tmp_path, make_spec(), given, "was made with tokenizer")

    assert error.exit_code == 3
    assert "seqkd" in str(error.hint)


def test_a_cache_of_another_corpus_is_refused_by_its_first_example(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given)
    other = tiny.make_corpus(tmp_path / "other", seed=7)
    given["corpus"] = tiny.inputs(corpus=other)["corpus"]
    error = assert_refused(tmp_path, make_spec(), given, "holds another text for example")

    assert "cache-teacher" in str(error.hint)


def test_a_cache_of_fewer_examples_is_refused_before_the_first_update(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, examples=20)

    assert_refused(tmp_path, make_spec(), given, r"holds no row for example .*, number 20")


def test_a_teacher_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    other = tiny.make_policy_folder(tmp_path / "other", "gpt2")
    given["teacher"] = tiny.inputs(teacher=other)["teacher"]
    error = assert_refused(tmp_path, make_spec(), given, "tokenizers differ")

    assert error.exit_code == 3


def test_pseudo_targets_of_another_corpus_are_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)
    other = tiny.make_corpus(tmp_path / "other", seed=7)
    given["corpus"] = tiny.inputs(corpus=other)["corpus"]
    spec = make_spec({"name": "nll", "prefixes": "teacher"})

    assert_refused(tmp_path, spec, given, "belongs to no example of this split")


def test_prompts_that_are_too_long_are_named(tmp_path: Path) -> None:
    spec = make_spec({"name": "ketchup"}, max_prompt_tokens=3)

    assert_refused(tmp_path, spec, make_inputs(tmp_path), "the limits are", error=DataError)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = make_spec(split="trian")

    assert_refused(tmp_path, spec, make_inputs(tmp_path), "not a split", error=SpecError)
