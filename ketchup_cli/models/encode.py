"""From texts to rows of ids, and from rows to padded batches by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch

from ketchup_cli.errors import DataError
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example
from ketchup_cli.signals import Batch, Prefixes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One example as ids; `position` is its place in the data source."""

    id: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...] = ()
    position: int = 0

    @property
    def size(self) -> int:
        """Prompt and completion tokens."""
        return len(self.prompt) + len(self.completion)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Longest prompt and completion (tokens), and what becomes of longer ones."""

    prompt: int
    completion: int = 1
    too_long: Literal["error", "truncate", "skip"] = "error"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Rows, and how many were cut or left out on the way."""

    rows: tuple[Row, ...]
    truncated: int
    skipped: int


def encode_prompts(policy: Policy, examples: Sequence[Example], limits: Limits) -> Encoded:
    """Return the prompts of `examples` as rows without completions.

    Raises:
        DataError: a prompt is longer than allowed and `too_long` is "error".
    """
    prompts = policy.prompt_ids([example.prompt for example in examples])
    pairs = [(prompt, None) for prompt in prompts]
    return _limit([example.id for example in examples], pairs, limits, end=policy.eos_id)


def encode_pairs(
    policy: Policy,
    examples: Sequence[Example],
    completions: Sequence[str] | Sequence[Sequence[int]],
    limits: Limits,
) -> Encoded:
    """Return examples with one completion each as rows.

    Args:
        policy: whose tokenizer is used.
        examples: their prompts.
        completions: texts, or token ids that are used as they are: decoding and encoding again
            may change ids.
        limits: longest prompt and completion.

    Raises:
        DataError: a row is longer than allowed and `too_long` is "error".
    """
    texts = [item for item in completions if isinstance(item, str)]
    ids: Sequence[Sequence[int]]
    if len(texts) == len(completions):
        ids = policy.completion_ids(texts)
    else:
        ids = [item for item in completions if not isinstance(item, str)]
    prompts = policy.prompt_ids([example.prompt for example in examples])
    pairs = [
        from_last(policy, *pair) if example.reversed == "tokens" else pair
        for example, pair in zip(examples, zip(prompts, ids, strict=True), strict=True)
    ]
    return _limit([example.id for example in examples], pairs, limits, end=policy.eos_id)


def from_last(
    policy: Policy, prompt: Sequence[int], completion: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return a row's ids from last to first: one id as the prompt, all others as the completion.

    Special tokens stay at the ends, and no id becomes another.
    """
    starts = [policy.tokenizer.bos_token_id] if prompt[0] == policy.tokenizer.bos_token_id else []
    ends = [policy.eos_id] if completion[-1] == policy.eos_id else []
    inner = [*prompt[len(starts) :], *completion[: len(completion) - len(ends)]]
    turned = inner[::-1]
    return [*starts, turned[0]], [*turned[1:], *ends]


def _limit(
    ids: Sequence[str],
    pairs: Sequence[tuple[Sequence[int], Sequence[int] | None]],
    limits: Limits,
    *,
    end: int,
) -> Encoded:
    rows: list[Row] = []
    truncated = skipped = 0
    for position, (name, (prompt, completion)) in enumerate(zip(ids, pairs, strict=True)):
        taken = completion or ()
        over = len(prompt) > limits.prompt or len(taken) > limits.completion
        if over and limits.too_long == "error":
            raise _too_long(name, len(prompt), len(taken), limits)
        if over and limits.too_long == "skip":
            skipped += 1
            continue
        truncated += over
        rows.append(
            Row(
                id=name,
                prompt=_cut(prompt, limits.prompt, end=end),
                completion=tuple(taken[: limits.completion]),
                position=position,
            )
        )
    return Encoded(rows=tuple(rows), truncated=truncated, skipped=skipped)


def _cut(prompt: Sequence[int], size: int, *, end: int) -> tuple[int, ...]:
    """Return the first ids of a prompt; one that closes with the end token still does."""
    if len(prompt) > size and prompt[-1] == end:
        return (*prompt[: size - 1], end)
    return tuple(prompt[:size])


def _too_long(name: str, prompt: int, completion: int, limits: Limits) -> DataError:
    return DataError(
        f"example `{name[:12]}` has {prompt} prompt and {completion} completion tokens;"
        f" the limits are {limits.prompt} and {limits.completion}",
        hint="--set too_long=skip, --set too_long=truncate, or higher limits"
        " (max_prompt_tokens, max_completion_tokens)",
    )


def collate(rows: Sequence[Row], *, pad_id: int, source: Prefixes) -> Batch:
    """Return rows as one right-padded batch on the CPU."""
    prompt_BS, prompt_mask_BS = pad([row.prompt for row in rows], pad_id=pad_id)
    tokens_BT, mask_BT = pad([row.completion for row in rows], pad_id=pad_id)
    return Batch(
        ids=tuple(row.id for row in rows),
        prompt_BS=prompt_BS,
        prompt_mask_BS=prompt_mask_BS,
        tokens_BT=tokens_BT,
        mask_BT=mask_BT.float(),
        source=source,
        rows=tuple(row.position for row in rows),
    )


def pad(lists: Sequence[Sequence[int]], *, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return id lists as one right-padded tensor and its 0/1 mask."""
    size = max((len(item) for item in lists), default=0)
    ids = torch.full((len(lists), size), pad_id, dtype=torch.long)
    mask = torch.zeros((len(lists), size), dtype=torch.long)
    for index, item in enumerate(lists):
        ids[index, : len(item)] = torch.tensor(item, dtype=torch.long)
        mask[index, : len(item)] = 1
    return ids, mask


def by_length(rows: Sequence[Row], tokens_per_batch: int) -> list[list[int]]:
    """Return row numbers in batches of like length whose padded size stays within the budget.

    A row larger than the budget makes a batch of its own.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].completion), len(rows[i].prompt)))
    batches: list[list[int]] = []
    prompt = completion = 0
    for index in order:
        row = rows[index]
        wide = (max(prompt, len(row.prompt)), max(completion, len(row.completion)))
        if batches and sum(wide) * (len(batches[-1]) + 1) <= tokens_per_batch:
            batches[-1].append(index)
            prompt, completion = wide
        else:
            batches.append([index])
            prompt, completion = len(row.prompt), len(row.completion)
    return batches
