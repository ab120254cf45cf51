"""Log-probabilities, entropies, and what is kept of a teacher's distribution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ketchup_cli.errors import NonFiniteError, ShapeError
from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.sweeps import Entropy, MeanLessTaken, TakenLogProb

LOGIT_FLOOR = -1e30
"""Stands for minus infinity where it would be multiplied by a probability of 0."""

GROUP_WIDTH = 16
"""Logits of which the largest is looked for first when few of many are kept; measured."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What is kept of teacher logits f over a flat list of N states, at K temperatures tau.

    In nats of teacher logit: `taken` = f(a), `best` = max f, `mean` = mean f over the vocabulary,
    `lse` = logsumexp(f/tau), `expected` = E_p[f] under p = softmax(f/tau).
    """

    taken_N: Tensor
    best_N: Tensor
    mean_N: Tensor
    lse_NK: Tensor
    expected_NK: Tensor


def log_probs_of(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Return the log-probability of every token.

        log softmax(f(s_t))[a_t]

    Args:
        logits_BTV: [B, T, V] logits f(s_t) that predict `tokens_BT[:, t]`.
        tokens_BT: [B, T] token ids a_t.

    Returns:
        [B, T] nats, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("logits_BTV tokens_BT", logits_BTV, tokens_BT)
    f_NV = at_least_float32(logits_BTV).flatten(0, 1)
    tokens_N1 = tokens_BT.long().reshape(-1, 1)
    taken_N1: Tensor = TakenLogProb.apply(f_NV, tokens_N1)  # type: ignore[no-untyped-call]
    return taken_N1.view(tokens_BT.shape)


def mean_log_prob(logits_BTV: Tensor, tokens_BT: Tensor, logp_BT: Tensor) -> Tensor:
    """Return the log-probability averaged over the vocabulary.

        (1/V) sum_v log softmax(f(s_t))[v] = log pi(a_t|s_t) + (1/V) sum_v f(s_t)[v] - f(s_t)[a_t]

    Its negative is the cross-entropy from the uniform distribution: the smoothing term of
    label smoothing (and not an entropy, for which it is sometimes taken).

    Args:
        logits_BTV: [B, T, V] logits f(s_t).
        tokens_BT: [B, T] token ids a_t.
        logp_BT: [B, T] log-probabilities of these tokens under these logits; what has been
            computed need not be computed again.

    Returns:
        [B, T] nats, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("logits_BTV tokens_BT logp_BT", logits_BTV, tokens_BT, logp_BT)
    f_NV = at_least_float32(logits_BTV).flatten(0, 1)
    tokens_N1 = tokens_BT.long().reshape(-1, 1)
    less_N1: Tensor = MeanLessTaken.apply(f_NV, tokens_N1)  # type: ignore[no-untyped-call]
    return logp_BT + less_N1.view(tokens_BT.shape)


def entropy(logits_BTV: Tensor) -> Tensor:
    """Return the entropy of every step's distribution.

        -sum_v p_v log p_v,   p = softmax(f(s_t))

    Args:
        logits_BTV: [B, T, V] logits, finite.

    Returns:
        [B, T] nats, at least float32.
    """
    check_shapes("logits_BTV", logits_BTV)
    logits_NV = at_least_float32(logits_BTV).flatten(0, 1)
    entropy_N: Tensor = Entropy.apply(logits_NV)  # type: ignore[no-untyped-call]
    return entropy_N.view(logits_BTV.shape[:2])


def tempered(logits_V: Tensor, temperature: float) -> Tensor:
    """Return logits over any vocabulary divided by a temperature, at least float32."""
    f_V = at_least_float32(logits_V)
    # a division by 1 takes as long as any other
    return f_V if temperature == 1 else f_V / temperature


