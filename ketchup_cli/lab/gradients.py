"""Gradients of many estimators on one batch: one forward pass, one backward pass for each.

The unit is the batch, so that baselines over the batch stay what they are in training. Gradients of
single completions by `torch.func`, summed, take twice as long for the same result, and do not run
through what encoder-decoders make of their masks: see `benchmarks/gradients.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError
from ketchup_cli.models.shrink import layer_lists
from ketchup_cli.signals import Inputs, TokenLoss

if TYPE_CHECKING:
    from ketchup_cli.lab.estimators import Estimator
    from ketchup_cli.models.policy import Policy

Which = Literal["all", "decoder", "last-block"]


def choose_parameters(policy: Policy, which: Which) -> dict[str, Tensor]:
    """Let only the chosen weights of the policy's model take gradients, and return them by name.

    Args:
        policy: whose other weights are frozen.
        which: all weights, those of the decoder's layers, or those of its last layer; a decoder-only
            model is all decoder. Embeddings, head and final norm belong to no layer.

    Raises:
        ModelError: the model's layers are not where they are looked for.
    """
    named = dict(policy.model.named_parameters())
    if which != "all":
        prefix = f"{layer_lists(policy.model)['decoder']}."
        named = {name: value for name, value in named.items() if name.startswith(prefix)}
    if which == "last-block":
        numbers = {name: int(name.removeprefix(prefix).split(".")[0]) for name in named}
        last = max(numbers.values())
        named = {name: value for name, value in named.items() if numbers[name] == last}
    policy.model.requires_grad_(requires_grad=False)
    for value in named.values():
        value.requires_grad_(requires_grad=True)
    return named


def gradients(
    inputs: Inputs,
    estimators: Sequence[Estimator],
    parameters: Mapping[str, Tensor],
    *,
    counts: tuple[float, float],
) -> Iterator[tuple[Estimator, Tensor]]:
    """Yield every estimator with its gradient, flat, `[P]`; the graph behind the inputs is kept.

    Args:
        inputs: a batch with the student's logits, whose graph reaches the parameters.
        estimators: whose losses are differentiated one by one.
        parameters: what is differentiated by; one a loss does not reach has gradient 0.
        counts: tokens and sequences the sums of a loss are divided by, the same for all batches: a
            count of the batch itself would be a random denominator.

    Raises:
        NonFiniteError: a gradient has a NaN or an infinity; the estimator is named.
    """
    for estimator in estimators:
        loss = estimator.objective(inputs)
        count = counts[0] if isinstance(loss, TokenLoss) else counts[1]
        total = F.reduce(loss, inputs.batch.mask_BT, count=count)
        flat_P = _flat_gradient(total, list(parameters.values()))
        if not bool(flat_P.isfinite().all()):
            raise NonFiniteError(
                f"the gradient of `{estimator.label}` is not finite (first example"
                f" `{inputs.batch.ids[0][:12]}`)"
            )
        yield estimator, flat_P


def _flat_gradient(total: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    if not total.requires_grad:
        return torch.cat([torch.zeros_like(value).flatten() for value in parameters])
    found = torch.autograd.grad(
        total, list(parameters), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([part.flatten() for part in found])
