"""Policies that end their texts now and then, and what they wrote, row by row."""

import math

import tiny
import torch
from torch import Tensor

from ketchup_cli.models.encode import Limits, Row, encode_prompts
from ketchup_cli.models.generation.hf import Samples
from ketchup_cli.models.policy import Policy

LENGTH = 20
"""More than two rounds of decoding, so that rows leave and others go on."""


def prompts(policy: Policy, count: int = 6) -> tuple[Row, ...]:
    return encode_prompts(policy, tiny.make_examples(count), Limits(prompt=60)).rows


def eager(architecture: str, *, seed: int = 0) -> Policy:
    """A policy that ends one text in ten at every step, so that lengths differ."""
    policy = tiny.make_policy(architecture, seed=seed)
    embedding = policy.model.get_input_embeddings()
    with torch.no_grad():
        embedding.weight.mul_(4 if architecture != "t5" else 1)
    bias_for_end(policy, share=0.1)
    return policy


def bias_for_end(policy: Policy, *, share: float) -> None:
    def raise_end(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        raised = logits.clone()
        raised[..., policy.eos_id] = logits.logsumexp(dim=-1) + math.log(share)
        return raised

    policy.model.get_output_embeddings().register_forward_hook(raise_end)


def rows_of(samples: Samples) -> dict[str, list[list[int]]]:
    """The completions of every prompt, in order, without padding."""
    batch = samples.batch
    found: dict[str, list[list[int]]] = {}
    for name, tokens, mask in zip(
        batch.ids, batch.tokens_BT.tolist(), batch.mask_BT.sum(dim=1).int().tolist(), strict=True
    ):
        found.setdefault(name, []).append(tokens[:mask])
    return found