def teacher_statistics(
    logits_NV: Tensor, tokens_N: Tensor, *, temperatures: Sequence[float] = (1.0,)
) -> Statistics:
    """Return the numbers by which a teacher's distributions are remembered.

    Two tensors of the size of `logits_NV` exist at a time, whatever the number of temperatures.
    Sums run over f - max f, so that an offset common to a state's logits costs no digits.

    Args:
        logits_NV: [N, V] teacher logits of N states; hand them over in chunks.
        tokens_N: [N] the token emitted in each.
        temperatures: K temperatures tau > 0.

    Returns:
        Statistics, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("logits_NV tokens_N", logits_NV, tokens_N)
    f_NV = at_least_float32(logits_NV)
    best_N, mean_N = f_NV.amax(dim=-1), f_NV.mean(dim=-1)
    below_NV = (f_NV - best_N[:, None]).clamp_(min=LOGIT_FLOOR)
    lse, expected = [], []
    for temperature in temperatures:
        weight_NV = below_NV.exp() if temperature == 1 else (below_NV / temperature).exp_()
        mass_N = weight_NV.sum(dim=-1)
        lse.append(best_N / temperature + mass_N.log())
        expected.append(best_N + _row_dot(weight_NV, below_NV) / mass_N)
    return Statistics(
        taken_N=f_NV.gather(-1, tokens_N.long()[:, None]).squeeze(-1),
        best_N=best_N,
        mean_N=mean_N,
        lse_NK=torch.stack(lse, dim=-1),
        expected_NK=torch.stack(expected, dim=-1),
    )


def top_entries(
    logits_NV: Tensor, *, m: int, lse_NK: Tensor, temperatures: Sequence[float] = (1.0,)
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the M largest logits of every state and the mass of all others.

        gap_m = max f - f_m,    tail_k = 1 - sum_m exp(f_m / tau_k - lse_k)

    Args:
        logits_NV: [N, V] teacher logits.
        m: entries kept, 1 to V.
        lse_NK: [N, K] logsumexp(f / tau_k), as `teacher_statistics` gives it.
        temperatures: K temperatures tau > 0.

    Returns:
        ids [N, M] int32, largest logit first; gaps [N, M] and tail [N, K], at least float32.
        The tail is exactly 0 for M = V.

    Raises:
        ShapeError: `m` is not in 1 to V, or the temperatures are not as many as K.
    """
    check_shapes("logits_NV lse_NK", logits_NV, lse_NK)
    if not 1 <= m <= logits_NV.shape[1]:
        raise ShapeError(f"`m` is {m}; it must be 1 to {logits_NV.shape[1]}, the vocabulary")
    if len(temperatures) != lse_NK.shape[1]:
        raise ShapeError(
            f"`lse_NK` has {lse_NK.shape[1]} along K where there are {len(temperatures)} temperatures"
        )
    top_NM, ids_NM = _largest(logits_NV, m)
    top_NM = at_least_float32(top_NM)
    if m == logits_NV.shape[1]:
        tail_NK = torch.zeros_like(lse_NK)
    else:
        kept = [
            (top_NM / tau - lse_NK[:, k, None]).exp().sum(dim=-1)
            for k, tau in enumerate(temperatures)
        ]
        tail_NK = (1 - torch.stack(kept, dim=-1)).clamp(min=0, max=1)
    return ids_NM.int(), top_NM[:, :1] - top_NM, tail_NK


