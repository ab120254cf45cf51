"""The output layer of a teacher on its own: what makes logits of states that were kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ketchup_cli.errors import Damaged

if TYPE_CHECKING:
    from ketchup_cli.models.layout import Layout
    from ketchup_cli.models.policy import Policy

HEAD = "head.safetensors"
"""The file of a teacher cache that holds it: `weight [V, H]` and, where there is one, `bias [V]`."""


@final
@dataclass(frozen=True, slots=True)
class Head:
    """A linear map from states to logits, in float32.

    Example: `Head(weight_VH)(states_NH)` is `[N, V]`.
    """

    weight_VH: Tensor
    bias_V: Tensor | None = None

    def __call__(self, states_NH: Tensor) -> Tensor:
        """Return float32 logits of states `[..., H]`."""
        with torch.autocast(self.weight_VH.device.type, enabled=False):
            return torch.nn.functional.linear(states_NH.float(), self.weight_VH, self.bias_V)

    def to(self, device: torch.device) -> Head:
        """Return the same map on `device`."""
        bias_V = None if self.bias_V is None else self.bias_V.to(device)
        return Head(self.weight_VH.to(device), bias_V)


@torch.no_grad()
def head_of(policy: Policy) -> Head:
    """Return the policy's own output layer, rows it was padded with left out."""
    layer = policy.model.get_output_embeddings()
    size = policy.vocabulary
    parts = [getattr(layer, "bias", None), getattr(policy.model, "final_logits_bias", None)]
    biases = [part.reshape(-1)[:size].float().cpu() for part in parts if part is not None]
    bias_V = torch.stack(biases).sum(dim=0) if biases else None
    return Head(layer.weight[:size].detach().float().cpu(), bias_V)


def head_bytes(head: Head) -> bytes:
    """Return the output layer as a safetensors file."""
    tensors = {"weight": head.weight_VH.contiguous()}
    if head.bias_V is not None:
        tensors["bias"] = head.bias_V.contiguous()
    return bytes(save(tensors))


def read_head(folder: Path, layout: Layout) -> Head:
    """Return the output layer in a cache's folder.

    Raises:
        Damaged: it is missing, or not a layer of the cache's sizes.
    """
    path = folder / HEAD
    try:
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise Damaged(f"`{path.name}` cannot be read: {error}", hint="ketchup verify") from None
    shapes = {"weight": (layout.vocabulary, layout.width), "bias": (layout.vocabulary,)}
    for name, tensor in tensors.items():
        if shapes.get(name) != tuple(tensor.shape) or tensor.dtype != torch.float32:
            raise Damaged(
                f"`{path.name}`: `{name}` is not of the cache's sizes", hint="ketchup verify"
            )
        if not bool(tensor.isfinite().all()):
            raise Damaged(f"`{path.name}`: `{name}` is not finite", hint="ketchup verify")
    if "weight" not in tensors:
        raise Damaged(f"`{path.name}` holds no `weight`", hint="ketchup verify")
    return Head(tensors["weight"], tensors.get("bias"))
