"""Turns between data and the student's own completions, kept to be learnt from again.

With update u of U and a share phi in [0, 1]:

    with probability phi      the update learns from completions drawn from the buffer, to which
                              new ones are added first with probability 1 - u / U
    otherwise                 it learns from data

and phi rises by a step whenever the dev loss has risen by more than a tolerance since the last
validation. New completions are thus written with probability phi (1 - u / U), less and less.

Source: Ko et al. 2024 (DistiLLM), arXiv 2402.03898. Here new completions are written only in an
update that learns from the buffer, at the same rate; the step of phi is a setting.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from ketchup_cli.models.encode import Row, collate
from ketchup_cli.signals import Batch, Prefixes
from ketchup_cli.specs import ReplaySpec
from ketchup_cli.train.data import derived_seed

STUDENT: Prefixes = "student"

Numbers = list[int]


@final
@dataclass(frozen=True, slots=True)
class Kept:
    """One completion of the student, with its log-probabilities when it was written."""

    row: Row
    logp_T: Tensor
    forced_T: Tensor | None
    """True on tokens a calculator put; None without one."""


@final
class Replay:
    """Decides whose completions an update learns from, and keeps those of the student.

    Invariant: every decision follows from (seed, update) and the state that is saved, so a resumed
    run decides like one that was never stopped.
    """

    def __init__(
        self, spec: ReplaySpec, *, batch: int, updates: int, seed: int, pad_id: int
    ) -> None:
        """Begin with nothing kept.

        Args:
            spec: capacity, share and how it rises.
            batch: completions in one batch.
            updates: of the whole run.
            seed: of the run.
            pad_id: fills what is shorter than its batch.
        """
        self._spec = spec
        self._batch = batch
        self._updates = updates
        self._seed = seed
        self._pad_id = pad_id
        self._kept: deque[Kept] = deque(maxlen=spec.capacity)
        self._taken: dict[str, int] = {}
        self._loss: float | None = None
        self.share = spec.share

    def turn(self, update: int, sources: Sequence[Prefixes]) -> Prefixes:
        """Return whose completions this update learns from; a source that is alone has every turn."""
        others = [name for name in sources if name != STUDENT]
        if not others:
            return STUDENT
        return STUDENT if self._random("turn", update).random() < self.share else others[0]

    def taken(self, name: Prefixes) -> int:
        """Return how many batches were taken from a source so far."""
        return self._taken.get(name, 0)

    def batches(self, update: int, name: Prefixes, stream: Iterator[Batch]) -> Iterator[Batch]:
        """Return batches for this update; the student's come out of the buffer.

        Args:
            update: its number, from 0.
            name: whose turn it is.
            stream: new batches of that source.
        """
        for number in itertools.count():
            if name != STUDENT:
                yield self._next(name, stream)
                continue
            dice = self._random("batch", update, number)
            if not self._kept or dice.random() < 1 - update / self._updates:
                self._keep(self._next(name, stream))
            yield self._drawn(dice, min(self._batch, len(self._kept)))

    def observe(self, loss: float) -> None:
        """Take note of the dev loss; the share rises where the loss did."""
        if self._loss is not None and loss > self._loss + self._spec.tolerance:
            self.share = min(1.0, self.share + self._spec.step)
        self._loss = loss

    def figures(self) -> dict[str, float]:
        """Return what the log says of it."""
        return {
            "replay_share": self.share,
            "replay_kept": float(len(self._kept)),
            "replay_written": float(self.taken(STUDENT)),
        }

    def facts(self) -> dict[str, Any]:
        """Return its state but for the tensors."""
        return {
            "share": self.share,
            "loss": self._loss,
            "taken": dict(self._taken),
            "ids": [kept.row.id for kept in self._kept],
            "positions": [kept.row.position for kept in self._kept],
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return prompts, completions and what is known of their tokens, flat, with their sizes."""
        prompts = [torch.tensor(kept.row.prompt) for kept in self._kept]
        completions = [torch.tensor(kept.row.completion) for kept in self._kept]
        return {
            "prompts": _flat(prompts),
            "prompt_sizes": torch.tensor([len(item) for item in prompts]),
            "completions": _flat(completions),
            "completion_sizes": torch.tensor([len(item) for item in completions]),
            "logp": torch.cat([torch.zeros(0), *(kept.logp_T for kept in self._kept)]),
            **self._forced(),
        }

    def _forced(self) -> dict[str, Tensor]:
        found = [kept.forced_T for kept in self._kept if kept.forced_T is not None]
        return {"forced": torch.cat(found)} if found else {}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Put back what `facts` and `tensors` gave."""
        self.share, self._loss = facts["share"], facts["loss"]
        self._taken = dict(facts["taken"])
        sizes: Numbers = tensors["completion_sizes"].tolist()
        forced = tensors.get("forced")
        parts = zip(
            facts["ids"],
            facts["positions"],
            torch.split(tensors["prompts"], tensors["prompt_sizes"].tolist()),
            torch.split(tensors["completions"], sizes),
            torch.split(tensors["logp"], sizes),
            torch.split(forced, sizes) if forced is not None else [None] * len(sizes),
            strict=True,
        )
        self._kept.clear()
        for name, position, prompt, completion, logp_T, forced_T in parts if sizes else ():
            row = Row(
                id=name,
                prompt=tuple(prompt.tolist()),
                completion=tuple(completion.tolist()),
                position=position,
            )
            self._kept.append(Kept(row, logp_T, forced_T))

    def _random(self, *parts: object) -> random.Random:
        return random.Random(derived_seed("replay", self._seed, *parts))

    def _next(self, name: Prefixes, stream: Iterator[Batch]) -> Batch:
        batch = next(stream)
        self._taken[name] = self.taken(name) + 1
        return batch

    def _keep(self, batch: Batch) -> None:
        """Add the batch's completions; the oldest go where the buffer is full."""
        prompts, tokens = batch.prompt_BS.tolist(), batch.tokens_BT.tolist()
        prompt_sizes = batch.prompt_mask_BS.sum(dim=1).int().tolist()
        sizes = batch.mask_BT.sum(dim=1).int().tolist()
        assert batch.behaviour_logp_BT is not None
        logp_BT = batch.behaviour_logp_BT.detach().float().cpu()
        put_BT = None if batch.forced_BT is None else batch.forced_BT.cpu()
        for index, name in enumerate(batch.ids):
            row = Row(
                id=name,
                prompt=tuple(prompts[index][: prompt_sizes[index]]),
                completion=tuple(tokens[index][: sizes[index]]),
                position=batch.rows[index],
            )
            # copies: a view would keep the numbers of the whole batch
            put_T = None if put_BT is None else put_BT[index, : sizes[index]].clone()
            self._kept.append(Kept(row, logp_BT[index, : sizes[index]].clone(), put_T))

    def _drawn(self, dice: random.Random, count: int) -> Batch:
        """Return some of what is kept, none twice, as a batch of the student."""
        chosen = [self._kept[index] for index in dice.sample(range(len(self._kept)), count)]
        batch = collate([kept.row for kept in chosen], pad_id=self._pad_id, source=STUDENT)
        logp_BT = torch.zeros(batch.tokens_BT.shape)
        forced_BT = None
        if all(kept.forced_T is not None for kept in chosen):
            forced_BT = torch.zeros(batch.tokens_BT.shape, dtype=torch.bool)
        for index, kept in enumerate(chosen):
            logp_BT[index, : len(kept.logp_T)] = kept.logp_T
            if forced_BT is not None and kept.forced_T is not None:
                forced_BT[index, : len(kept.forced_T)] = kept.forced_T
        groups = {name: number for number, name in enumerate(dict.fromkeys(batch.ids))}
        return Batch(
            ids=batch.ids,
            prompt_BS=batch.prompt_BS,
            prompt_mask_BS=batch.prompt_mask_BS,
            tokens_BT=batch.tokens_BT,
            mask_BT=batch.mask_BT,
            source=STUDENT,
            behaviour_logp_BT=logp_BT,
            forced_BT=forced_BT,
            group_B=torch.tensor([groups[name] for name in batch.ids]),
            rows=batch.rows,
        )


def _flat(rows: Sequence[Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.int64), *rows])
