"""Preferences between what the teacher says and what the student says, by log-ratios of the two."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.masking import lengths, zero_padding
from ketchup_cli.functional.steps import read_blocks
from ketchup_cli.signals import LogitRows, TopEntries

Length = Literal["sum", "mean"]
"""Whether a text counts by all its tokens together, or by their mean."""


def preference_loss(margin: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Return the loss of preferring one side of a margin to the other.

        -(1 - e) log sigma(beta m) - e log sigma(-beta m)

    The gradient on the margin is beta (e - sigma(-beta m)): little is left of it once the margin is
    large. For m = 0, and as beta goes to 0, the loss is log 2; e = 1/2 prefers neither side.

    Args:
        margin: log-ratio of the preferred side less that of the other (nats), of any shape.
        beta: what a nat of margin counts, >= 0.
        label_smoothing: e, the share of preferences that are taken for wrong, 0 to 1.

    Returns:
        The losses, in the shape of `margin`, at least float32.

    Source: Li et al. 2024, arXiv 2406.19774. Differs: label smoothing.
    """
    scaled = beta * at_least_float32(margin)
    right, wrong = (torch.nn.functional.softplus(x) for x in (-scaled, scaled))
    return (1 - label_smoothing) * right + label_smoothing * wrong


def per_text(value_BT: Tensor, mask_BT: Tensor, *, length: Length = "sum") -> Tensor:
    """Return what the tokens of every text come to together.

        sum    sum_t x_t        mean   sum_t x_t / number of tokens

    The sum of log q(a_t|s_t) - log p(a_t|s_t) is log q(y|x) - log p(y|x): of two texts the longer
    one then has the larger ratio, whichever its sign. The mean is the ratio of a token.

    Args:
        value_BT: [B, T] one number a token; gradients flow.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        length: "sum" or "mean".

    Returns:
        [B], 0 for a text without tokens.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("value_BT mask_BT", value_BT, mask_BT)
    total_B = zero_padding(value_BT, mask_BT).sum(dim=1)
    return total_B if length == "sum" else total_B / lengths(mask_BT).clamp(min=1)


def by_pair(value_B: Tensor, group_B: Tensor, chosen_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the chosen and the rejected value of the pair that every row belongs to.

    Both rows of a pair are given the same two numbers, so a mean over rows is one over pairs.

    Args:
        value_B: [B] one number a row; gradients flow.
        group_B: [B] equal for the two rows of a pair.
        chosen_B: [B] non-zero on the preferred row of each pair.

    Returns:
        Two [B] tensors.

    Raises:
        ShapeError: shapes differ, or a group is not one chosen and one rejected row.
    """
    check_shapes("value_B group_B chosen_B", value_B, group_B, chosen_B)
    chosen_B = chosen_B.bool()
    other_BB = (group_B[:, None] == group_B) & (chosen_B[:, None] != chosen_B)
    if bool((other_BB.sum(dim=1) != 1).any()):
        raise ShapeError("every group must hold one chosen and one rejected row")
    other_B = value_B[other_BB.int().argmax(dim=1)]
    return torch.where(chosen_B, value_B, other_B), torch.where(chosen_B, other_B, value_B)


def token_margins(
    teacher: LogitRows | TopEntries, q_logits_BTV: Tensor, mask_BT: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return by how much the student prefers the teacher's token to its own, and both tokens.

        a = argmax p,  b = argmax q,   m_t = log (q(a) / q(b)) - log (p(a) / p(b))

    Of both distributions only a difference of two logits is read. Where both name one token the
    margin and its gradient are 0.

    Known by its top entries the teacher's token is exact. Where the student's is none of them, it is
    taken for as likely as the least of them: the margin is then too small in size, never too large.

    Args:
        teacher: all logits of the real tokens, or the largest ones of every token, largest first.
        q_logits_BTV: [B, T, V] student logits; gradients flow.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        Margins [B, T] in nats, at least float32, 0 on padding; token ids a and b, [B, T].

    Raises:
        ShapeError: shapes differ, or not as many teacher rows as real tokens.

    Source: the code released with Li et al. 2024, arXiv 2406.19774.
    """
    check_shapes("q_logits_BTV mask_BT", q_logits_BTV, mask_BT)
    rejected_BT = q_logits_BTV.argmax(dim=-1)
    if isinstance(teacher, TopEntries):
        chosen_BT, gap_BT = _of_top(teacher, rejected_BT)
    else:
        chosen_BT, gap_BT = _of_rows(teacher, q_logits_BTV, rejected_BT, mask_BT)
    ids_BT2 = torch.stack([chosen_BT, rejected_BT], dim=-1)
    logits_BT2 = at_least_float32(q_logits_BTV.gather(-1, ids_BT2))
    margin_BT = logits_BT2[..., 0] - logits_BT2[..., 1] - gap_BT
    return zero_padding(margin_BT, mask_BT), chosen_BT, rejected_BT


def _of_top(top: TopEntries, rejected_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the teacher's token, and how much likelier it is to the teacher than the student's."""
    check_shapes("top.ids_BTM rejected_BT", top.ids_BTM, rejected_BT)
    ids_BTM, gaps_BTM = top.ids_BTM.long(), at_least_float32(top.gaps_BTM)
    found_BTM = ids_BTM == rejected_BT[..., None]
    known_BT = torch.where(found_BTM, gaps_BTM, 0).sum(dim=-1)
    gap_BT = torch.where(found_BTM.any(dim=-1), known_BT, gaps_BTM[..., -1])
    return ids_BTM[..., 0], gap_BT.detach()


def _of_rows(
    rows: LogitRows, q_logits_BTV: Tensor, rejected_BT: Tensor, mask_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the same from all logits, read block by block."""
    places_N = mask_BT.flatten().nonzero()[:, 0]
    if rows.count != len(places_N):
        raise ShapeError(f"{rows.count} rows of teacher logits for {len(places_N)} real tokens")
    chosen_BT = torch.zeros_like(rejected_BT)
    gap_BT = at_least_float32(q_logits_BTV.detach()).new_zeros(mask_BT.shape)
    for which in read_blocks(len(places_N), q_logits_BTV.flatten(0, 1)):
        logits_NV, places = at_least_float32(rows.logits(which).detach()), places_N[which]
        best_N, ids_N = logits_NV.max(dim=-1)
        theirs_N = logits_NV.gather(1, rejected_BT.flatten()[places][:, None])[:, 0]
        chosen_BT.view(-1)[places] = ids_N
        gap_BT.view(-1)[places] = (best_N - theirs_N).to(gap_BT)
    return chosen_BT, gap_BT