def expectation(logits_NV: Tensor, student_logits_NV: Tensor) -> Tensor:
    """Return the teacher logit the student expects to score with its next token.

        sum_a pi(a|s) f(s, a),   pi = softmax(student logits)

    Args:
        logits_NV: [N, V] teacher logits f.
        student_logits_NV: [N, V] student logits in the same states.

    Returns:
        [N] nats of teacher logit, at least float32.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("logits_NV student_logits_NV", logits_NV, student_logits_NV)
    f_NV = at_least_float32(logits_NV)
    best_N = f_NV.amax(dim=-1)
    below_NV = (f_NV - best_N[:, None]).clamp(min=LOGIT_FLOOR)
    policy_NV = at_least_float32(student_logits_NV).softmax(dim=-1)
    return best_N + _row_dot(policy_NV.to(below_NV.dtype), below_NV)


def log_mixture(p_logits_BV: Tensor, q_logits_BV: Tensor, *, share: float) -> Tensor:
    """Return the log-probabilities of a mixture of two distributions.

        log(share * p + (1 - share) * q),   p, q = softmax(logits)

    Args:
        p_logits_BV: [B, V] teacher logits.
        q_logits_BV: [B, V] student logits in the same states.
        share: of the teacher, 0 to 1.

    Returns:
        [B, V] nats, at least float32.

    Raises:
        ShapeError: shapes differ.

    Source: Gu et al. 2024, arXiv 2306.08543.
    """
    check_shapes("p_logits_BV q_logits_BV", p_logits_BV, q_logits_BV)
    logp_BV = at_least_float32(p_logits_BV).log_softmax(dim=-1) + _log(share)
    logq_BV = at_least_float32(q_logits_BV).log_softmax(dim=-1) + _log(1 - share)
    return logp_BV.logaddexp(logq_BV)


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def choose_by_inverse_cdf(logits_BV: Tensor, u_B: Tensor) -> Tensor:
    """Return the token at which the cumulative distribution passes u.

        a = min { v : sum_{w <= v} softmax(f)_w > u }

    The same u gives the same token in any batch, so a sample's randomness can be its own. A token
    of probability 0 is never chosen, not even for u = 0 or u = 1.

    Args:
        logits_BV: [B, V] logits; minus infinity means probability 0.
        u_B: [B] uniform numbers in [0, 1].

    Returns:
        [B] int64 token ids.

    Raises:
        ShapeError: shapes differ.
        NonFiniteError: a row is no distribution: NaN, plus infinity, or minus infinity throughout.
    """
    check_shapes("logits_BV u_B", logits_BV, u_B)
    return draw_by_inverse_cdf(logits_BV, u_B[:, None]).squeeze(-1)


def draw_by_inverse_cdf(logits_NV: Tensor, u_NG: Tensor) -> Tensor:
    """Return G tokens of each row's distribution, chosen as by `choose_by_inverse_cdf`.

        a_g = min { v : sum_{w <= v} softmax(f)_w > u_g }

    Args:
        logits_NV: [N, V] logits; minus infinity means probability 0.
        u_NG: [N, G] uniform numbers in [0, 1].

    Returns:
        [N, G] int64 token ids.

    Raises:
        ShapeError: shapes differ.
        NonFiniteError: a row is no distribution: NaN, plus infinity, or minus infinity throughout.
    """
    check_shapes("logits_NV u_NG", logits_NV, u_NG)
    # MPS has no float64; elsewhere float32 would lose the tail of a large vocabulary
    exact = torch.float32 if logits_NV.device.type == "mps" else torch.float64
    cumulative_NV = at_least_float32(logits_NV).softmax(dim=-1).cumsum(dim=-1, dtype=exact)
    total_N1 = cumulative_NV[:, -1:]
    if not bool(torch.isfinite(total_N1).all()):
        raise NonFiniteError("the logits to sample from are not finite")
    below_total_N1 = torch.nextafter(total_N1, torch.zeros_like(total_N1))
    target_NG = torch.minimum(u_NG.to(total_N1) * total_N1, below_total_N1)
    return torch.searchsorted(cumulative_NV, target_NG, right=True)


def _row_dot(a_NV: Tensor, b_NV: Tensor) -> Tensor:
    """Sum the products of each row into `a_NV`'s memory: no third tensor of that size."""
    # a batched matrix product of single rows does the same five times slower on a CPU
    return a_NV.mul_(b_NV).sum(dim=-1)


def _largest(logits_NV: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Return the M largest logits and their ids, in half the time `topk` takes on all V.

    The vocabulary is seen as G = V / WIDTH strided groups. The M largest logits stand in the M
    groups of largest maximum: were one elsewhere, those M maxima would all be at least as large.
    """
    rows, vocabulary = logits_NV.shape
    groups = vocabulary // GROUP_WIDTH
    whole = groups * GROUP_WIDTH
    if groups < 2 * m:
        values_NM, ids_NM = logits_NV.topk(m, dim=-1)
        return values_NM, ids_NM
    maxima_NG = logits_NV[:, :whole].reshape(rows, GROUP_WIDTH, groups).amax(dim=1)
    chosen_NM = maxima_NG.topk(m, dim=-1, sorted=False).indices
    steps = torch.arange(GROUP_WIDTH, device=logits_NV.device) * groups
    rest = torch.arange(whole, vocabulary, device=logits_NV.device).expand(rows, -1)
    candidates_NC = torch.cat([(chosen_NM[:, :, None] + steps).flatten(1), rest], dim=1)
    values_NM, index_NM = logits_NV.gather(1, candidates_NC).topk(m, dim=-1)
    return values_NM, candidates_NC.gather(1, index_NM)
