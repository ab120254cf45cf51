"""Divergences from a teacher of whom only the largest logits are known.

The mass of all other entries is known too (`TopEntries.tail_BT`); what is unknown is how it is
spread. A rule for it is named, never silent. Dropping the tail is not offered: sum over the kept
entries of p log(p/q) can be negative, and its optimum is not the teacher.
"""

from typing import Literal

import torch
from torch import Tensor

from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.logprobs import LOGIT_FLOOR
from ketchup_cli.signals import TopEntries

Tail = Literal["bucket", "renormalise"]


def kl_truncated(
    top: TopEntries, q_logits_BTV: Tensor, *, tail: Tail = "bucket", temperature: float = 1.0
) -> Tensor:
    """Return the forward Kullback-Leibler divergence from a truncated teacher.

        bucket       sum_m p_m log(p_m / q_m) + p_tail log(p_tail / q_tail)
        renormalise  sum_m p'_m log(p'_m / q_m),   p' = p / (1 - p_tail)

    "bucket" treats the tail as one more token. It is the exact divergence less p_tail times the
    divergence inside the tail: a lower bound that grows with M, never negative; its gradient on
    the student's logits is exact on the kept entries and off by at most 2 p_tail in all (L1).
    "renormalise" has the teacher cut to its top entries as its optimum. Both equal `kl` for M = V.
    Gradients flow into the student's logits only: what is truncated is data.

    Args:
        top: the teacher's M largest logits as gaps from the largest, and the mass of the tail at
            `temperature`.
        q_logits_BTV: [B, T, V] student logits in the same states, finite.
        tail: the rule for the unknown entries.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes(
        "top.ids_BTM top.gaps_BTM top.tail_BT q_logits_BTV",
        top.ids_BTM,
        top.gaps_BTM,
        top.tail_BT,
        q_logits_BTV,
    )
    ids_BTM = top.ids_BTM.long()
    logq_BTV = (at_least_float32(q_logits_BTV) / temperature).log_softmax(dim=-1)
    # of the kept entries only their ratio is taken from the gaps: rounded gaps would otherwise
    # leave a total mass that is not 1, and a divergence below 0
    gaps_BTM = top.gaps_BTM.detach().to(logq_BTV.dtype).clamp(max=-LOGIT_FLOOR)
    logp_BTM = (-gaps_BTM / temperature).log_softmax(dim=-1)
    p_tail_BT = top.tail_BT.detach().to(logq_BTV.dtype)
    whole = ids_BTM.shape[-1] == logq_BTV.shape[-1]
    if tail == "bucket" and not whole:
        logp_BTM = logp_BTM + torch.log1p(-p_tail_BT)[..., None]
    kept_BTM = logp_BTM.exp() * (logp_BTM - logq_BTV.gather(-1, ids_BTM))
    if tail == "renormalise" or whole:
        return kept_BTM.sum(dim=-1)
    # not log(1 - sum of the kept): nothing would be left of a small tail
    logq_tail_BT = logq_BTV.scatter(-1, ids_BTM, LOGIT_FLOOR).logsumexp(dim=-1)
    tail_BT = torch.xlogy(p_tail_BT, p_tail_BT) - p_tail_BT * logq_tail_BT
    return kept_BTM.sum(dim=-1) + tail_BT
