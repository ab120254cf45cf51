"""Prompts and completions: does each belong to the other, or to the row beside it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from ketchup_cli.doctor.result import Check, failed, not_checked, passed, warned
from ketchup_cli.doctor.scoring import mean, score, spread
from ketchup_cli.models.encode import Row
from ketchup_cli.models.policy import Policy

MOST_MISFITS = 0.25
"""Share of rows that a neighbour's completion may fit better. A teacher that tells nothing apart
prefers its own in one of three, so 4 misfits or fewer of 16 come to it once in 1,000 times."""

SIDES = {"next": 1, "before": -1}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A row whose prompt goes better with a neighbour's completion."""

    row: Row
    side: str
    own: float
    other: float

    def __str__(self) -> str:
        return (
            f"row {self.row.position + 1:,} (`{self.row.id[:12]}`): the text of the row"
            f" {self.side} fits better, {self.other:.2f} against {self.own:.2f}"
        )


def pairing(
    policy: Policy, rows: Sequence[Row], *, chosen: Sequence[int], name: str, remedy: str
) -> Check:
    """Compare a teacher's loss on rows with that on their prompts and a neighbour's completion.

    Lines that slipped by one, rows that were sorted on one side, prompts of another template: all
    make the own completion no likelier than another's.

    Args:
        policy: the teacher.
        rows: rows that stand beside each other.
        chosen: their numbers in `rows` that are looked at; the two beside each are there too.
        name: of the check.
        remedy: what helps.
    """
    if not chosen:
        return not_checked(name, f"{len(rows)} rows are too few to compare with each other")
    losses = _losses(policy, rows, chosen)
    misfits = [
        Misfit(row=rows[number], side=side, own=losses["own"][index], other=losses[side][index])
        for index, number in enumerate(chosen)
        for side in [min(SIDES, key=lambda item: losses[item][index])]
        # two rows with one text are no misfit
        if losses[side][index] < losses["own"][index]
    ]
    return _judged(losses, misfits, name=name, remedy=remedy)


def inner(count: int) -> list[int]:
    """Return the numbers of a few rows of `count` that have one on either side."""
    return [1 + number for number in spread(count - 2)] if count > 2 else []


def _losses(
    policy: Policy, rows: Sequence[Row], chosen: Sequence[int]
) -> Mapping[str, list[float]]:
    asked = [rows[number] for number in chosen]
    for step in SIDES.values():
        asked += [
            replace(rows[number], completion=rows[number + step].completion) for number in chosen
        ]
    found = [item.loss for item in score(policy, asked)]
    size = len(chosen)
    names = ("own", *SIDES)
    return {label: found[n * size : (n + 1) * size] for n, label in enumerate(names)}


def _judged(
    losses: Mapping[str, list[float]], misfits: Sequence[Misfit], *, name: str, remedy: str
) -> Check:
    size = len(losses["own"])
    figures = {f"{side}_loss": mean(values) for side, values in losses.items()}
    figures |= {"rows": size, "misfits": len(misfits)}
    told = [
        f"the teacher's loss is {figures['own_loss']:.2f} on {size} rows, {figures['next_loss']:.2f}"
        f" with the text of the next row and {figures['before_loss']:.2f} with that of the row before"
        " (nats a token)"
    ]
    if not misfits:
        return passed(name, told, figures=figures)
    told += [f"in {len(misfits)} of {size} rows another's text fits better", str(misfits[0])]
    if len(misfits) <= MOST_MISFITS * size:
        return warned(
            name, told, "look at these rows; a loose reference looks like this too", figures=figures
        )
    side, often = Counter(item.side for item in misfits).most_common(1)[0]
    if often > len(misfits) / 2 and figures[f"{side}_loss"] < figures["own_loss"]:
        told.append(
            f"the texts of the rows {side} fit best: prompts and texts are off by one from about row"
            f" {misfits[0].row.position + 1:,} on"
        )
    else:
        told.append("texts of other rows, prompts unlike those it was trained on, or no training")
    return failed(name, told, remedy, figures=figures)
