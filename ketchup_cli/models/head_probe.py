"""Whether the output layer as we apply it is all that a model does to its last states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ketchup_cli.models.policy import Policy

PROBE_TOLERANCE = 1e-5
"""Largest difference between our head and the model's own, relative to the largest logit."""

PROBE_GAINS = (1.0, 1000.0)
"""What the probe's states are multiplied by: a cap on logits shows only where they are large."""


@torch.no_grad()
def head_agrees(policy: Policy, *, gain: float) -> bool:
    """Return whether our head and the model's own give the same logits for two tokens.

    Args:
        policy: in eval mode.
        gain: what the states are multiplied by before either.
    """
    ids = torch.tensor([[policy.eos_id, policy.pad_id]], device=policy.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if policy.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = ids
    states: list[Tensor] = []

    def scale(_module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states.append(given[0] * gain)
        return (states[0],)

    hook = policy.model.get_output_embeddings().register_forward_pre_hook(scale)
    try:
        full = policy.model(**inputs).logits
    finally:
        hook.remove()
    ours = policy.module.head(states[0])
    scale_of_logits = float(full.abs().max().clamp(min=1.0))
    # not `<=`: NaN among the weights is no other head, and is named where a batch meets it
    return not float((ours - full).abs().max()) > PROBE_TOLERANCE * scale_of_logits
