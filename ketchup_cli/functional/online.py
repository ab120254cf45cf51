"""What student and teacher owe each other where both are trained: two losses, one gate.

Order of arguments, always: the teacher's logits p, then the student's q. Logits must be finite.
`sg` is the value of its argument without its gradient.
"""

import math
from typing import Literal

from torch import Tensor

from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.functional.logprobs import tempered

Between = Literal["kl", "reverse_kl", "js"]
"""KL(p || q), KL(q || p), or Jensen-Shannon with equal halves."""

Coupling = Literal["alternate", "joint"]
"""Whether each loss moves its own model alone, or both models."""

Gate = Literal["hard", "sigmoid"]
"""Whether the emphasis jumps where the entropies are equal, or slides."""

_NAMES = "p_logits_BTV q_logits_BTV"


def mutual(
    p_logits_BTV: Tensor,
    q_logits_BTV: Tensor,
    *,
    student: Between = "kl",
    teacher: Between = "reverse_kl",
    coupling: Coupling = "alternate",
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return the divergence the student is to close at every step, and the one the teacher is to.

        alternate   D_s(sg[p], q)   D_t(p, sg[q])
        joint       D_s(p, q)       D_t(p, q)

    Under `alternate` no gradient crosses: one backward pass of the weighted sum gives each model
    what two passes of its own loss alone would.

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        student: D_s.
        teacher: D_t.
        coupling: where gradients are stopped.
        temperature: divides both; the results are not multiplied by its square.

    Returns:
        Two [B, T], nats, at least float32.

    Raises:
        ShapeError: shapes differ.

    Source: `joint` after Rao et al. 2022, arXiv 2205.15308; `alternate` after Zhang et al. 2018,
    arXiv 1706.00384, whose two networks learn from each other's fixed predictions.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    logp_BTV = _log_softmax(p_logits_BTV, temperature)
    logq_BTV = _log_softmax(q_logits_BTV, temperature)
    if coupling == "joint":
        return _between(student, logp_BTV, logq_BTV), _between(teacher, logp_BTV, logq_BTV)
    return (
        _between(student, logp_BTV.detach(), logq_BTV),
        _between(teacher, logp_BTV, logq_BTV.detach()),
    )


def entropy_gate(
    gap_BT: Tensor, *, emphasis: float, gate: Gate = "hard", steepness: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the weights of the forward and of the reverse divergence.

        hard      (1, w) for gap >= 0,   (w, 1) for gap < 0
        sigmoid   1 + (w - 1) sigmoid(-k gap),   1 + (w - 1) sigmoid(k gap)

    The flatter student is sharpened by the reverse divergence, the sharper one spread by the
    forward one.

    Args:
        gap_BT: [B, T] entropy of the student less that of the teacher (nats).
        emphasis: w; 1 weighs both alike.
        gate: how the weights change with the gap.
        steepness: k, of the sigmoid, per nat.

    Returns:
        Two [B, T] without gradients: forward, reverse.

    Source: the idea is that of Amara et al. 2022, arXiv 2212.12965, which weighs both divergences
    by the entropies' gap; side, w and the sigmoid are a reconstruction.
    """
    gap_BT = gap_BT.detach()
    over_BT = gap_BT >= 0 if gate == "hard" else (steepness * gap_BT).sigmoid()
    share_BT = over_BT.to(gap_BT.dtype)
    return 1 + (emphasis - 1) * (1 - share_BT), 1 + (emphasis - 1) * share_BT


def balanced(
    p_logits_BTV: Tensor,
    q_logits_BTV: Tensor,
    *,
    emphasis: float,
    gate: Gate = "hard",
    steepness: float = 1.0,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return both Kullback-Leibler divergences of every step, weighed by the entropies' gap.

        nu KL(p || q) + delta KL(q || p),   (nu, delta) = entropy_gate(H(q) - H(p))

    The gate sees both distributions at temperature 1, the divergences see them at `temperature`.
    With emphasis 1 it is the sum of both divergences, which is symmetric.

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        emphasis: weight of the side the gate chooses; the other has 1.
        gate: as `entropy_gate` takes it.
        steepness: likewise.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats and the gap [B, T], at least float32; the gap has no gradient.

    Raises:
        ShapeError: shapes differ.

    Source: Amara et al. 2022, arXiv 2212.12965; the weights are a reconstruction.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    logp_BTV = _log_softmax(p_logits_BTV, 1.0)
    logq_BTV = _log_softmax(q_logits_BTV, 1.0)
    gap_BT = _entropy(logq_BTV.detach()) - _entropy(logp_BTV.detach())
    forward_BT, reverse_BT = entropy_gate(gap_BT, emphasis=emphasis, gate=gate, steepness=steepness)
    if temperature != 1:
        logp_BTV = _log_softmax(p_logits_BTV, temperature)
        logq_BTV = _log_softmax(q_logits_BTV, temperature)
    above_BTV = logp_BTV - logq_BTV
    # both divergences in one sweep: sum_v (nu p - delta q) (log p - log q)
    weight_BTV = forward_BT[..., None] * logp_BTV.exp() - reverse_BT[..., None] * logq_BTV.exp()
    return (weight_BTV * above_BTV).sum(dim=-1), gap_BT


def _between(which: Between, logp_BTV: Tensor, logq_BTV: Tensor) -> Tensor:
    if which == "kl":
        return (logp_BTV.exp() * (logp_BTV - logq_BTV)).sum(dim=-1)
    if which == "reverse_kl":
        return _between("kl", logq_BTV, logp_BTV)
    logm_BTV = logp_BTV.logaddexp(logq_BTV) - math.log(2.0)
    return 0.5 * (_between("kl", logp_BTV, logm_BTV) + _between("kl", logq_BTV, logm_BTV))


def _entropy(logp_BTV: Tensor) -> Tensor:
    return -(logp_BTV.exp() * logp_BTV).sum(dim=-1)


def _log_softmax(logits_BTV: Tensor, temperature: float) -> Tensor:
    return tempered(logits_BTV, temperature).log_softmax(dim=-1)
