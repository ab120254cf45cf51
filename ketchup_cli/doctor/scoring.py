"""A few rows, chosen and scored: what several checks stand on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.models.encode import Limits, Row, by_length, collate
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Batch, Needs, Prefixes, to_device

EXAMPLES = 16
"""Rows a check looks at: enough to tell a fault in every fourth from chance, and soon read."""

FEW = 4
"""Rows a check looks at before a stage, where a second counts."""

SHORT = Limits(prompt=64, completion=32, too_long="truncate")
"""What those few are cut to: how a model reads a text does not depend on its end."""

TOKENS_PER_BATCH = 2000
"""Padded tokens of one forward pass."""


@final
@dataclass(frozen=True, slots=True)
class Scored:
    """What a policy says about one completion."""

    loss: float
    """Negative log-likelihood a token (nats)."""
    likeliest: float
    """Share of the tokens that are the policy's own first choice."""


def spread(count: int, wanted: int = EXAMPLES) -> list[int]:
    """Return at most `wanted` numbers below `count`, the first and the last and evenly between."""
    if count <= wanted:
        return list(range(count))
    return [number * (count - 1) // (wanted - 1) for number in range(wanted)]


def batch_of(policy: Policy, rows: Sequence[Row], *, source: Prefixes = "data") -> Batch:
    """Return rows as one batch on the policy's device."""
    return to_device(collate(rows, pad_id=policy.pad_id, source=source), policy.device)


def by_batches(
    policy: Policy, rows: Sequence[Row], *, source: Prefixes = "data"
) -> Iterator[tuple[list[int], Batch]]:
    """Yield rows in batches of like length, with their numbers."""
    for numbers in by_length(rows, TOKENS_PER_BATCH):
        yield numbers, batch_of(policy, [rows[number] for number in numbers], source=source)


def score(policy: Policy, rows: Sequence[Row], *, skip: int = 0) -> list[Scored]:
    """Return what a policy says about the completions of rows, teacher-forced, in their order.

    Args:
        policy: in eval mode.
        rows: with completions longer than `skip`.
        skip: tokens at the beginning that do not count.

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    found: dict[int, Scored] = {}
    live = LiveTeacher(policy)
    for numbers, batch in by_batches(policy, rows):
        signal = live.signal(batch, Needs(teacher="stats"))
        logp_BT = (signal.taken_BT - signal.lse_BT)[:, skip:]
        mask_BT = batch.mask_BT[:, skip:]
        first_BT = (signal.taken_BT >= signal.best_BT)[:, skip:] & mask_BT.bool()
        size_B = mask_BT.sum(dim=1).clamp(min=1)
        losses = (-(logp_BT * mask_BT).sum(dim=1) / size_B).tolist()
        shares = (first_BT.sum(dim=1) / size_B).tolist()
        for number, loss, share in zip(numbers, losses, shares, strict=True):
            found[number] = Scored(loss, share)
    return [found[number] for number in range(len(rows))]


def mean(values: Sequence[float]) -> float:
    """Return the mean of values, 0 of none."""
    return sum(values) / max(1, len(values))
