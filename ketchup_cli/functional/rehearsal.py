"""Divergences from a reference known by samples and their log-probabilities alone."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.estimators import STEEPEST, tangent_exp

Rehearsed = Literal["forward", "js", "alpha", "reverse"]
"""KL(reference || pi), twice the Jensen-Shannon divergence, one between the two KL, KL(pi || reference)."""


def rehearsal_divergence(
    logp_BT: Tensor,
    reference_logp_BT: Tensor,
    *,
    kind: Rehearsed,
    alpha: float = 0.2,
    limit: float = STEEPEST,
) -> Tensor:
    """Return an estimate of a divergence at every token that was drawn from the reference.

        D = E_ref[f(u)],   u = pi(a_t|s_t) / ref(a_t|s_t),   l = log u
        forward   f = u - l - 1                                          E f = KL(ref || pi)
        reverse   f = u l - u + 1                                        E f = KL(pi || ref)
        js        f = u (log 2 - log(1 + e^-l)) - log(1 + e^l) + log 2   E f = 2 JS
        alpha     f = (u^(1-a) - (1-a) u - a) / (a (a - 1)),             a -> 0 reverse, a -> 1 forward

    f(1) = 0 and f'(1) = 0: what E[u] = 1 adds is a control variate, so a token on which both agree has no
    value and no gradient. Where pi has forgotten a token (l far below 0) forward still pulls with a
    slope of -1; a clamp of l would end the pull exactly there. Far above, u goes on as a tangent.

    Args:
        logp_BT: [B, T] log pi of the tokens (nats); gradients flow.
        reference_logp_BT: [B, T] log-probability with which each was drawn (nats).
        kind: which divergence.
        alpha: a of alpha, 0 to 1, both ends included.
        limit: l beyond which u is linear.

    Returns:
        [B, T] nats, never negative up to rounding.

    Raises:
        ShapeError: shapes differ.

    Source: DPH-RL, 2025, arXiv 2509.07430. Differs: no clamp; js and alpha in forms that neither
        overflow nor lose their digits.
    """
    check_shapes("logp_BT reference_logp_BT", logp_BT, reference_logp_BT)
    l_BT = at_least_float32(logp_BT) - reference_logp_BT.detach()
    u_BT = tangent_exp(l_BT, limit=limit)
    if kind == "forward" or (kind == "alpha" and alpha == 1):
        return u_BT - l_BT - 1
    if kind == "reverse" or (kind == "alpha" and alpha == 0):
        return u_BT * l_BT - u_BT + 1
    if kind == "js":
        softplus = torch.nn.functional.softplus
        two = math.log(2)
        return u_BT * (two - softplus(-l_BT)) - softplus(l_BT) + two
    return _alpha(l_BT, u_BT, alpha)


def _alpha(l_BT: Tensor, u_BT: Tensor, alpha: float) -> Tensor:
    """Return f of alpha by the form that loses no digits at the nearer end."""
    if alpha <= 0.5:
        # u expm1(-a l) / a goes to -u l
        held_BT = l_BT.clamp(min=-STEEPEST * 4)
        return (u_BT * torch.expm1(-alpha * held_BT) / alpha + u_BT - 1) / (alpha - 1)
    power_BT = torch.expm1((1 - alpha) * l_BT.clamp(max=STEEPEST * 4))
    return (u_BT - 1 - power_BT / (1 - alpha)) / alpha
