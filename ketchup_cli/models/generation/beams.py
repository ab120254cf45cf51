"""Beam search: several texts of a prompt at once, the best of them told with their own likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from ketchup_cli import functional as F
from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.generation.calculator import Calculator
from ketchup_cli.models.generation.choosing import Obeying, OwnRows, check_finite
from ketchup_cli.models.generation.rounds import Written, read, settings_of, writing
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch
from ketchup_cli.specs import DecodingSpec

_SCORED_TOKENS = 2048
"""Padded tokens whose logits over the vocabulary exist at once when beams are scored."""


def search(
    policy: Policy, rows: Sequence[Row], decoding: DecodingSpec, *, kept: Mapping[str, Any]
) -> Written:
    """Return `decoding.texts` completions of every prompt, the best beam first.

    Their log-probabilities are the policy's own, without the length penalty that orders them; tokens
    that a calculator put have 0, in the search and here.

    Args:
        policy: who writes.
        rows: prompts.
        decoding: `beams`, `texts`, `length_penalty`, `max_new_tokens`, `calculator`.
        kept: further settings of `generate`.

    Raises:
        SpecError: the tokenizer has no words for a calculator.
        NonFiniteError: the model's logits are not finite.
    """
    settings = settings_of(
        policy,
        max_new_tokens=decoding.max_new_tokens,
        num_beams=decoding.beams,
        num_return_sequences=decoding.texts,
        length_penalty=decoding.length_penalty,
        **kept,
    )
    calculator = Calculator(policy) if decoding.calculator else None
    processors: list[Any] = [OwnRows(policy.vocabulary)]
    with writing(policy):
        front = read(policy, [row.prompt for row in rows], copies=1)
        first = front.ids_BT.shape[1]
        if calculator is not None:
            processors.append(Obeying(calculator.force(first)))
        output = policy.model.generate(
            **front.inputs(),
            generation_config=settings,
            logits_processor=LogitsProcessorList(processors),
        )
        tokens_BT = output.sequences[:, first:]
        mask_BT, finished_B = _until_end(tokens_BT, policy.eos_id)
        logp_BT = _scored(policy, rows, tokens_BT, mask_BT)
    forced_BT = None if calculator is None else _put(calculator, tokens_BT) & mask_BT.bool()
    return Written(
        tokens_BT=tokens_BT,
        mask_BT=mask_BT,
        logp_BT=logp_BT if forced_BT is None else logp_BT.masked_fill(forced_BT, 0.0),
        finished_B=finished_B,
        forced_BT=forced_BT,
    )


def _put(calculator: Calculator, tokens_BT: Tensor) -> Tensor:
    """Return where a calculator put a token."""
    put = [calculator.put(row) for row in tokens_BT.tolist()]
    return torch.tensor(put, dtype=torch.bool, device=tokens_BT.device).view(tokens_BT.shape)


def _until_end(tokens_BT: Tensor, eos_id: int) -> tuple[Tensor, Tensor]:
    """Return the mask of tokens up to and with the first end token, and who has one."""
    ends_BT = (tokens_BT == eos_id).int()
    return ((ends_BT.cumsum(dim=1) - ends_BT) == 0).float(), ends_BT.any(dim=1)


def _scored(policy: Policy, rows: Sequence[Row], tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the policy's own log-probabilities of texts, `len(tokens_BT) / len(rows)` a prompt."""
    texts = len(tokens_BT) // len(rows)
    repeated = [replace(row, completion=()) for row in rows for _ in range(texts)]
    width = tokens_BT.shape[1] + max(len(row.prompt) for row in rows)
    size = max(1, _SCORED_TOKENS // width)
    parts: list[Tensor] = []
    for start in range(0, len(repeated), size):
        part = slice(start, start + size)
        batch = collate(repeated[part], pad_id=policy.pad_id, source="teacher")
        scored = Batch(
            ids=batch.ids,
            prompt_BS=batch.prompt_BS.to(policy.device),
            prompt_mask_BS=batch.prompt_mask_BS.to(policy.device),
            tokens_BT=tokens_BT[part],
            mask_BT=mask_BT[part],
            source="teacher",
        )
        parts.append(F.log_probs_of(policy.logits(scored), tokens_BT[part]))
    logp_BT = torch.cat(parts).masked_fill(mask_BT == 0, 0.0)
    check_finite(logp_BT)
    return logp_BT
