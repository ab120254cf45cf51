"""What the teacher says about some rows, gathered in any order and written in theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import torch
from safetensors.torch import save
from torch import Tensor

from ketchup_cli.errors import DataError, NonFiniteError
from ketchup_cli.models.encode import Row
from ketchup_cli.models.layout import (
    DTYPES,
    METADATA_KEY,
    Extent,
    Layout,
    described,
    flat_places,
    offsets_of,
    prompt_digest,
)

if TYPE_CHECKING:
    from ketchup_cli.models.reduction import Reduced

GAP_LIMIT = torch.finfo(torch.float16).max
"""Gaps are cut here; exp(-65504) is 0 in float32, so no probability changes."""


def columns_of(layout: Layout, reduced: Reduced) -> dict[str, Tensor]:
    """Return what the layout keeps of a batch, by the names of its columns."""
    statistics = reduced.statistics
    found = {
        "taken": statistics.taken_N,
        "best": statistics.best_N,
        "mean": statistics.mean_N,
        "expected": statistics.expected_NK,
        "lse": statistics.lse_NK,
    }
    if layout.keep == "hidden":
        return {**found, "states": reduced.hidden_NH}
    if layout.keep == "sampled" and reduced.draws is not None:
        ids_NG, counts_NG = reduced.draws
        return {**found, "drawn": ids_NG, "counts": counts_NG}
    if reduced.entries is None:
        return {**found, "tail": torch.ones_like(statistics.lse_NK)}
    ids_NM, gaps_NM, tail_NK = reduced.entries
    return {**found, "ids": ids_NM, "gaps": gaps_NM, "tail": tail_NK}


def log_prob_columns(
    layout: Layout, steps: Sequence[Sequence[tuple[float, int]]]
) -> dict[str, Tensor]:
    """Return the columns of steps of which only log-probabilities are known, most likely first.

    At temperature tau a gap between logits is tau times that between log-probabilities, and their
    log-sum-exp can be put at 0.
    """
    tau = layout.temperatures[0]
    logp_NM = torch.tensor([[value for value, _ in step[: layout.top]] for step in steps])
    ids_NM = torch.tensor([[token for _, token in step[: layout.top]] for step in steps])
    return {
        "best": tau * logp_NM[:, 0],
        "lse": torch.zeros(len(steps), 1),
        "tail": (1 - logp_NM.double().exp().sum(dim=1, keepdim=True)).clamp(0, 1),
        "ids": ids_NM,
        "gaps": tau * (logp_NM[:, :1] - logp_NM),
    }


@final
class ShardWriter:
    """Gathers what the teacher says about some rows, in any order, and gives the shard's bytes.

    Invariant: the bytes depend on the rows and on the teacher's numbers alone.
    """

    def __init__(self, layout: Layout, rows: Sequence[Row], *, first: int) -> None:
        self.layout = layout
        self.first = first
        self.offsets = offsets_of(torch.tensor([len(row.completion) for row in rows]))
        extent = Extent(rows=len(rows), tokens=int(self.offsets[-1]))
        self.tensors = {
            name: torch.zeros(column.shape(extent), dtype=DTYPES[column.dtype])
            for name, column in layout.columns.items()
        }
        self.tensors["offsets"] = self.offsets
        self.tensors["positions"] = torch.tensor([row.position for row in rows])
        self.tensors["prompts"] = torch.tensor([prompt_digest(row.prompt) for row in rows])
        self.tensors["tokens"] = torch.tensor(
            [token for row in rows for token in row.completion], dtype=torch.int32
        )
        if layout.keep == "sampled":
            # one place for every draw until all are known: how many differ is known only then
            for name in ("drawn", "counts"):
                own = self.tensors[name]
                self.tensors[name] = torch.zeros((extent.tokens, layout.draws), dtype=own.dtype)
        self._missing = torch.ones(extent.tokens, dtype=torch.bool)

    def places(self, rows: Sequence[int]) -> Tensor:
        """Return where the tokens of these rows go, row after row."""
        return flat_places(self.offsets, torch.tensor(rows, dtype=torch.int64))

    def put(self, places_N: Tensor, **columns: Tensor) -> None:
        """Take the numbers of some tokens, by the names of the layout's columns.

        `drawn` and `counts` come with one place for every draw, counts of 0 at the end.

        Raises:
            NonFiniteError: a state is too large for the type it is kept in.
        """
        if "gaps" in columns:
            columns["gaps"] = columns["gaps"].clamp(max=GAP_LIMIT)
        for name, values in columns.items():
            column = self.tensors[name]
            column[places_N] = values.to("cpu", column.dtype)
        if "states" in columns and not bool(self.tensors["states"][places_N].isfinite().all()):
            raise NonFiniteError(
                f"a state of the teacher does not fit into {self.layout.state_dtype}",
                hint="--set state_dtype=float32",
            )
        self._missing[places_N] = False

    def to_bytes(self) -> bytes:
        """Return the shard as a safetensors file.

        Raises:
            DataError: the teacher said nothing about some token.
        """
        missing = int(self._missing.sum())
        if missing:
            raise DataError(
                f"{missing} of {len(self._missing)} tokens of a shard were never scored",
                hint="this is a defect of ketchup; report it with the command",
            )
        tensors = self.tensors
        if self.layout.keep == "sampled":
            tensors = {**tensors, **self._packed()}
        text = described(self.layout, first=self.first)
        return bytes(save(tensors, metadata={METADATA_KEY: text}))

    def _packed(self) -> dict[str, Tensor]:
        """Return the draws without the places that stayed empty."""
        used = self.tensors["counts"] > 0
        distinct = used.sum(dim=1)
        return {
            "distinct": distinct.to(torch.uint8),
            "starts": offsets_of(distinct)[self.offsets],
            "drawn": self.tensors["drawn"][used],
            "counts": self.tensors["counts"][used],
        }
