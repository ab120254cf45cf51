"""A second model that reads along while the first one writes, so that both decide each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from ketchup_cli import functional as F
from ketchup_cli.models.generation.rounds import Front, read, writing
from ketchup_cli.models.policy import Policy


@final
class Guide:
    """The teacher beside a writing student, row by row and token by token.

    Invariant: its rows are those still being written, in their order; it reads each token once.
    """

    def __init__(self, policy: Policy, front: Front, *, share: float) -> None:
        self._policy = policy
        self._front = front
        self._share = share
        self._prefix = front.ids_BT.shape[1]
        self._first: int | None = None
        self._logits_BV: Tensor | None = None

    def mix(self, input_ids: Tensor, logits_BV: Tensor) -> Tensor:
        """Return the log-probabilities of the mixture after what was written.

        Args:
            input_ids: [B, N] what the writer has read: its own beginning, then the completion.
            logits_BV: [B, V] the writer's logits.
        """
        if self._first is None:
            self._first = input_ids.shape[1]
        written_BN = input_ids[:, self._first :]
        read_count = self._front.ids_BT.shape[1] - self._prefix
        # a round may have asked for one step more than it took: that one has been read
        if self._logits_BV is None or written_BN.shape[1] > read_count:
            ids_BT = torch.cat([self._front.ids_BT, written_BN[:, read_count:]], dim=1)
            self._front = replace(self._front, ids_BT=ids_BT)
            self._read()
        assert self._logits_BV is not None
        return F.log_mixture(self._logits_BV.to(logits_BV.device), logits_BV, share=self._share)

    def leave(self, ended_B: Tensor) -> None:
        """Forget the rows that ended."""
        self._front = self._front.without(ended_B)
        if self._logits_BV is not None:
            self._logits_BV = self._logits_BV[~ended_B]

    def _read(self) -> None:
        """Read the tokens the cache has not seen, and keep the logits after the last."""
        front = self._front
        seen = 0 if front.cache is None else front.cache.get_seq_length()
        with self._policy.autocast():
            output = self._policy.model(**_arguments(front, seen), use_cache=True)
        self._front = replace(front, cache=output.past_key_values)
        self._logits_BV = output.logits[:, -1, : self._policy.vocabulary].float()


def _arguments(front: Front, seen: int) -> dict[str, Any]:
    """Return what a forward pass over the unseen tokens takes."""
    unseen_BN = front.ids_BT[:, seen:]
    if front.states_BSH is not None:
        return {
            "encoder_outputs": BaseModelOutput(last_hidden_state=front.states_BSH),
            "attention_mask": front.mask_BS,
            "decoder_input_ids": unseen_BN,
            "past_key_values": front.cache,
        }
    written_BN = front.ids_BT[:, front.mask_BS.shape[1] :]
    mask_BT = torch.cat([front.mask_BS, torch.ones_like(written_BN)], dim=1)
    return {
        "input_ids": unseen_BN,
        "attention_mask": mask_BT,
        "position_ids": (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, seen:],
        "past_key_values": front.cache,
        "logits_to_keep": 1,
    }


@contextmanager
def reading_along(
    teacher: Policy | None, prompts: Sequence[Sequence[int]], *, copies: int, share: float
) -> Iterator[Guide | None]:
    """Have a teacher read the prompts and stand by; None where there is none."""
    if teacher is None:
        yield None
        return
    with writing(teacher):
        yield Guide(teacher, read(teacher, prompts, copies=copies), share=share)
