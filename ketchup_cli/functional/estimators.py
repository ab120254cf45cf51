"""A divergence known by the tokens that were drawn: what each estimate is worth, and its gradient."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ketchup_cli.functional.checks import at_least_float32, check_shapes

Estimator = Literal["k1", "k2", "k3"]
"""Of KL(pi || p) from tokens of pi: the log-ratio, half its square, or e^R - R - 1."""

STEEPEST = 20.0
"""Log-ratio beyond which an exponential goes on as its tangent: e^20 is steep enough, and finite."""


def sampled_kl(
    logp_BT: Tensor, p_logp_BT: Tensor, *, kind: Estimator, limit: float = 0.0
) -> Tensor:
    """Return an estimate of KL(pi || p) at every token that was drawn from pi.

        R = log p(a) - log pi(a)        k1 = -R        k2 = R^2 / 2        k3 = e^R - R - 1

    Value and gradient are two things. With tokens drawn from pi, and pi differentiated in the estimate
    alone and not in the drawing, the expected gradients are

        k1  0, the teacher is ignored        k2  that of KL(pi || p)        k3  that of KL(p || pi)

    though k1 and k3 have the expected value KL(pi || p), and k2 has not. k3 times the ratio
    pi / stop_gradient(pi), differentiable, has the gradient of KL(pi || p).

    Args:
        logp_BT: [B, T] log pi of the tokens (nats); gradients flow.
        p_logp_BT: [B, T] log p of the same tokens.
        kind: "k1", "k2" or "k3".
        limit: magnitude of R beyond which k2 and k3 go on as their tangents, so that a gradient is
            held and never vanishes; 0 is none for k2, and 20 for k3.

    Returns:
        [B, T] nats.

    Raises:
        ShapeError: shapes differ.

    Source: Schulman 2020, "Approximating KL divergence". Differs: tangents in place of clamps.
    """
    check_shapes("logp_BT p_logp_BT", logp_BT, p_logp_BT)
    ratio_BT = p_logp_BT.detach() - at_least_float32(logp_BT)
    if kind == "k1":
        return -ratio_BT
    if kind == "k2":
        if limit == 0:
            return ratio_BT.square() / 2
        size_BT = ratio_BT.abs()
        return torch.where(size_BT <= limit, ratio_BT.square() / 2, limit * (size_BT - limit / 2))
    return tangent_exp(ratio_BT, limit=limit or STEEPEST) - ratio_BT - 1


def tangent_exp(x: Tensor, *, limit: float = STEEPEST) -> Tensor:
    """Return the exponential, and beyond a limit its tangent there.

        e^x for x <= c,        e^c (1 + x - c) beyond it

    A clamp would end the gradient where it is needed most.

    Args:
        x: of any shape.
        limit: c.

    Returns:
        The shape of `x`; finite for every finite x.
    """
    held = x.clamp(max=limit)
    return held.exp() * (1 + (x - limit).clamp(min=0))
