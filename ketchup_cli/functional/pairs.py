"""A comparison of two distributions at every step with a gradient into both."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ketchup_cli.functional.checks import at_least_float32, check_shapes
from ketchup_cli.functional.steps import Measure, step_blocks


def at_pairs(
    measure: Measure, p_logits_BTV: Tensor, q_logits_BTV: Tensor, mask_BT: Tensor
) -> tuple[Tensor, ...]:
    """Return what `measure` says of two models at every real step; both may be trained.

        out_bt = measure(p_logits_bt, q_logits_bt);   both its gradients found in the same sweep

    What measure keeps for its gradients lives as long as a block of steps. Of the size of the
    logits one tensor is made for each side that takes a gradient, the gradient itself.

    Args:
        measure: a pure function whose value at a step depends on that step alone.
        p_logits_BTV: [B, T, V] teacher logits; gradients flow, once.
        q_logits_BTV: [B, T, V] student logits; gradients flow, once.
        mask_BT: [B, T] non-zero on completion tokens, 0 on padding.

    Returns:
        [B, T] tensors, 0 on padding, at least float32: one if measure gives a tensor, else as many
        as it gives; the first carries the gradients.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("p_logits_BTV q_logits_BTV mask_BT", p_logits_BTV, q_logits_BTV, mask_BT)
    places_N = mask_BT.flatten().nonzero()[:, 0]
    p_NV, q_NV = (at_least_float32(x).flatten(0, 1) for x in (p_logits_BTV, q_logits_BTV))
    found: tuple[Tensor, ...] = _AtPairs.apply(p_NV, q_NV, places_N, measure)  # type: ignore[no-untyped-call]
    return tuple(out.view(mask_BT.shape) for out in found)


@final
class _AtPairs(torch.autograd.Function):
    """Value and both gradients of a measure, block by block."""

    @staticmethod
    def forward(
        ctx: Any, p_NV: Tensor, q_NV: Tensor, places_N: Tensor, measure: Measure
    ) -> tuple[Tensor, ...]:
        sides = (p_NV, q_NV)
        slopes = [
            torch.zeros_like(side) if asked else None
            for side, asked in zip(sides, ctx.needs_input_grad[:2], strict=True)
        ]
        outs: list[Tensor] = []
        for which in step_blocks(len(places_N), q_NV):
            found = _block(measure, sides, slopes, places_N[which])
            if not outs:
                outs = [q_NV.new_zeros(q_NV.shape[0]) for _ in found]
            for out, value in zip(outs, found, strict=True):
                out[places_N[which]] = value.to(out.dtype)
        outs = outs or [q_NV.new_zeros(q_NV.shape[0])]
        ctx.mark_non_differentiable(*outs[1:])
        ctx.save_for_backward(*slopes)
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        # in place: there is no second backward, and these are the largest tensors there are
        slopes = (x if x is None else x.mul_(grad_N[:, None]) for x in ctx.saved_tensors)
        return (*slopes, None, None)


@torch.enable_grad()
def _block(
    measure: Measure,
    sides: tuple[Tensor, Tensor],
    slopes: list[Tensor | None],
    places: Tensor,
) -> list[Tensor]:
    """Return what a measure says of a block, and write its gradients into `slopes`."""
    p_NV, q_NV = (
        side[places].detach().requires_grad_(slope is not None)
        for side, slope in zip(sides, slopes, strict=True)
    )
    found = measure(p_NV[None], q_NV[None])
    found = found if isinstance(found, tuple) else (found,)
    asked = [
        (own, slope) for own, slope in zip((p_NV, q_NV), slopes, strict=True) if slope is not None
    ]
    if asked and found[0].requires_grad:
        grads = torch.autograd.grad(found[0].sum(), [own for own, _ in asked], allow_unused=True)
        for (_, slope), grad in zip(asked, grads, strict=True):
            if grad is not None:
                slope[places] = grad
    return [value.detach()[0] for value in found]
