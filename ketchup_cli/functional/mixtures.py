"""Divergences to a mixture of teacher p and student q: bounded, wherever the two disagree.

Order of arguments, always: the teacher's logits, then the student's. Logits must be finite.
Gradients flow into both sides, through the mixture too; weights of a mixture carry none.
"""

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from ketchup_cli.functional.checks import check_shapes
from ketchup_cli.functional.divergences import kl, reverse_kl
from ketchup_cli.functional.logprobs import tempered
from ketchup_cli.functional.masking import zero_padding

Weighting = Literal["published", "continuous"]
"""Which weights the two halves of a generalised Jensen-Shannon divergence have."""

_NAMES = "p_logits_BTV q_logits_BTV"


def skew_kl(
    p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, alpha: float, temperature: float = 1.0
) -> Tensor:
    """Return the skew Kullback-Leibler divergence of every step.

        SKL_a = KL(p || a p + (1 - a) q),   p, q = softmax(logits / temperature)

    At most (1 - a) KL(p || q), and at most -log a; for a = 0 it is KL(p || q).

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        alpha: share of the teacher in the mixture, 0 up to but not 1.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32; never negative but for rounding.

    Raises:
        ShapeError: shapes differ.

    Source: Ko et al. 2024, arXiv 2402.03898.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    if alpha == 0:
        return kl(p_logits_BTV, q_logits_BTV, temperature=temperature)
    logp_BTV = tempered(p_logits_BTV, temperature).log_softmax(dim=-1)
    logq_BTV = tempered(q_logits_BTV, temperature).log_softmax(dim=-1)
    logm_BTV = _mixture(logp_BTV, logq_BTV, alpha)
    return _from(logp_BTV, logm_BTV)


def skew_reverse_kl(
    p_logits_BTV: Tensor, q_logits_BTV: Tensor, *, alpha: float, temperature: float = 1.0
) -> Tensor:
    """Return the skew reverse Kullback-Leibler divergence of every step.

        SRKL_a = KL(q || (1 - a) p + a q),   p, q = softmax(logits / temperature)

    At most (1 - a) KL(q || p), and at most -log a; for a = 0 it is KL(q || p).

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        alpha: share of the student in the mixture, 0 up to but not 1.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32; never negative but for rounding.

    Raises:
        ShapeError: shapes differ.

    Source: Ko et al. 2024, arXiv 2402.03898.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    return skew_kl(q_logits_BTV, p_logits_BTV, alpha=alpha, temperature=temperature)


def generalised_js(
    p_logits_BTV: Tensor,
    q_logits_BTV: Tensor,
    *,
    beta: float,
    weighting: Weighting = "published",
    temperature: float = 1.0,
) -> Tensor:
    """Return the generalised Jensen-Shannon divergence of every step.

        published    b KL(p || m) + (1 - b) KL(q || m),   m = b p + (1 - b) q
        continuous   (1 - b) KL(p || m) + b KL(q || m)

    b = 0 is KL(p || q) and b = 1 is KL(q || p) under both. The published weights go to 0 on the way
    there (JSD_b / b goes to KL(p || q)), so its ends are set apart by definition and b is a scale as
    well; the continuous weights reach both ends. They agree for b = 1/2, where both are the
    Jensen-Shannon divergence. The published form is at most the entropy of (b, 1 - b), and the same
    for (p, b) and (q, 1 - b) exchanged.

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        beta: share of the teacher in the mixture, 0 to 1.
        weighting: of the two halves.
        temperature: divides both; the result is not multiplied by its square.

    Returns:
        [B, T] nats, at least float32; never negative but for rounding.

    Raises:
        ShapeError: shapes differ.

    Source: Agarwal et al. 2023, arXiv 2306.13649, for the published form.
    """
    check_shapes(_NAMES, p_logits_BTV, q_logits_BTV)
    if beta in {0, 1}:
        end = kl if beta == 0 else reverse_kl
        return end(p_logits_BTV, q_logits_BTV, temperature=temperature)
    logp_BTV = tempered(p_logits_BTV, temperature).log_softmax(dim=-1)
    logq_BTV = tempered(q_logits_BTV, temperature).log_softmax(dim=-1)
    logm_BTV = _mixture(logp_BTV, logq_BTV, beta)
    of_p = beta if weighting == "published" else 1 - beta
    return of_p * _from(logp_BTV, logm_BTV) + (1 - of_p) * _from(logq_BTV, logm_BTV)


