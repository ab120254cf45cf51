"""Jensen-Shannon divergences of other libraries, for comparison; nothing here is a dependency.

TRL takes all logits of both models at once, as a static method of its GKD trainer. Liger's divergence
of logits is a Triton kernel, and Triton drives no CPU; what runs on one is its fused form, which
starts from the states of both models, takes a chunk of tokens through both heads at a time and never
holds the student's logits. Its memory is put over the size those would have.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Teacher = tuple[Tensor, Tensor]
"""States [N, H] and the weights of the head, [H, V]."""

Work = Callable[[float, Teacher, Tensor], Tensor]
"""From the teacher's share beta, the teacher, and the student's logits or states to the loss, a mean
over tokens, whose gradient has been taken."""

CHUNK_TOKENS = 64
"""Of Liger's fused form; its own default, 1,024, would be all tokens at once here."""

BETAS = {"js": 0.5, "gkd, beta 0.1": 0.1}
"""Losses the others have too, as generalised Jensen-Shannon divergences."""


def trl(beta: float, teacher: Teacher, q_logits_1NV: Tensor) -> Tensor:
    """Take TRL's loss and the gradient of the student's logits."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    p_logits_1NV = (teacher[0] @ teacher[1])[None]
    # every token is a sequence to it, so that its mean over sequences is one over tokens
    loss: Tensor = GKDTrainer.generalized_jsd_loss(
        q_logits_1NV.transpose(0, 1), p_logits_1NV.transpose(0, 1), beta=beta
    )
    torch.autograd.backward(loss)
    return loss.detach()


def liger(beta: float, teacher: Teacher, states_NH: Tensor) -> Tensor:
    """Take Liger's loss from the student's states, and the gradients of these and of its head."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    fused: Any = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0,
        weight_soft_loss=1.0,
        beta=beta,
        compiled=False,
        chunk_size=CHUNK_TOKENS,
    )
    hidden_NH, weight_HV = teacher
    own_VH = weight_HV.t().contiguous().requires_grad_()
    labels_N = torch.zeros(len(states_NH), dtype=torch.long)
    loss: Tensor = fused(states_NH, own_VH, hidden_NH, own_VH.detach(), labels_N)
    torch.autograd.backward(loss)
    return loss.detach()


OTHERS: dict[str, Work] = {"trl": trl, "liger": liger}
PACKAGES = {"trl": "trl", "liger": "liger-kernel"}


def missing(name: str) -> str:
    """Return why another library's loss cannot be taken here, or nothing."""
    module = {"trl": "trl", "liger": "liger_kernel"}[name]
    if importlib.util.find_spec(module) is None:
        return f"{PACKAGES[name]} is not installed: pip install -c constraints.txt {PACKAGES[name]}"
    return ""
