"""A teacher that has learnt beside a student, as a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ketchup_cli.errors import Damaged, MismatchError, ModelError
from ketchup_cli.models.adapters import attach, layers_with_matrices

if TYPE_CHECKING:
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.signals import TeacherPart


def read_part(path: Path, *, under: str) -> dict[str, Tensor]:
    """Return the tensors of a file whose names begin with `under` and a slash, by what follows.

    Raises:
        MismatchError: there are none: no teacher learnt in that run.
        Damaged: the file cannot be read.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise Damaged(f"`{path.name}` cannot be read: {error}", hint="ketchup verify") from None
    prefix = f"{under}/"
    own = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    if not own:
        raise MismatchError(
            f"`{path.name}` holds nothing a teacher learnt, only"
            f" `{next(iter(tensors), '').partition('/')[0]}`",
            hint="name a student of `okd` or `bd_kd`",
        )
    return own


def check_place(part: TeacherPart) -> None:
    """Refuse a part that no model family has a place for.

    Raises:
        ModelError: it is a network beside the output layer.
    """
    if part.kind == "head":
        raise ModelError(
            "a small network beside the output layer has no place in a model's folder: whatever read"
            " that folder would leave it out",
            hint="train low-rank matrices: --set objective.module=lora",
        )


@torch.no_grad()
def teach(policy: Policy, part: TeacherPart, tensors: Mapping[str, Tensor]) -> None:
    """Give a teacher what it learnt, in weights of its own: afterwards it is a model like any other.

        low-rank matrices   W <- W + 2 B A
        the whole teacher   W <- what was saved

    Args:
        policy: the teacher as it came, changed in place.
        part: what of it learnt.
        tensors: what was saved of the part, by name.

    Raises:
        MismatchError: the tensors are not those of this part in this model.
        ModelError: `peft` is missing, or `check_place` refuses the part.
    """
    check_place(part)
    # where the part starts from does not matter: every number of it is replaced
    adapter = attach(policy, part, seed=0)
    learnt = {name: w for name, w in adapter.module.named_parameters() if w.requires_grad}
    _check_same(learnt, tensors)
    for name, weight in learnt.items():
        weight.copy_(tensors[name])
    if part.kind == "lora":
        _merge(policy.model)
    policy.module.requires_grad_(False)


def _check_same(learnt: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    other = sorted(learnt.keys() ^ tensors.keys())
    other += [
        name
        for name in sorted(learnt.keys() & tensors.keys())
        if learnt[name].shape != tensors[name].shape
    ]
    if other:
        raise MismatchError(
            f"what was learnt is no part of this teacher: {len(other)} tensors differ,"
            f" `{other[0]}` among them",
            hint="name the teacher the student was trained with",
        )


def _merge(model: nn.Module) -> None:
    """Add every product of matrices to the weight beside it, and take the matrices out."""
    layers = {id(layer): layer for layer in layers_with_matrices(model)}
    for layer in layers.values():
        layer.merge()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if id(child) in layers:
                setattr(module, name, layers[id(child)].get_base_layer())
