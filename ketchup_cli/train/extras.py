"""What is trained beside the student and is no part of it: an objective's tensors, a teacher's part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ketchup_cli.models.policy import Policy
from ketchup_cli.objectives import Term
from ketchup_cli.signals import Part, Prefixes, Sizes
from ketchup_cli.train.data import derived_seed

PREFIX = "extra/"
"""What the names of extra tensors begin with in a checkpoint; no name in a model does."""

Place = tuple[str, Prefixes]
"""A term of the loss: its objective's name, and whose completions it learns from."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A module whose trainable weights learn with the student and are saved beside it."""

    name: str
    module: nn.Module
    rate: float = 1.0
    """Its learning rate, in parts of the student's."""

    def weights(self) -> list[nn.Parameter]:
        """Return what is trained, in a fixed order."""
        return [weight for weight in self.module.parameters() if weight.requires_grad]

    def tensors(self) -> dict[str, Tensor]:
        """Return what is trained by name: `<name of the extra>/<name of the weight>`."""
        return {
            f"{self.name}/{name}": weight.detach()
            for name, weight in self.module.named_parameters()
            if weight.requires_grad
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        for name, weight in self.module.named_parameters():
            if weight.requires_grad:
                weight.copy_(tensors[f"{self.name}/{name}"])


def tensors_of(extras: Iterable[Extra]) -> dict[str, Tensor]:
    """Return the trained tensors of all extras, under names of a checkpoint."""
    return {PREFIX + name: value for extra in extras for name, value in extra.tensors().items()}


def restore_all(extras: Iterable[Extra], tensors: Mapping[str, Tensor]) -> None:
    """Put back what `tensors_of` gave; other tensors are left alone."""
    own = {
        name.removeprefix(PREFIX): value
        for name, value in tensors.items()
        if name.startswith(PREFIX)
    }
    for extra in extras:
        extra.restore(own)


def average_gradients(accelerator: Accelerator, extras: Iterable[Extra]) -> None:
    """Give every process the mean of the gradients; what wraps the student sees none of these."""
    if accelerator.num_processes == 1:
        return
    for extra in extras:
        for weight in extra.weights():
            own = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = accelerator.reduce(own, reduction="mean")


def sizes_of(student: Policy, teacher: Policy | None) -> Sizes:
    """Return the sizes by which objectives shape their tensors; without a teacher, the student's."""
    teacher = teacher or student
    ours, theirs = (_layers(policy) for policy in (student, teacher))
    return Sizes(
        student_layers=ours["decoder"],
        student_width=_width(student),
        teacher_layers=theirs["decoder"],
        teacher_width=_width(teacher),
        student_encoder_layers=ours["encoder"],
        teacher_encoder_layers=theirs["encoder"],
    )


def _width(policy: Policy) -> int:
    return int(policy.model.config.get_text_config(decoder=True).hidden_size)


def _layers(policy: Policy) -> dict[str, int]:
    """Return the number of layers of decoder and encoder."""
    config = policy.model.config
    if policy.kind == "decoder-only":
        text = config.get_text_config(decoder=True)
        return {"decoder": int(text.num_hidden_layers), "encoder": 0}
    # of the whole config: its text config forgets how many layers a decoder has
    names = {
        "decoder": ("decoder_layers", "num_decoder_layers"),
        "encoder": ("encoder_layers", "num_layers"),
    }
    return {
        side: next(int(getattr(config, name)) for name in known if hasattr(config, name))
        for side, known in names.items()
    }


def parts_of(
    terms: Sequence[Term], sizes: Sizes, *, seed: int, device: torch.device
) -> dict[Place, nn.ParameterDict]:
    """Return the learnable tensors of every term that has any."""
    found: dict[Place, nn.ParameterDict] = {}
    for term in terms:
        parts = term.objective.parts(sizes)
        if parts:
            tensors = {
                name: nn.Parameter(_started(part, derived_seed("part", seed, term.name, name)))
                for name, part in sorted(parts.items())
            }
            found[(term.name, term.prefixes)] = nn.ParameterDict(tensors).to(device)
    return found


def _started(part: Part, seed: int) -> Tensor:
    """Return the tensor a part begins as.

    Raises:
        ValueError: an identity that is not a matrix.
    """
    if part.start == "zeros":
        return torch.zeros(part.shape)
    if part.start == "identity":
        if len(part.shape) != 2:
            raise ValueError(f"an identity of shape {part.shape}")
        return torch.eye(*part.shape)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(part.shape, generator=generator) / math.sqrt(part.shape[-1])


def extras_of(parts: Mapping[Place, nn.ParameterDict]) -> tuple[Extra, ...]:
    """Return the parts of all terms as extras."""
    return tuple(
        Extra(name=f"{name}-{prefixes}", module=module)
        for (name, prefixes), module in parts.items()
    )
