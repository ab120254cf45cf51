from pathlib import Path

import pytest
import runs
import tiny
import torch
from safetensors.torch import save_file

from ketchup_cli.errors import Damaged, MismatchError, ModelError
from ketchup_cli.models.adapters import attach
from ketchup_cli.models.load import load_policy, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.taught import read_part, teach
from ketchup_cli.signals import TeacherPart

TOLERANCE = 1e-5
"""A product of matrices added to a weight is rounded once more than beside it."""


def part(kind: str) -> TeacherPart:
    return TeacherPart(kind=kind, rank=3, rate=1.0)  # type: ignore[arg-type]


@torch.no_grad()
def learnt(kind: str, architecture: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What a part holds after it has changed, and the logits of the teacher with it."""
    policy = tiny.make_policy(architecture)
    adapter = attach(policy, part(kind), seed=7)
    generator = torch.Generator().manual_seed(1)
    for weight in adapter.module.parameters():
        if weight.requires_grad:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    tensors = {
        name: weight.clone()
        for name, weight in adapter.module.named_parameters()
        if weight.requires_grad
    }
    batch = runs.make_batch(policy, range(4))
    return tensors, adapter.logits(batch)[batch.mask_BT.bool()]


@torch.no_grad()
def logits_of(policy: Policy) -> torch.Tensor:
    batch = runs.make_batch(policy, range(4))
    return policy.logits(batch)[batch.mask_BT.bool()]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_taught_teacher_is_saved_and_loaded_with_what_it_learnt(
    kind: str, architecture: str, tmp_path: Path
) -> None:
    tensors, expected = learnt(kind, architecture)
    policy = tiny.make_policy(architecture)
    before, names = logits_of(policy), list(policy.model.state_dict())

    teach(policy, part(kind), tensors)
    save_policy(policy, tmp_path, dtype="float32")

    assert list(policy.model.state_dict()) == names
    loaded = logits_of(load_policy(tmp_path, device="cpu"))
    torch.testing.assert_close(loaded, expected, atol=TOLERANCE, rtol=TOLERANCE)
    assert float((loaded - before).abs().max()) > 1e-2


def test_nothing_of_a_taught_teacher_asks_for_a_gradient() -> None:
    tensors, _ = learnt("full", "t5")
    policy = tiny.make_policy("t5")

    teach(policy, part("full"), tensors)

    assert not any(weight.requires_grad for weight in policy.model.parameters())


def test_a_network_beside_the_head_has_no_place_in_a_model() -> None:
    with pytest.raises(ModelError, match="has no place in a model's folder"):
        teach(tiny.make_policy("t5"), part("head"), {})


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_tensors_of_another_teacher_are_refused(change: str) -> None:
    tensors, _ = learnt("lora", "t5")
    name = next(iter(tensors))
    if change == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:1]

    with pytest.raises(MismatchError, match="is no part of this teacher: 1 tensors differ"):
        teach(tiny.make_policy("t5"), part("lora"), tensors)


def test_of_a_file_the_teacher_s_tensors_alone_are_read(tmp_path: Path) -> None:
    path = tmp_path / "parts.safetensors"
    save_file({"teacher/a.b": torch.ones(2), "layer_match-data/w": torch.zeros(1)}, path)

    assert list(read_part(path, under="teacher")) == ["a.b"]


def test_a_file_without_a_teacher_s_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "parts.safetensors"
    save_file({"layer_match-data/w": torch.zeros(1)}, path)

    with pytest.raises(MismatchError, match="holds nothing a teacher learnt, only `layer_match-"):
        read_part(path, under="teacher")


def test_a_file_that_is_not_safetensors_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "parts.safetensors"
    path.write_bytes(b"no")

    with pytest.raises(Damaged, match="cannot be read"):
        read_part(path, under="teacher")
