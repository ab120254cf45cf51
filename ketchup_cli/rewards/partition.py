"""Prompts that a reference knows already, and those that are open: parted by the share of right samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import DataError
from ketchup_cli.records import Rollout

ROUNDING = 1e-9
"""What three quarters of four may fall short of three by."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Example ids on either side, and what is rehearsed of the known ones.

    Invariant: `known` and `open` have nothing in common, and together are all examples with samples.
    """

    known: tuple[str, ...]
    open: tuple[str, ...]
    rehearsed: tuple[Rollout, ...]
    """Right samples of known examples."""
    unconfirmed: int
    """Known examples none of whose samples may be rehearsed."""


def partition(rollouts: Sequence[Rollout], *, threshold: float, held: int) -> Partition:
    """Return which examples are known, and which of their samples are rehearsed.

        known   where (right samples) / (judged samples) >= threshold

    A sample that made an example known is more likely right than one that did not take part. So the last
    `held` samples of each example are not judged; of the known examples the right ones of them are
    rehearsed. With 0 held, the right ones of all are.

    Args:
        rollouts: rewarded samples of any order; a sample whose reward failed is not judged.
        threshold: share of right samples, 0 to 1.
        held: samples an example that are kept out of its share.

    Raises:
        DataError: the samples were not rewarded, or an example has too few.
    """
    by_example: dict[str, list[Rollout]] = {}
    for row in sorted(rollouts, key=lambda row: row.sample):
        by_example.setdefault(row.id, []).append(row)
    _check(by_example, held=held)
    known: list[str] = []
    rehearsed: list[Rollout] = []
    unconfirmed = 0
    for name, rows in by_example.items():
        if not _is_known(rows[: len(rows) - held], threshold):
            continue
        known.append(name)
        right = [row for row in (rows[len(rows) - held :] if held else rows) if row.correct]
        rehearsed += right
        unconfirmed += not right
    aside = set(known)
    return Partition(
        known=tuple(known),
        open=tuple(name for name in by_example if name not in aside),
        rehearsed=tuple(rehearsed),
        unconfirmed=unconfirmed,
    )


def _is_known(rows: Sequence[Rollout], threshold: float) -> bool:
    judged = [row.correct for row in rows if row.correct is not None]
    return bool(judged) and sum(judged) >= threshold * len(judged) - ROUNDING


def _check(by_example: Mapping[str, Sequence[Rollout]], *, held: int) -> None:
    if all(row.correct is None for rows in by_example.values() for row in rows):
        raise DataError(
            "the rollouts were not rewarded, so nobody knows which are right",
            hint="ketchup rollout --set reward.correct=gsm8k-numeric",
        )
    few = [name for name, rows in by_example.items() if len(rows) <= held]
    if few:
        raise DataError(
            f"{len(few)} examples have {held} samples or fewer, all of which would be held back",
            hint="--set rehearsal.held=0, or more samples in `ketchup rollout`",
        )
