"""Losses whose gradient is a policy gradient, and the weights of samples from another policy."""

from torch import Tensor

from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.logprobs import LOGIT_FLOOR

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


def expected_logit(p_logits_BTV: Tensor, q_logits_BTV: Tensor) -> Tensor:
    """Return what the student expects of the teacher's logit, differentiable in the student.

        sum_a pi(a|s_t) stop_gradient(f(s_t, a)),   pi = softmax(student logits)

    Its gradient is the expectation of REINFORCE's gradient with the weight f(s_t, a_t), summed
    over all tokens and not sampled.

    Args:
        p_logits_BTV: [B, T, V] teacher logits f.
        q_logits_BTV: [B, T, V] student logits in the same states; gradients flow.

    Returns:
        [B, T] nats of teacher logit, at least float32.

    Raises:
        ShapeError: shapes differ.

    Source: the sum over all actions is that of Sutton et al. 2000, "Policy gradient methods for
        reinforcement learning with function approximation".
    """
    check_shapes("p_logits_BTV q_logits_BTV", p_logits_BTV, q_logits_BTV)
    f_BTV = at_least_float32(p_logits_BTV).detach()
    best_BT1 = f_BTV.amax(dim=-1, keepdim=True)
    # below the best, so that an offset common to a state's logits costs no digits
    below_BTV = (f_BTV - best_BT1).clamp(min=LOGIT_FLOOR)
    policy_BTV = at_least_float32(q_logits_BTV).softmax(dim=-1)
    return best_BT1.squeeze(-1) + (policy_BTV * below_BTV).sum(dim=-1)


def clipped_surrogate(
    logp_BT: Tensor,
    behaviour_logp_BT: Tensor,
    adv_BT: Tensor,
    *,
    epsilon: float,
    epsilon_high: float | None = None,
) -> Tensor:
    """Return PPO's loss: a policy gradient that stops where the policy has moved far enough.

        L_t = -min(rho_t A_t, clip(rho_t, 1 - epsilon, 1 + epsilon_high) A_t)
        rho_t = pi(a_t|s_t) / beta(a_t|s_t),   A_t = stop_gradient(adv_t)

    Where pi = beta the gradient is REINFORCE's. The ratio is that of one step: biased along a
    sequence unless pi = beta.

    Args:
        logp_BT: [B, T] log-probability under the student (nats); gradients flow.
        behaviour_logp_BT: [B, T] log-probability beta at sampling time (nats).
        adv_BT: [B, T] weights.
        epsilon: largest move of the ratio that is rewarded; 0 clips nothing.
        epsilon_high: the same upwards, if it is not to be equal.

    Returns:
        [B, T] losses.

    Raises:
        ShapeError: shapes differ.

    Source: Schulman et al. 2017, arXiv 1707.06347, eq. 7.
    """
    names = "logp_BT behaviour_logp_BT adv_BT"
    check_shapes(names, logp_BT, behaviour_logp_BT, adv_BT)
    log_ratio_BT = at_least_float32(logp_BT) - behaviour_logp_BT.detach()
    ratio_BT = log_ratio_BT.clamp(max=LARGEST_LOG_RATIO).exp()
    gain_BT = ratio_BT * adv_BT.detach()
    if epsilon == 0:
        return -gain_BT
    high = epsilon if epsilon_high is None else epsilon_high
    held_BT = ratio_BT.clamp(min=1 - epsilon, max=1 + high) * adv_BT.detach()
    return -gain_BT.minimum(held_BT)


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
