"""How far a student says what its teacher says: three distances in one sweep, and the first choice.

Order of arguments, always: the teacher's logits p, then the student's q. Logits must be finite.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ketchup_cli.functional.checks import at_least_float32, check_shapes

_NAMES = "p_logits_NV q_logits_NV"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PairDistances:
    """Distances of N pairs of distributions, each [N]: nats, nats, and 0 to 1."""

    kl_N: Tensor
    reverse_kl_N: Tensor
    tvd_N: Tensor


def pair_distances(p_logits_NV: Tensor, q_logits_NV: Tensor) -> PairDistances:
    """Return forward and reverse KL and the total variation distance of every pair.

        KL(p || q),   KL(q || p),   1/2 sum_v |p_v - q_v|,   p, q = softmax(logits)

    The same as `kl`, `reverse_kl` and `tvd` one by one; each distribution is made once. Made for
    measuring: gradients flow, but every step keeps what it needs for them.

    Args:
        p_logits_NV: [N, V] teacher logits.
        q_logits_NV: [N, V] student logits in the same states.

    Returns:
        Three [N], at least float32; the first two are never negative but for rounding.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes(_NAMES, p_logits_NV, q_logits_NV)
    logp_NV = at_least_float32(p_logits_NV).log_softmax(dim=-1)
    logq_NV = at_least_float32(q_logits_NV).log_softmax(dim=-1)
    p_NV, q_NV, above_NV = logp_NV.exp(), logq_NV.exp(), logp_NV - logq_NV
    return PairDistances(
        kl_N=(p_NV * above_NV).sum(dim=-1),
        reverse_kl_N=-(q_NV * above_NV).sum(dim=-1),
        tvd_N=0.5 * (p_NV - q_NV).abs().sum(dim=-1),
    )


def same_choice(p_logits_NV: Tensor, q_logits_NV: Tensor) -> Tensor:
    """Return whether both find the same token likeliest.

        [argmax_v p_v = argmax_v q_v]

    Args:
        p_logits_NV: [N, V] teacher logits.
        q_logits_NV: [N, V] student logits in the same states.

    Returns:
        [N], 0 or 1, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes(_NAMES, p_logits_NV, q_logits_NV)
    same_N = p_logits_NV.argmax(dim=-1) == q_logits_NV.argmax(dim=-1)
    return same_N.to(at_least_float32(q_logits_NV[:, :1]).dtype)
