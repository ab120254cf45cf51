"""Optimiser, learning-rate schedule, gradient norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.optimization import Adafactor

from ketchup_cli.errors import NonFiniteError
from ketchup_cli.specs import OptimizerSpec

if TYPE_CHECKING:
    from ketchup_cli.train.extras import Extra

FACTOR = "factor"
"""Key of a group of weights: its learning rate in parts of the run's."""

NO_DECAY_DIMENSIONS = 1
"""Weights of this many dimensions or fewer are biases and norms, which are never decayed."""


def build_optimizer(
    module: nn.Module, spec: OptimizerSpec, extras: Iterable[Extra] = ()
) -> torch.optim.Optimizer:
    """Return the optimiser of all trainable weights; weight decay spares biases and norms.

    Those of an extra form groups of their own, with its `factor` of the learning rate.
    """
    groups = _groups(module.parameters(), spec, factor=1.0)
    for extra in extras:
        groups += _groups(extra.weights(), spec, factor=extra.rate)
    if spec.name == "adafactor":
        return Adafactor(  # type: ignore[no-any-return]
            groups,
            lr=spec.learning_rate,
            scale_parameter=True,
            relative_step=False,
            warmup_init=False,
        )
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=spec.betas, fused=True)


def _groups(
    weights: Iterable[nn.Parameter], spec: OptimizerSpec, *, factor: float
) -> list[dict[str, Any]]:
    trainable = [weight for weight in weights if weight.requires_grad]
    decayed = [weight for weight in trainable if weight.ndim > NO_DECAY_DIMENSIONS]
    spared = [weight for weight in trainable if weight.ndim <= NO_DECAY_DIMENSIONS]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": spec.weight_decay, FACTOR: factor},
        {"params": spared, "weight_decay": 0.0, FACTOR: factor},
    ]
    return [group for group in groups if group["params"]]


def learning_rate(spec: OptimizerSpec, update: int, updates: int) -> float:
    """Return the learning rate of an update.

        rise     peak * (u + 1) / warmup                       u < warmup
        hold     peak                                          u < hold * updates
        fall     from peak to floor * peak at the last update, linearly or as half a cosine

    Args:
        spec: the schedule.
        update: number of the update, from 0.
        updates: updates of the whole run.
    """
    if update < spec.warmup:
        return spec.learning_rate * (update + 1) / spec.warmup
    start = max(spec.warmup, round(spec.hold * updates))
    if spec.schedule == "constant" or update < start:
        return spec.learning_rate
    done = (update - start) / max(1, updates - 1 - start)
    left = 1 - done if spec.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return spec.learning_rate * (spec.floor + (1 - spec.floor) * left)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of the optimiser its part of this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[FACTOR]


def clip_gradients(weights: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale gradients down to `max_norm` (0: leave them) and return the norm they had.

    Raises:
        NonFiniteError: a gradient is NaN or infinite; nothing has been changed by it yet.
    """
    own = list(weights)
    norm = nn.utils.get_total_norm([weight.grad for weight in own if weight.grad is not None])
    if not math.isfinite(norm):
        raise NonFiniteError(
            "the gradient is not finite",
            hint="--set precision=float32, or a lower --set optimizer.learning_rate",
        )
    if 0 < max_norm < float(norm):
        nn.utils.clip_grads_with_norm_(own, max_norm, norm)
    return float(norm)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    """Return every tensor of the optimiser's state with a name, in a fixed order."""
    for index, state in sorted(optimizer.state_dict()["state"].items()):
        for name, value in sorted(state.items()):
            if isinstance(value, torch.Tensor):
                yield f"{index}/{name}", value
            elif isinstance(value, int | float):
                yield f"{index}/{name}", torch.tensor(value, dtype=torch.float64)


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    described = optimizer.state_dict()
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        number = value.dtype == torch.float64 and value.ndim == 0
        plain = value.item() if number else value
        state.setdefault(int(index), {})[name] = (
            int(plain) if number and float(plain).is_integer() and name == "step" else plain
        )
    described["state"] = state
    optimizer.load_state_dict(described)
