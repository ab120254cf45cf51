"""A model held against itself: through both ends of a loss, and in the precision it is to run in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.doctor.result import Check, failed, passed, warned
from ketchup_cli.models.load import DTYPES
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.objectives.kl import Kl
from ketchup_cli.signals import Batch, Inputs, StudentSignal

SELF = "self-distillation"

MOST_KL = {"float32": 1e-4, "bfloat16": 5e-3}
"""Largest mean KL of a model from itself (nats a token). In float32 only the last digits of sums in
another order; in bfloat16 the student's head is rounded to 8 bits and the teacher's is not: 0.00004
where the largest logit is 17, and more as its square."""

MOST_LOST = 0.1
"""KL between the logits of float32 and of a smaller type beyond which the type loses the teacher
(nats a token): rounding alone costs a hundredth, an overflow whole nats."""

NEAR = 0.5
"""Share of the largest number of a type beyond which a longer prompt may well overflow."""

Asked = Literal["float32", "bfloat16", "float16"]


@torch.no_grad()
def self_distillation(policy: Policy, batch: Batch) -> Check:
    """Distil a model into itself: KL of the teacher's side from the student's must be 0.

    The teacher's side is `LiveTeacher`, the student's `Policy.logits`, the loss `kl`: all that a
    run of `ketchup distill` puts between two models.
    """
    objective = Kl()
    logits_BTV = policy.logits(batch)
    student = StudentSignal(
        logits_BTV=logits_BTV, logp_taken_BT=F.log_probs_of(logits_BTV, batch.tokens_BT)
    )
    signal = LiveTeacher(policy).signal(batch, objective.needs)
    loss_BT = objective(Inputs(batch=batch, student=student, teacher=signal)).loss_BT
    kl_N = loss_BT[batch.mask_BT.bool()]
    most = MOST_KL[policy.precision]
    figures = {"kl": abs(float(kl_N.mean())), "largest": float(kl_N.max()), "tokens": len(kl_N)}
    told = (
        f"KL of the teacher from itself is {figures['kl']:.1e} on {len(kl_N)} tokens, at most"
        f" {figures['largest']:.1e} on one (nats a token, {policy.precision})"
    )
    # not `>`: a NaN must fail
    if not figures["kl"] <= most:
        return failed(
            SELF,
            [told, f"at most {most:g} is rounding"],
            "the model does not repeat itself: look for dropout or noise in its config, or"
            " --set precision=float32",
            figures=figures,
        )
    return passed(SELF, told, brief=f"self-distillation KL {figures['kl']:.3f}", figures=figures)


@torch.no_grad()
def precision(policy: Policy, batch: Batch, dtype: Asked, *, role: str) -> Check:
    """Run a model under autocast in a type and hold its logits against those of float32.

    An overflow is an infinity or a NaN, or, where a model clamps, a saturated state: finite numbers
    of another distribution.
    """
    name = f"precision of the {role}"
    limit = torch.finfo(DTYPES[dtype]).max
    exact_NV = _logits(policy, batch, torch.float32)
    rounded_NV = _logits(policy, batch, DTYPES[dtype])
    bad = int((~rounded_NV.isfinite().all(dim=-1)).sum())
    largest = float(exact_NV.abs().max())
    figures = {"dtype": dtype, "tokens": len(exact_NV), "not_finite": bad, "largest": largest}
    remedy = f"--set precision=float32, or a model trained in {dtype}"
    if bad:
        where = first_overflow(policy, batch, dtype)
        told = f"logits of {bad} of {len(exact_NV)} tokens are not finite in {dtype}"
        return failed(name, [told, *where], remedy, figures=figures)
    if dtype == "float32":
        told = f"all logits are finite in float32, the largest {largest:.3g}"
        return passed(name, told, figures=figures)
    kl = float(F.kl(exact_NV[None], rounded_NV[None]).mean())
    figures["kl"] = kl
    told = f"{dtype} is {kl:.1e} nats a token from float32; the largest logit is {largest:.3g}"
    if kl > MOST_LOST:
        more = f"more than {MOST_LOST:g} is no rounding; numbers end at {limit:.3g}"
        return failed(name, [told, more], remedy, figures=figures)
    if largest > NEAR * limit:
        more = f"a longer prompt may pass {limit:.3g}, the largest number of {dtype}"
        return warned(name, [told, more], remedy, figures=figures)
    return passed(name, told, brief=f"{dtype} finite", figures=figures)


def _logits(policy: Policy, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Return the logits [N, V] of a batch's tokens, layers and head in `dtype`."""
    tensors = (batch.prompt_BS, batch.prompt_mask_BS, batch.tokens_BT, batch.mask_BT)
    with torch.autocast(policy.device.type, dtype, enabled=dtype != torch.float32):
        logits_BTR = policy.module(*tensors, logits=True)
    logits_NV: Tensor = logits_BTR[batch.mask_BT.bool()][:, : policy.vocabulary].float()
    return logits_NV


@torch.no_grad()
def first_overflow(policy: Policy, batch: Batch, dtype: Asked) -> list[str]:
    """Return a sentence on the first part of a model whose output is not finite in `dtype`."""
    found: list[str] = []

    def look(name: str, output: object) -> None:
        if isinstance(output, Tensor) and not found and not bool(output.isfinite().all()):
            found.append(
                f"first in `{name}`, whose output no longer fits: {dtype} ends at"
                f" {torch.finfo(DTYPES[dtype]).max:.3g}"
            )

    hooks = [
        part.register_forward_hook(lambda _part, _given, out, name=name: look(name, out))
        for name, part in policy.model.named_modules()
        if not any(part.children())
    ]
    try:
        _logits(policy, batch, DTYPES[dtype])
    finally:
        for hook in hooks:
            hook.remove()
    return found
