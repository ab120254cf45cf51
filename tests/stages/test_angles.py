import json
from pathlib import Path

import msgspec
import pytest
import tiny
import torch
from distilling import make_inputs

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.lab.angles import Angles
from ketchup_cli.models.build import random_model
from ketchup_cli.models.encode import Limits, collate
from ketchup_cli.models.load import load_policy, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.specs import AnglesSpec
from ketchup_cli.stages import angles
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.layout import Store

SPEC = AnglesSpec(examples=6, bins=20, tokens_per_batch=200, device="cpu")


def analysed(
    folder: Path,
    given: dict[str, Input],
    spec: AnglesSpec = SPEC,
    *,
    reporter: SilentReporter | None = None,
    name: str = "runs",
) -> Artifact:
    return tiny.run_stage(Store.open(folder / name), "angles", spec, given, reporter=reporter)


def document(artifact: Artifact) -> dict:
    return json.loads((artifact.path / angles.DOCUMENT).read_bytes())


@torch.no_grad()
def slow_angles(folder: Path) -> torch.Tensor:
    """Return the cosines of every token, a row at a time: [L, K, N]."""
    student, teacher = (load_policy(folder / role, device="cpu") for role in ("student", "teacher"))
    examples = tiny.make_examples(24 + 8)[24:][:6]
    found = []
    for row in reference_rows(student, examples, Limits(prompt=64, completion=64)).rows:
        batch = collate([row], pad_id=student.pad_id, source="data")
        states = (model.hidden_with_layers(batch)[1][1:, 0] for model in (student, teacher))
        found.append(F.layer_angles(*states))
    return torch.cat(found, dim=-1)


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_the_figures_are_those_of_one_row_at_a_time(architecture: str, tmp_path: Path) -> None:
    found = document(analysed(tmp_path, make_inputs(tmp_path, architecture)))
    cosine_LKN = slow_angles(tmp_path)

    assert found["tokens"] == cosine_LKN.shape[-1]
    for pair in found["pairs"]:
        own_N = cosine_LKN[pair["student"] - 1, pair["teacher"] - 1]
        assert pair["mean"] == pytest.approx(float(own_N.mean()), abs=1e-5)
        assert pair["acute"] == pytest.approx(float((own_N > 0).float().mean()), abs=1e-6)
        assert sum(pair["histogram"]) == pair["count"] == len(own_N)


def test_a_histogram_counts_cosines_by_size(tmp_path: Path) -> None:
    found = document(analysed(tmp_path, make_inputs(tmp_path)))
    cosine_LKN = slow_angles(tmp_path)

    (pair,) = (p for p in found["pairs"] if (p["student"], p["teacher"]) == (1, 2))
    expected = torch.histc(cosine_LKN[0, 1], bins=20, min=-1, max=1)
    assert pair["histogram"] == expected.long().tolist()


def test_the_anchor_s_angle_with_itself_is_left_out_of_the_whole(tmp_path: Path) -> None:
    found = document(analysed(tmp_path, make_inputs(tmp_path)))

    others = [pair for pair in found["pairs"] if pair["teacher"] != 1]
    mean = sum(pair["mean"] * pair["count"] for pair in others) / sum(p["count"] for p in others)
    assert found["overall"]["mean"] == pytest.approx(mean)
    own = [pair["mean"] for pair in found["pairs"] if pair["teacher"] == 1]
    assert own == pytest.approx([1.0, 1.0])


