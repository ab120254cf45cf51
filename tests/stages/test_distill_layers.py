"""Layer matching from the spec to the student's folder."""

from pathlib import Path

import msgspec
import pytest
import tiny
import torch
from distilling import log_of, make_cache, make_inputs, make_spec, run
from safetensors.torch import load_file

from ketchup_cli.errors import MismatchError, ShapeError
from ketchup_cli.models.build import random_model
from ketchup_cli.models.load import load_policy, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.specs import OptimizerSpec
from ketchup_cli.stages import distill
from ketchup_cli.stages.training import PARTS
from ketchup_cli.store.artifact import Input
from ketchup_cli.store.layout import Store

MIX = ({"name": "nll"}, {"name": "kl"}, {"name": "layer_match", "weight": 3.0})
NAMES = [f"layer_match-data/decoder_{layer}" for layer in (1, 2)]


def wider_teacher(folder: Path, architecture: str = "t5") -> dict[str, Input]:
    """Return the usual inputs with a teacher of three layers and another width."""
    given = make_inputs(folder, architecture)
    path = folder / "wider"
    if not path.exists():
        path.mkdir()
        tokenizer = load_policy(folder / "student").tokenizer
        spec = msgspec.structs.replace(tiny.make_spec(architecture, layers=3, seed=1), width=48)
        model = random_model(spec, vocabulary=len(tokenizer)).eval()
        save_policy(Policy(model, tokenizer), path, dtype="float32")
    return {**given, **tiny.inputs(teacher=path)}


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_mix_with_layer_match_trains_both_kinds_of_models(
    architecture: str, tmp_path: Path
) -> None:
    artifact = run(tmp_path, make_spec(*MIX), wider_teacher(tmp_path, architecture))

    for line in log_of(artifact):
        parts = line["loss_nll"] + line["loss_kl"] + 3 * line["loss_layer_match"]
        assert line["loss"] == pytest.approx(parts, rel=1e-5)
        assert line["layer_distance"] == pytest.approx(line["loss_layer_match"], rel=1e-5)


def test_projections_learn_and_are_saved_beside_the_student_not_in_it(tmp_path: Path) -> None:
    given = wider_teacher(tmp_path)
    short = run(tmp_path, make_spec(*MIX, updates=1), given)
    longer = run(tmp_path, make_spec(*MIX), given)
    one, other = (load_file(artifact.path / PARTS) for artifact in (short, longer))

    assert sorted(one) == sorted(other) == NAMES
    assert all(other[name].shape == (48, 32) for name in NAMES)
    assert all(not torch.equal(one[name], other[name]) for name in NAMES)
    saved = load_file(longer.path / "model.safetensors")
    assert sorted(saved) == sorted(load_file(tmp_path / "student" / "model.safetensors"))


def test_equal_widths_need_no_projection(tmp_path: Path) -> None:
    artifact = run(tmp_path, make_spec(*MIX), make_inputs(tmp_path))

    assert not (artifact.path / PARTS).exists()


def test_a_run_with_projections_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    given, spec = wider_teacher(tmp_path), make_spec(*MIX, updates=4)
    whole = run(tmp_path, spec, given, "whole")
    store = Store.open(tmp_path / "halves")
    reporter = tiny.InterruptingReporter(after=2)
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "distill", spec, given, reporter=reporter)
    halves = run(tmp_path, spec, given, "halves")

    assert halves.manifest.digest == whole.manifest.digest


def test_matching_alone_brings_the_layers_together(tmp_path: Path) -> None:
    spec = make_spec(
        {"name": "layer_match"}, updates=30, optimizer=OptimizerSpec(learning_rate=3e-3, warmup=0)
    )
    artifact = run(tmp_path, spec, wider_teacher(tmp_path))

    distances = [line["layer_distance"] for line in log_of(artifact)]
    assert distances[-1] < 0.7 * distances[0]


def test_encoder_and_decoder_can_both_be_matched(tmp_path: Path) -> None:
    spec = make_spec({"name": "nll"}, {"name": "layer_match", "sides": "both"})
    artifact = run(tmp_path, spec, wider_teacher(tmp_path))

    learnt = sorted(load_file(artifact.path / PARTS))
    assert learnt == [*NAMES, *(name.replace("decoder", "encoder") for name in NAMES)]
    first, *_, last = (line["encoder_distance"] for line in log_of(artifact))
    assert last < first


def test_a_cache_that_is_at_hand_gives_way_to_the_live_teacher(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given)

    lines = [text for label, text in distill.plan(make_spec(*MIX), given) if label == "teacher"]

    assert lines == [
        f"{given['teacher'].label}, live, for kl, layer_match: teacher cache"
        f" `{given['cache'].label}` holds no states of its layers"
    ]


def test_a_cache_that_is_asked_for_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given)

    with pytest.raises(MismatchError, match="holds no states of its layers") as raised:
        distill.plan(make_spec(*MIX, teacher="cache"), given)
    assert raised.value.hint == "--set teacher=live"


def test_a_map_to_layers_there_are_not_is_refused_before_the_first_update(tmp_path: Path) -> None:
    spec = make_spec({"name": "layer_match", "teacher_layers": [1, 9]})

    with pytest.raises(ShapeError, match="no teacher layer 9; it has layers 1 to 2"):
        run(tmp_path, spec, make_inputs(tmp_path))
