"""Losses whose gradient is a policy gradient, and the weights of samples from another policy."""

from torch import Tensor

from ketchup_cli.functional.checks import at_least_float32, check_shapes

LARGEST_LOG_RATIO = 20.0
"""An importance ratio stops at e^20: beyond it no sample is worth a step, and float32 overflows."""


def policy_gradient(logp_BT: Tensor, adv_BT: Tensor) -> Tensor:
    """Return the loss whose gradient is REINFORCE's.

        L_t = -stop_gradient(adv_t) * log pi(a_t|s_t)

    Args:
        logp_BT: [B, T] log-probability of the token emitted at t (nats); gradients flow.
        adv_BT: [B, T] its weight.

    Returns:
        [B, T] losses.

    Raises:
        ShapeError: shapes differ.

    Source: Williams 1992, "Simple statistical gradient-following algorithms".
    """
    check_shapes("logp_BT adv_BT", logp_BT, adv_BT)
    return -logp_BT * adv_BT.detach()


def importance_ratio(logp_BT: Tensor, behaviour_logp_BT: Tensor) -> Tensor:
    """Return how much likelier each token is now than when it was sampled.

        rho_t = pi(a_t|s_t) / beta(a_t|s_t), detached

    The ratio of one step, not the product along the sequence: biased unless pi = beta, of bounded
    variance.

    Args:
        logp_BT: [B, T] log-probability under the student (nats).
        behaviour_logp_BT: [B, T] log-probability at sampling time (nats).

    Returns:
        [B, T] ratios; at most e^20.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("logp_BT behaviour_logp_BT", logp_BT, behaviour_logp_BT)
    log_ratio_BT = at_least_float32(logp_BT.detach()) - behaviour_logp_BT.detach()
    return log_ratio_BT.clamp(max=LARGEST_LOG_RATIO).exp()