def test_a_copied_layer_has_no_angles_to_itself(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["student"] = tiny.inputs(student=tmp_path / "teacher")["student"]
    spec = msgspec.structs.replace(SPEC, anchor=2)

    found = document(analysed(tmp_path, given, spec))

    (pair,) = (p for p in found["pairs"] if (p["student"], p["teacher"]) == (1, 1))
    assert (pair["count"], pair["missing"], pair["mean"]) == (0, found["tokens"], None)


def test_only_angles_there_are_are_counted() -> None:
    states = torch.eye(3).view(3, 1, 3)
    counts = Angles(anchor=1, bins=4)
    counts.add(states[1:2], states)

    first, second, third = counts.seen()

    assert (first.count, first.acute, first.histogram) == (1, 1, (0, 0, 0, 1))
    assert (second.count, second.missing, second.acute, second.histogram) == (0, 1, 0, (0,) * 4)
    assert (third.count, third.acute, third.mean) == (1, 1, pytest.approx(0.5))


def test_the_same_models_give_the_same_bytes(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    one, other = (analysed(tmp_path, given, name=name) for name in ("one", "other"))

    assert one.manifest.digest == other.manifest.digest


def test_the_plot_is_an_svg_without_a_date(tmp_path: Path) -> None:
    plot = (analysed(tmp_path, make_inputs(tmp_path)).path / angles.PLOT).read_text("utf-8")

    assert "<svg" in plot
    assert "teacher layer 2" in plot
    assert "dc:date" not in plot


def test_the_table_has_a_row_a_student_layer_and_a_column_a_teacher_layer(tmp_path: Path) -> None:
    reporter = SilentReporter()
    found = document(analysed(tmp_path, make_inputs(tmp_path), reporter=reporter))

    heading, *rows = [text for label, text in reporter.notes if not label]
    assert heading.split() == ["student", "teacher", "1", "teacher", "2"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    (pair,) = (p for p in found["pairs"] if (p["student"], p["teacher"]) == (2, 2))
    assert rows[1].split()[3:] == [f"{pair['mean']:.2f}", f"{pair['acute']:.0%}"]


def test_the_summary_says_it_in_one_line(tmp_path: Path) -> None:
    artifact = analysed(tmp_path, make_inputs(tmp_path))

    overall = document(artifact)["overall"]
    note = f"mean cosine {overall['mean']:.3f}, {overall['acute']:.1%} acute"
    assert artifact.manifest.summary["note"] == note


def test_models_of_other_widths_are_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    tokenizer = load_policy(tmp_path / "student").tokenizer
    spec = msgspec.structs.replace(tiny.make_spec(), width=48)
    (tmp_path / "wider").mkdir()
    wider = Policy(random_model(spec, vocabulary=len(tokenizer)), tokenizer)
    save_policy(wider, tmp_path / "wider", dtype="float32")
    given |= tiny.inputs(teacher=tmp_path / "wider")

    with pytest.raises(MismatchError, match="have width 32, the teacher's 48"):
        analysed(tmp_path, given)


def test_an_anchor_the_teacher_does_not_have_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)

    with pytest.raises(SpecError, match="`anchor` is 9; the teacher's decoder has 2 layers"):
        analysed(tmp_path, given, msgspec.structs.replace(SPEC, anchor=9))


def test_layers_of_an_encoder_are_seen_on_the_tokens_of_prompts(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, side="encoder")
    found = document(analysed(tmp_path, make_inputs(tmp_path), spec))
    student, teacher = (load_policy(tmp_path / role) for role in ("student", "teacher"))
    examples = tiny.make_examples(24 + 8)[24:][:6]
    rows = reference_rows(student, examples, Limits(prompt=64, completion=64)).rows
    batch = collate(rows, pad_id=student.pad_id, source="data")
    real_BS = batch.prompt_mask_BS.bool()
    with torch.no_grad():
        states = (model.hidden_with_layers(batch)[2][1:, real_BS] for model in (student, teacher))
        cosine_LKN = F.layer_angles(*states)

    means = [pair["mean"] for pair in found["pairs"]]
    assert found["tokens"] == int(real_BS.sum())
    assert means == pytest.approx(cosine_LKN.mean(dim=-1).flatten().tolist(), abs=1e-5)


def test_a_model_without_an_encoder_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path, "gpt2")

    with pytest.raises(SpecError, match="the teacher's encoder has 0 layers") as raised:
        analysed(tmp_path, given, msgspec.structs.replace(SPEC, side="encoder"))
    assert raised.value.hint == "--set side=decoder"


def test_the_plan_says_what_is_looked_at(tmp_path: Path) -> None:
    lines = dict(angles.plan(SPEC, make_inputs(tmp_path)))

    assert lines["plan"] == "angles to layer 1 of the teacher's decoder, on 6 examples of dev"
