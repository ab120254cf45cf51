from pathlib import Path
from typing import Any

import msgspec
import pytest
import storing
import tiny
from distilling import ROLLOUT, log_of, make_cache, make_inputs, make_pseudo_targets, make_spec, run

from ketchup_cli.corpora import read_generations
from ketchup_cli.errors import MismatchError
from ketchup_cli.stages import STAGES, distill
from ketchup_cli.store.artifact import Input
from ketchup_cli.store.layout import Store

DPKD = {"name": "dpkd"}
TOKENS = {"name": "dpkd", "form": "token"}
PAIR = {"chosen_logp", "rejected_logp", "margin", "preferred", "chosen_length", "rejected_length"}


def inputs_with_texts(folder: Path, architecture: str = "t5") -> dict[str, Input]:
    given = make_inputs(folder, architecture)
    given["pseudo-targets"] = make_pseudo_targets(folder, given)
    return given


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_pairs_train_both_kinds_of_models(architecture: str, tmp_path: Path) -> None:
    artifact = run(tmp_path, make_spec(DPKD), inputs_with_texts(tmp_path, architecture))
    lines = log_of(artifact)

    assert len(lines) == 3
    assert all(line["gradient_norm"] > 0 for line in lines)
    assert lines[0].keys() >= PAIR
    # 6 prompts x 2 samples, and as many texts of the teacher
    assert [line["pairs_sequences"] for line in lines] == [24.0, 24.0, 24.0]


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_preferences_among_tokens_train_both_kinds_of_models(
    architecture: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path, architecture)
    live = run(tmp_path, make_spec(TOKENS), given, "live")
    cached = run(tmp_path, make_spec(TOKENS), {**given, "cache": make_cache(tmp_path, given)})

    wanted, found = ([line["loss"] for line in log_of(item)] for item in (live, cached))
    assert found == pytest.approx(wanted, abs=1e-5)
    assert all(line["gradient_norm"] > 0 for line in log_of(live))


def test_the_first_loss_is_lower_for_a_student_that_prefers_the_teacher_s_text(
    tmp_path: Path,
) -> None:
    given = inputs_with_texts(tmp_path)
    (line, *_) = log_of(run(tmp_path, make_spec(DPKD), given))
    given["teacher"] = tiny.inputs(teacher=tmp_path / "student")["teacher"]
    (equal, *_) = log_of(run(tmp_path, make_spec(DPKD), given, "equal"))

    assert equal["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert equal["margin"] == pytest.approx(0.0, abs=1e-5)
    assert line["loss"] != pytest.approx(0.6931, abs=1e-4)


def test_pairs_stand_in_a_mix_with_teacher_text(tmp_path: Path) -> None:
    mix = ({**DPKD, "weight": 0.5}, {"name": "nll", "prefixes": "teacher", "weight": 0.5})
    (line, *_) = log_of(run(tmp_path, make_spec(*mix), inputs_with_texts(tmp_path)))

    assert line["loss"] == pytest.approx(0.5 * line["loss_dpkd"] + 0.5 * line["loss_nll"], abs=1e-5)
    assert line["teacher_sequences"] > 0


def test_a_resumed_run_of_pairs_makes_the_same_bytes_as_a_straight_one(tmp_path: Path) -> None:
    given = inputs_with_texts(tmp_path)
    spec = make_spec(DPKD, updates=4, dropout=0.1)
    straight = run(tmp_path, spec, given, "straight")
    store = Store.open(tmp_path / "resumed")
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "distill", spec, given, reporter=tiny.InterruptingReporter(2))
    resumed = tiny.run_stage(store, "distill", spec, given)

    assert resumed.digest == straight.digest
    assert storing.leftovers(store) == []


def test_pairs_are_used_as_often_as_asked(tmp_path: Path) -> None:
    rollout = msgspec.structs.replace(ROLLOUT, reuse=2)
    spec = make_spec(DPKD, updates=4, rollout=rollout)
    lengths = [
        line["pairs_length"] for line in log_of(run(tmp_path, spec, inputs_with_texts(tmp_path)))
    ]

    assert lengths[0] == lengths[1]
    assert lengths[2] == lengths[3]


def test_prompts_without_teacher_text_are_left_out_and_counted(tmp_path: Path) -> None:
    given = inputs_with_texts(tmp_path)
    place = given["pseudo-targets"].path / "pseudo-targets.jsonl"
    texts = read_generations(place)
    answered = sorted({text.id for text in texts})[:10]
    kept = [text for text in texts if text.id in answered]
    folder = tmp_path / "fewer"
    folder.mkdir()
    (folder / place.name).write_bytes(b"".join(msgspec.json.encode(text) + b"\n" for text in kept))
    given["pseudo-targets"] = tiny.inputs(pseudo_targets=folder)["pseudo-targets"]
    reporter = tiny.SilentReporter()
    tiny.run_stage(
        Store.open(tmp_path / "runs"), "distill", make_spec(DPKD), given, reporter=reporter
    )

    assert dict(reporter.notes)["pairs"] == "14 of 24 prompts have no teacher text"


def test_the_plan_counts_prompts_and_says_why_no_cache_will_do(tmp_path: Path) -> None:
    given = inputs_with_texts(tmp_path)
    given["cache"] = make_cache(tmp_path, given)
    lines = dict(distill.plan(make_spec(DPKD), given))

    assert lines["plan"] == "3 updates x 6 prompts x 2 samples, float32"
    assert (
        "live, for dpkd: a teacher cache knows only completions scored before" in lines["teacher"]
    )


def test_a_cache_alone_is_refused(tmp_path: Path) -> None:
    given: dict[str, Any] = inputs_with_texts(tmp_path)
    given["cache"] = make_cache(tmp_path, given)
    del given["teacher"]

    with pytest.raises(MismatchError, match="the student's own"):
        distill.plan(make_spec(DPKD), given)


@pytest.mark.parametrize(
    ("table", "needed"), [(DPKD, True), (TOKENS, False)], ids=["texts", "tokens"]
)
def test_pairs_need_teacher_text_and_a_live_teacher(table: dict[str, str], needed: bool) -> None:
    roles = {role.name: role for role in STAGES["distill"].roles}
    spec = make_spec(table)

    assert roles["pseudo-targets"].needed(spec) == needed
    assert roles["teacher"].needed(spec) == needed
    assert roles["cache"].used(spec) != needed
