from pathlib import Path

import pytest
import tiny
import torch

from ketchup_cli.errors import ModelError
from ketchup_cli.models.load import load_policy, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.shrink import shrink

STACKS = {
    "t5": ("encoder.block", "decoder.block"),
    "bart": ("model.encoder.layers", "model.decoder.layers"),
    "marian": ("model.encoder.layers", "model.decoder.layers"),
    "gpt2": (None, "transformer.h"),
    "llama": (None, "model.layers"),
}


def chosen(architecture: str, encoder: tuple[int, ...], decoder: tuple[int, ...]) -> dict:
    both = {"encoder": encoder, "decoder": decoder}
    return both if STACKS[architecture][0] else {"decoder": decoder}


def randomised(architecture: str) -> Policy:
    """Norms and biases start as constants; numbers of their own show whose layer was copied."""
    policy = tiny.make_policy(architecture, layers=4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            # Marian's sinusoids are computed, never saved
            if architecture != "marian" or "embed_positions" not in name:
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return policy


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_chosen_layers_are_copied_bit_for_bit(architecture: str) -> None:
    teacher = randomised(architecture).model
    student = shrink(teacher, chosen(architecture, (0, 2), (0, 3)))
    mapping = dict(zip(STACKS[architecture], ({0: 0, 1: 2}, {0: 0, 1: 3}), strict=True))
    theirs, ours = teacher.state_dict(), student.state_dict()

    layers = 0
    for name, tensor in ours.items():
        source = name
        for stack, numbers in mapping.items():
            if stack and name.startswith(f"{stack}."):
                number, rest = name.removeprefix(f"{stack}.").split(".", 1)
                source = f"{stack}.{numbers[int(number)]}.{rest}"
                layers += 1
        assert torch.equal(tensor, theirs[source]), name
    assert layers > 0


def test_the_relative_position_bias_of_layer_0_is_kept_without_layer_0() -> None:
    teacher = randomised("t5").model
    student = shrink(teacher, {"encoder": (2,), "decoder": (3,)})

    for side in ("encoder", "decoder"):
        name = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        assert torch.equal(student.state_dict()[name], teacher.state_dict()[name])
        assert torch.equal(
            student.state_dict()[f"{side}.block.0.layer.0.SelfAttention.q.weight"],
            teacher.state_dict()[
                f"{side}.block.{2 if side == 'encoder' else 3}.layer.0.SelfAttention.q.weight"
            ],
        )


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_keeping_every_layer_keeps_the_function(architecture: str) -> None:
    policy = randomised(architecture)
    student = shrink(policy.model, chosen(architecture, (0, 1, 2, 3), (0, 1, 2, 3)))
    ids = torch.tensor([[5, 6, 7, 1]])
    inputs = {"input_ids": ids}
    if policy.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = ids

    with torch.no_grad():
        assert torch.equal(student(**inputs).logits, policy.model(**inputs).logits)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_shrunk_model_loads_from_its_folder(architecture: str, tmp_path: Path) -> None:
    policy = randomised(architecture)
    student = shrink(policy.model, chosen(architecture, (0, 3), (3,)))
    save_policy(Policy(student, policy.tokenizer), tmp_path, dtype="float32")
    loaded = load_policy(tmp_path, device="cpu").model

    before, after = student.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.generation_config.to_dict() == policy.model.generation_config.to_dict()


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_teacher_is_left_as_it_was(architecture: str) -> None:
    teacher = randomised(architecture).model
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    config = teacher.config.to_dict()
    student = shrink(teacher, chosen(architecture, (1,), (1,)))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()

    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert teacher.config.to_dict() == config


def test_a_model_with_its_layers_elsewhere_is_refused() -> None:
    model = tiny.make_policy("gpt2").model
    model.transformer.towers = model.transformer.h
    del model.transformer.h

    with pytest.raises(ModelError, match="the layers of a `gpt2` model"):
        shrink(model, {"decoder": (0,)})
