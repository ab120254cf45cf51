from pathlib import Path

import msgspec
import pytest
import storing
import tiny
import torch
from caches import LIMITS
from distilling import (
    OBJECTIVES,
    ROLLOUT,
    log_of,
    make_cache,
    make_inputs,
    make_pseudo_targets,
    make_spec,
    run,
)

from ketchup_cli import functional as F
from ketchup_cli.corpora import read_generations, read_split
from ketchup_cli.models.encode import collate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.stages import distill
from ketchup_cli.store.layout import Store


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
    (line, *_) = log_of(run(tmp_path, spec, given))
    (cached, *_) = log_of(run(tmp_path, make_spec(), given))
    (live, *_) = log_of(run(tmp_path, make_spec(teacher="live"), given))

    assert line["loss"] == pytest.approx(
        line["loss_ketchup"] + 0.1 * line["loss_kl"] + line["loss_nll"], abs=1e-5
    )
    assert line["kl"] == pytest.approx(cached["kl"], abs=1e-5)
    assert line["kl"] != pytest.approx(live["kl"], abs=1e-5)


def test_the_divergence_from_a_live_teacher_is_measured_on_the_dev_split(tmp_path: Path) -> None:
    artifact = run(tmp_path, make_spec({"name": "ketchup"}), make_inputs(tmp_path))
    found = [line["kl_probe"] for line in log_of(artifact, "validation")]

    assert len(found) == 3
    assert all(value > 0 for value in found)


def test_the_probe_is_the_divergence_from_the_teacher_to_the_student(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    (first, *_) = log_of(run(tmp_path, make_spec({"name": "ketchup"}), given), "validation")
    teacher, student = (
        load_policy(tmp_path / name, device="cpu") for name in ("teacher", "student")
    )
    rows = reference_rows(student, read_split(tmp_path / "corpus", "dev")[:4], LIMITS).rows
    batch = collate(rows, pad_id=student.pad_id, source="data")
    with torch.no_grad():
        wanted = F.masked_mean(F.kl(teacher.logits(batch), student.logits(batch)), batch.mask_BT)

    assert first["kl_probe"] == pytest.approx(float(wanted), abs=1e-5)


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


def test_only_pseudo_targets_of_the_first_examples_are_used_when_asked(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)
    reporter = tiny.SilentReporter()
    spec = make_spec({"name": "nll", "prefixes": "teacher"}, examples=5)
    tiny.run_stage(Store.open(tmp_path / "runs"), "distill", spec, given, reporter=reporter)

    texts = read_generations(given["pseudo-targets"].path / "pseudo-targets.jsonl")
    first = {example.id for example in read_split(tmp_path / "corpus", "train")[:5]}
    count = sum(text.id in first for text in texts)

    assert 5 <= count <= 10
    assert dict(reporter.notes)["teacher rows"].startswith(f"{count} rows")


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_that_of_the_run(dropout: float, tmp_path: Path) -> None:
    spec = make_spec({"name": "ketchup", "importance": "step"}, updates=1, dropout=dropout)
    (line,) = log_of(run(tmp_path, spec, make_inputs(tmp_path)))
    # rollouts are drawn without dropout, so the student's own samples look as likely only without
    on_policy = line["ratio_variance"] < 1e-6

    assert on_policy == (dropout == 0)


def test_rollouts_are_used_as_often_as_asked(tmp_path: Path) -> None:
    rollout = msgspec.structs.replace(ROLLOUT, reuse=2)
    spec = make_spec({"name": "ketchup"}, updates=4, rollout=rollout)
    artifact = run(tmp_path, spec, make_inputs(tmp_path))
    returns = [line["return"] for line in log_of(artifact)]

    assert returns[0] == returns[1] != returns[2] == returns[3]


def test_the_plan_writes_the_loss_out(tmp_path: Path) -> None:
    spec = make_spec({"name": "kl", "weight": 0.5}, {"name": "nll"})
    lines = dict(distill.plan(spec, make_inputs(tmp_path)))

    assert lines["objective"] == (
        "0.5 x kl(temperature=1.0, tail=bucket) on data completions"
        " + nll(label_smoothing=0.0) on data completions"
    )
    assert lines["plan"] == "3 updates x batches of 200 tokens, float32"
