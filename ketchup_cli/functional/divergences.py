"""Divergences between teacher p and student q at every step, over the whole vocabulary.

Order of arguments, always: the teacher's logits, then the student's. Logits must be finite.
Gradients flow into both sides; whoever wants one of them only detaches the other.
"""

import math

from torch import Tensor

from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.functional.logprobs import tempered

_NAMES = "p_logits_BTV q_logits_BTV"


def kl(p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the forward Kullback-Leibler divergence of every step.

        KL(p || q) = sum_v p_v (log p_v - log q_v),   p, q = softmax(logits / temperature)

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32; never negative but for rounding.

    Raises:
        ShapeError: shapes differ.

    Source: Kim and Rush 2016, arXiv 1606.07947 (word level); Wen et al. 2023, arXiv 2307.15190.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    logp_BTV = _log_softmax(p_logits_BTV, temperature)
    logq_BTV = _log_softmax(q_logits_BTV, temperature)
    return (logp_BTV.exp() * (logp_BTV - logq_BTV)).sum(dim=-1)


def reverse_kl(p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the reverse Kullback-Leibler divergence of every step.

        KL(q || p) = sum_v q_v (log q_v - log p_v),   p, q = softmax(logits / temperature)

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32; never negative but for rounding.

    Raises:
        ShapeError: shapes differ.

    Source: Wen et al. 2023, arXiv 2307.15190, eq. 7.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    return kl(q_logits_BTV, p_logits_BTV, temperature=temperature)


def engine(p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the energy of every step: the teacher's cost of the student's next token.

        -sum_v q_v log p_v = KL(q || p) + H(q),   p, q = softmax(logits / temperature)

    Without the entropy its optimum is the teacher's likeliest token, and no distribution.

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32; at least the teacher's smallest -log p_v.

    Raises:
        ShapeError: shapes differ.

    Source: Tu et al. 2020, arXiv 2005.00850, as a token loss on the student's prefixes.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    logp_BTV = _log_softmax(p_logits_BTV, temperature)
    return -(_log_softmax(q_logits_BTV, temperature).exp() * logp_BTV).sum(dim=-1)


def js(p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the Jensen-Shannon divergence of every step.

        1/2 KL(p || m) + 1/2 KL(q || m),   m = (p + q) / 2

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32; 0 to ln 2, symmetric.

    Raises:
        ShapeError: shapes differ.

    Source: Wen et al. 2023, arXiv 2307.15190, eq. 8, with both halves on one prefix.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    logp_BTV = _log_softmax(p_logits_BTV, temperature)
    logq_BTV = _log_softmax(q_logits_BTV, temperature)
    # in place where autograd needs no value: blocks are few rows, but of a large vocabulary
    logm_BTV = logp_BTV.logaddexp(logq_BTV).sub_(math.log(2.0))
    from_p_BT = (logp_BTV.exp() * (logp_BTV - logm_BTV)).sum(dim=-1)
    from_q_BT = (logq_BTV.exp() * (logq_BTV - logm_BTV)).sum(dim=-1)
    return 0.5 * (from_p_BT + from_q_BT)


def tvd(p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the total variation distance of every step.

        1/2 sum_v |p_v - q_v|

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        temperature: divides both.

    Returns:
        [B, T], at least float32; 0 to 1, symmetric, at most sqrt(KL / 2).

    Raises:
        ShapeError: shapes differ.

    Source: Wen et al. 2023, arXiv 2307.15190, eq. 10.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    p_BTV = _log_softmax(p_logits_BTV, temperature).exp()
    q_BTV = _log_softmax(q_logits_BTV, temperature).exp()
    return 0.5 * (p_BTV - q_BTV).abs().sum(dim=-1)


def _log_softmax(logits_BTV: Tensor, temperature: float) -> Tensor:
    return tempered(logits_BTV, temperature).log_softmax(dim=-1)
