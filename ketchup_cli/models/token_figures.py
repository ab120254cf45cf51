"""Numbers a token of given completions: how well a model foresaw it, and whether its teacher did alike.

Logits exist one chunk at a time; what stays is a handful of numbers a token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import ModelError, NonFiniteError
from ketchup_cli.models.encode import by_length, collate
from ketchup_cli.models.layout import flat_places, offsets_of
from ketchup_cli.models.reduction import CHUNK_TOKENS, visit_blocks
from ketchup_cli.signals import Needs, TopEntries, to_device

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import Teacher
    from ketchup_cli.signals import Batch, LogitRows

FORESIGHT = ("nll", "brier", "confidence", "right")
"""Of the model alone: -log p(a) in nats, the Brier score, the largest probability, whether it is a's."""

AGREEMENT = ("same_choice", "kl", "reverse_kl", "tvd")
"""Beside a teacher: the same likeliest token, KL(teacher || model), KL(model || teacher), total
variation."""

FROM_TOP = ("same_choice", "kl", "tvd")
"""Those that a teacher's largest logits tell: what the model puts where the teacher's tail has next
to nothing has no bound in the reverse divergence."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFigures:
    """Numbers of the N completion tokens of R rows, row after row.

    Invariant: nothing in it depends on how rows were batched, but for rounding.
    """

    lengths_R: Tensor
    """Completion tokens of each row."""
    tokens_N: Tensor
    """Their ids."""
    values: dict[str, Tensor]
    """[N] float32 by name: those of `FORESIGHT`, and beside a teacher those of `AGREEMENT`, or of
    `FROM_TOP`."""


@torch.no_grad()
def measure_tokens(
    policy: Policy,
    rows: Sequence[Row],
    *,
    tokens_per_batch: int,
    teacher: Teacher | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    tell: Callable[[int, int], None] = lambda _rows, _tokens: None,
) -> TokenFigures:
    """Return the figures of every completion token of some rows, the model being fed the completions.

    From a teacher's top entries both distributions are compared over these entries and one for all
    others, which can only bring them nearer; the first choice is compared exactly, and there is no
    reverse divergence.

    Args:
        policy: the model, in eval mode.
        rows: references of a corpus, at least one, with their positions in the split.
        tokens_per_batch: padded tokens in one forward pass.
        teacher: whom to compare with, if anyone.
        chunk_tokens: tokens whose logits over the vocabulary exist at once.
        tell: called after every batch with its rows and tokens.

    Raises:
        ModelError: the policy is in training mode.
        MismatchError: the teacher cannot tell its largest logits, or speaks of other rows.
        NonFiniteError: a figure is NaN or infinite; the example is named.
    """
    if policy.module.training:
        raise ModelError("the model is in training mode", hint="call `policy.module.eval()`")
    lengths_R = torch.tensor([len(row.completion) for row in rows])
    offsets = offsets_of(lengths_R)
    columns: dict[str, Tensor] = {}
    for chosen in by_length(rows, tokens_per_batch):
        batch = collate([rows[i] for i in chosen], pad_id=policy.pad_id, source="data")
        batch = to_device(batch, policy.device)
        found = _figures(policy, batch, teacher, chunk_tokens=chunk_tokens)
        places = flat_places(offsets, torch.tensor(chosen))
        for name, value_N in found.items():
            column = columns.setdefault(name, torch.empty(int(offsets[-1])))
            column[places] = value_N.cpu()
        tell(len(chosen), len(places))
    tokens_N = torch.tensor([token for row in rows for token in row.completion])
    return TokenFigures(lengths_R=lengths_R, tokens_N=tokens_N, values=columns)


def _figures(
    policy: Policy, batch: Batch, teacher: Teacher | None, *, chunk_tokens: int
) -> dict[str, Tensor]:
    """Return the figures of the real tokens of a batch, in row-major order."""
    places_N = batch.mask_BT.flatten().nonzero()[:, 0]
    tokens_N = batch.tokens_BT.flatten()[places_N]
    theirs = None if teacher is None else _Theirs(teacher, batch, places_N)
    names = FORESIGHT + (() if theirs is None else theirs.names)
    # made before any logits, lest a small tensor of every block stand where the next chunk would
    columns = {name: torch.empty(len(places_N), device=policy.device) for name in names}

    def visit(which: slice, logits_NV: Tensor) -> None:
        found = _foresight(logits_NV, tokens_N[which])
        if theirs is not None:
            found |= theirs.beside(which, logits_NV)
        for name, column in columns.items():
            column[which] = found[name]

    hidden_NH = policy.hidden(batch).flatten(0, 1)[places_N]
    visit_blocks(policy, hidden_NH, chunk_tokens=chunk_tokens, visit=visit)
    _check_finite(columns, batch, places_N)
    return columns


def _foresight(logits_NV: Tensor, tokens_N: Tensor) -> dict[str, Tensor]:
    conf_N, right_N = F.confidence(logits_NV, tokens_N)
    return {
        "nll": -F.log_probs_of(logits_NV[None], tokens_N[None])[0],
        "brier": F.brier_scores(logits_NV, tokens_N),
        "confidence": conf_N,
        "right": right_N,
    }


@final
class _Theirs:
    """What a teacher says of a batch: all its logits, or its largest."""

    def __init__(self, teacher: Teacher, batch: Batch, places_N: Tensor) -> None:
        whole = teacher.offers.detail == "dense"
        signal = teacher.signal(batch, Needs(teacher="dense" if whole else "top"))
        self._rows: LogitRows | None = signal.dense
        self.names = AGREEMENT if signal.dense is not None else FROM_TOP
        self._top: TopEntries | None = None
        if signal.dense is None:
            assert signal.top is not None
            self._top = TopEntries(
                ids_BTM=signal.top.ids_BTM.flatten(0, 1)[places_N][None],
                gaps_BTM=signal.top.gaps_BTM.flatten(0, 1)[places_N][None],
                tail_BT=signal.top.tail_BT.flatten()[places_N][None],
            )

    def beside(self, which: slice, q_NV: Tensor) -> dict[str, Tensor]:
        """Return the figures of agreement of a block with the student's logits."""
        if self._rows is not None:
            p_NV = self._rows.logits(which)
            same_N, apart = F.same_choice(p_NV, q_NV), F.pair_distances(p_NV, q_NV)
        else:
            same_N, apart = self._from_top(which, q_NV)
        return {
            "same_choice": same_N,
            "kl": apart.kl_N,
            "reverse_kl": apart.reverse_kl_N,
            "tvd": apart.tvd_N,
        }

    def _from_top(self, which: slice, q_NV: Tensor) -> tuple[Tensor, F.PairDistances]:
        assert self._top is not None
        own = TopEntries(
            ids_BTM=self._top.ids_BTM[:, which],
            gaps_BTM=self._top.gaps_BTM[:, which],
            tail_BT=self._top.tail_BT[:, which],
        )
        p_1NM, q_1NM = F.bucketed(own, q_NV[None])
        # by id and not among the entries compared: the student's choice may lie in the tail
        same_N = own.ids_BTM[0, :, 0].long() == q_NV.argmax(dim=-1)
        return same_N.float(), F.pair_distances(p_1NM[0], q_1NM[0])


def _check_finite(columns: dict[str, Tensor], batch: Batch, places_N: Tensor) -> None:
    for name, column in columns.items():
        wrong_N = (~column.isfinite()).nonzero()
        if len(wrong_N):
            row, step = divmod(int(places_N[int(wrong_N[0])]), batch.tokens_BT.shape[1])
            raise NonFiniteError(
                f"`{name}` of example `{batch.ids[row][:12]}`, step {step}, is not finite",
                hint="check the weights of model and teacher for NaN, or --set precision=float32",
            )
