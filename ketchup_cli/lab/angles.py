"""How the layers of a teacher lie as the states of a student see them, counted over many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from ketchup_cli import functional as F

Pair = tuple[int, int]
"""A layer of the student and one of the teacher, counted from 1."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The angles at one student layer between one teacher layer and the anchor, over all tokens."""

    student: int
    teacher: int
    count: int
    """Angles there are; where two states agree there is none."""
    missing: int
    total: float
    """Sum of their cosines."""
    acute: int
    """Those of less than 90 degrees."""
    histogram: tuple[int, ...]
    """Cosines by size, in equal bins from -1 to 1."""

    @property
    def mean(self) -> float | None:
        """The mean cosine."""
        return self.total / self.count if self.count else None

    @property
    def share(self) -> float | None:
        """The share of acute angles."""
        return self.acute / self.count if self.count else None


@final
class Angles:
    """Counts of angles by pair of layers; give it the states of a batch at a time.

    Example: `angles.add(student_LNH, teacher_KNH)`, then `angles.seen()`.
    """

    def __init__(self, *, anchor: int, bins: int) -> None:
        self.anchor, self.bins = anchor, bins
        self._histogram_LKB: Tensor | None = None
        self._figures_LK4: Tensor | None = None

    def add(self, student_LNH: Tensor, teacher_KNH: Tensor) -> None:
        """Count the angles of N tokens; states of layers alone, without the embeddings.

        Raises:
            ShapeError: shapes differ, or the teacher has no such anchor.
        """
        cosine_LKN = F.layer_angles(student_LNH, teacher_KNH, anchor=self.anchor).double().cpu()
        found_LKN = ~cosine_LKN.isnan()
        cosine_LKN = cosine_LKN.nan_to_num(0.0)
        figures = (found_LKN, ~found_LKN, cosine_LKN, cosine_LKN > 0)
        figures_LK4 = torch.stack([x.double().sum(dim=-1) for x in figures], dim=-1)
        histogram_LKB = self._counted(cosine_LKN, found_LKN)
        if self._figures_LK4 is not None and self._histogram_LKB is not None:
            figures_LK4 = self._figures_LK4 + figures_LK4
            histogram_LKB = self._histogram_LKB + histogram_LKB
        self._figures_LK4, self._histogram_LKB = figures_LK4, histogram_LKB

    def _counted(self, cosine_LKN: Tensor, found_LKN: Tensor) -> Tensor:
        places = ((cosine_LKN + 1) / 2 * self.bins).long().clamp(max=self.bins - 1)
        histogram = torch.zeros((*cosine_LKN.shape[:2], self.bins), dtype=torch.long)
        return histogram.scatter_add_(-1, places, found_LKN.long())

    def seen(self) -> tuple[Seen, ...]:
        """Return what was counted, student layers first."""
        if self._figures_LK4 is None or self._histogram_LKB is None:
            return ()
        return tuple(
            Seen(
                student=layer + 1,
                teacher=other + 1,
                count=int(figures[0]),
                missing=int(figures[1]),
                total=figures[2],
                acute=int(figures[3]),
                histogram=tuple(self._histogram_LKB[layer, other].tolist()),
            )
            for layer, row in enumerate(self._figures_LK4.tolist())
            for other, figures in enumerate(row)
        )


def overall(seen: Sequence[Seen], *, anchor: int) -> dict[str, float | None]:
    """Return the mean cosine and the share of acute angles, the anchor's with itself left out."""
    others = [item for item in seen if item.teacher != anchor]
    count = sum(item.count for item in others)
    if not count:
        return {"mean": None, "acute": None}
    return {
        "mean": sum(item.total for item in others) / count,
        "acute": sum(item.acute for item in others) / count,
    }


def document(seen: Sequence[Seen], *, anchor: int, tokens: int) -> dict[str, Any]:
    """Return everything that was counted as one JSON document."""
    return {
        "angles": 1,
        "anchor": anchor,
        "tokens": tokens,
        "student_layers": max(item.student for item in seen),
        "teacher_layers": max(item.teacher for item in seen),
        "bins": len(seen[0].histogram),
        "overall": overall(seen, anchor=anchor),
        "pairs": [
            {
                "student": item.student,
                "teacher": item.teacher,
                "mean": item.mean,
                "acute": item.share,
                "count": item.count,
                "missing": item.missing,
                "histogram": list(item.histogram),
            }
            for item in seen
        ],
    }


def table(seen: Sequence[Seen]) -> list[str]:
    """Return the lines of a table: a row a student layer, a column a teacher layer."""
    by_pair: dict[Pair, Seen] = {(item.student, item.teacher): item for item in seen}
    ours, theirs = (sorted({pair[place] for pair in by_pair}) for place in (0, 1))
    heading = [f"{'student':<8}", *(f"{f'teacher {layer}':>12}" for layer in theirs)]
    rows = [
        [f"{layer:<8}", *(f"{_cell(by_pair[layer, other]):>12}" for other in theirs)]
        for layer in ours
    ]
    return ["".join(cells).rstrip() for cells in (heading, *rows)]


def _cell(seen: Seen) -> str:
    if seen.mean is None or seen.share is None:
        return "-"
    return f"{seen.mean:.2f} {seen.share:.0%}"