def kl_to_mixture(
    p_logits_BTV: Tensor,
    q_logits_BTV: Tensor,
    log_odds_BT: Tensor,
    *,
    side: Literal["teacher", "student"],
    temperature: float = 1.0,
) -> Tensor:
    """Return how far one side is from a mixture whose weight is a step's own.

        KL(p || m) or KL(q || m),   m = w p + (1 - w) q,   w = sigmoid(log odds)

    Args:
        p_logits_BTV: [B, T, V] teacher logits.
        q_logits_BTV: [B, T, V] student logits in the same states.
        log_odds_BT: [B, T] log of the teacher's weight over the student's.
        side: who is compared with the mixture.
        temperature: divides both sets of logits.

    Returns:
        [B, T] nats, at least float32; at most -log of that side's own weight.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes(f"{_NAMES} log_odds_BT", p_logits_BTV, q_logits_BTV, log_odds_BT)
    logp_BTV = tempered(p_logits_BTV, temperature).log_softmax(dim=-1)
    logq_BTV = tempered(q_logits_BTV, temperature).log_softmax(dim=-1)
    odds_BT1 = log_odds_BT.detach()[..., None].to(logp_BTV.dtype)
    # not the logarithm of a sigmoid, which rounds to 0 and to 1
    of_p_BT1, of_q_BT1 = logsigmoid(odds_BT1), logsigmoid(-odds_BT1)
    logm_BTV = (logp_BTV + of_p_BT1).logaddexp(logq_BTV + of_q_BT1)
    return _from(logp_BTV if side == "teacher" else logq_BTV, logm_BTV)


def prefix_log_odds(
    logp_taken_BT: Tensor, logq_taken_BT: Tensor, mask_BT: Tensor, *, student_share: float
) -> Tensor:
    """Return the odds, before every token, that the teacher wrote the tokens so far.

        log [(1 - b) p(y_<t) / (b q(y_<t))] = log((1 - b) / b) + sum_{i<t} (log p(y_i) - log q(y_i))

    With these odds the mixture of the two next-token distributions is that of a mixture of whole
    completions, m(y) = (1 - b) p(y) + b q(y): m(y_t | y_<t) = m(y_1:t) / m(y_1:t-1).

    Args:
        logp_taken_BT: [B, T] log-probability of every token under the teacher.
        logq_taken_BT: [B, T] the same under the student.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.
        student_share: b, above 0 and below 1.

    Returns:
        [B, T] log-odds, 0 on padding; no gradient is stopped here.

    Raises:
        ShapeError: shapes differ.

    Source: the definition of a conditional probability; Wen et al. 2023, arXiv 2307.15190, name it
    as what an exact Jensen-Shannon divergence of sequences would take.
    """
    check_shapes("logp_taken_BT logq_taken_BT mask_BT", logp_taken_BT, logq_taken_BT, mask_BT)
    ratio_BT = zero_padding(logp_taken_BT - logq_taken_BT, mask_BT)
    before_BT = ratio_BT.cumsum(dim=1) - ratio_BT
    return zero_padding(before_BT + math.log((1 - student_share) / student_share), mask_BT)


def _mixture(logp_BTV: Tensor, logq_BTV: Tensor, share: float) -> Tensor:
    """Return log(share p + (1 - share) q)."""
    return (logp_BTV + math.log(share)).logaddexp(logq_BTV + math.log1p(-share))


def _from(logx_BTV: Tensor, logm_BTV: Tensor) -> Tensor:
    return (logx_BTV.exp() * (logx_BTV - logm_BTV)).sum(dim=-1)
