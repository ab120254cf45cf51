"""Pairs of a teacher's text and the student's own, for the same prompt, as a source of batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.generation.calculator import Calculator
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch, to_device
from ketchup_cli.specs import RolloutSpec
from ketchup_cli.train.data import PromptSource
from ketchup_cli.train.rollouts import RolloutSource, without_unfinished


@final
class PairSource:
    """Batches whose first half is teacher text, and whose second the student's samples.

    Invariant: row i and row B/2 + i answer one prompt, have the same number in `group_B`, and
    `chosen_B` is 1 on the first of them. A prompt with several texts of the teacher takes them in
    turn, sample by sample and epoch by epoch. A sample that is dropped takes its pair with it.
    """

    def __init__(
        self, policy: Policy, texts: Sequence[Row], *, rollout: RolloutSpec, seed: int
    ) -> None:
        self._texts = by_example(texts)
        self._rollout = rollout
        self._pad_id = policy.pad_id
        self._calculator = Calculator(policy) if rollout.calculator else None
        rows = [replace(own[0], completion=()) for own in self._texts.values()]
        prompts = PromptSource(rows, prompts=rollout.prompts, seed=seed)
        self._samples = RolloutSource(policy, prompts, rollout=rollout, seed=seed)

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly, each drawn when asked for.

        Raises:
            ModelError: not one completion of a batch ended by itself, and unfinished ones drop.
        """
        keep, count = self._rollout.unfinished == "terminal", self._rollout.samples
        for epoch, samples in self._samples.samples(first, stride):
            turns = torch.arange(len(samples.batch.ids)) % count + epoch * count
            # the turn travels in place of the position, which no live teacher asks for
            numbered = replace(samples.batch, rows=tuple(turns.tolist()))
            own = without_unfinished(replace(samples, batch=numbered), keep=keep)
            yield self._pair(own)

    def _pair(self, own: Batch) -> Batch:
        texts = [
            self._texts[name][turn % len(self._texts[name])]
            for name, turn in zip(own.ids, own.rows, strict=True)
        ]
        theirs = to_device(
            collate(texts, pad_id=self._pad_id, source="pairs"), own.tokens_BT.device
        )
        width = max(theirs.tokens_BT.shape[1], own.tokens_BT.shape[1])
        count = len(own.ids)
        halves = torch.arange(2 * count, device=own.tokens_BT.device)
        return Batch(
            ids=own.ids * 2,
            prompt_BS=own.prompt_BS.repeat(2, 1),
            prompt_mask_BS=own.prompt_mask_BS.repeat(2, 1),
            tokens_BT=_stacked(theirs.tokens_BT, own.tokens_BT, width=width, fill=self._pad_id),
            mask_BT=_stacked(theirs.mask_BT, own.mask_BT, width=width, fill=0),
            source="pairs",
            group_B=halves % count,
            chosen_B=(halves < count).long(),
            finished=own.finished,
            forced_BT=self._forced(theirs, own, width),
        )

    def _forced(self, theirs: Batch, own: Batch, width: int) -> Tensor | None:
        """Return what a calculator put in either half: what a sample is not asked for, a text is not."""
        if self._calculator is None or own.forced_BT is None:
            return None
        put = [self._calculator.put(row) for row in theirs.tokens_BT.tolist()]
        put_BT = torch.tensor(put, device=own.tokens_BT.device).bool() & theirs.mask_BT.bool()
        return _stacked(put_BT, own.forced_BT, width=width, fill=0)


def by_example(texts: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of every example, in their own order."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in texts:
        found[row.id].append(row)
    return dict(found)


def _stacked(one_BT: Tensor, other_BT: Tensor, *, width: int, fill: int) -> Tensor:
    """Return the rows of both, padded on the right to one width."""
    return torch.cat([
        torch.nn.functional.pad(x_BT, (0, width - x_BT.shape[1]), value=fill).to(other_BT)
        for x_BT in (one_BT, other_BT)
    ])
