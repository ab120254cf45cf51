"""Mask-predict: all tokens of a text at once, the least certain of them again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.models.encode import Row, pad
from ketchup_cli.models.filling import length_of_class
from ketchup_cli.models.generation.choosing import check_finite
from ketchup_cli.models.generation.rounds import Written, resting
from ketchup_cli.models.passes import Passes, read
from ketchup_cli.models.policy import Policy
from ketchup_cli.specs import DecodingSpec

Head = Callable[[Tensor], Tensor]
"""From states `[N, H]` to float32 logits `[N, V]`."""


@final
class MaskPredict:
    """All tokens of a text at once, the least certain again; made once, called with batch after batch.

        t = 0:    every token is hidden and predicted
        t = 1...: the n_t least certain are hidden and predicted again, n_t = floor(N (1 - t/T))

    It is done for the `decoding.beams` likeliest lengths N; the order is by the mean log-probability
    of tokens. The end token follows the last one and has log-probability 0.

    Invariant: the weights are those it was made with.
    Example: `MaskPredict(policy, decoding)(rows)` has `decoding.texts` completions of every row, the
    best first.

    Source: Ghazvininejad et al. 2019, arXiv 1904.09324.
    """

    def __init__(self, policy: Policy, decoding: DecodingSpec) -> None:
        self._policy = policy
        self._decoding = decoding
        self._head = head_of(policy)

    def __call__(self, rows: Sequence[Row]) -> Written:
        """Return the completions of these prompts.

        Raises:
            NonFiniteError: the model's logits are not finite.
        """
        policy, decoding = self._policy, self._decoding
        prompts = pad([row.prompt for row in rows], pad_id=policy.pad_id)
        prompt_BS, mask_BS = (item.to(policy.device) for item in prompts)
        # nobody learns from what is filled in, so nothing is kept for a gradient
        with resting(policy), torch.inference_mode():
            states_BSH = read(policy.model, prompt_BS, mask_BS)
            most = max(1, decoding.max_new_tokens - 1)
            size_BL = candidate_lengths(
                policy, states_BSH, mask_BS, count=decoding.beams, most=most
            )
            copies = size_BL.shape[1]
            tokens_BT, logp_BT = fill_in(
                policy,
                states_BSH.repeat_interleave(copies, dim=0),
                mask_BS.repeat_interleave(copies, dim=0),
                size_BL.flatten(),
                steps=decoding.iterations,
                head=self._head,
            )
        return _best(tokens_BT, logp_BT, size_BL, texts=decoding.texts, pad_id=policy.pad_id)


def head_of(policy: Policy) -> Head:
    """Return the output layer; on a CPU with a copy of its weights, which a product reads in order.

    For a few tokens at once such a product takes about two thirds of the time.
    """
    if policy.device.type != "cpu":
        return policy.head
    weight = policy.model.get_output_embeddings().weight
    with torch.no_grad():
        columns_HV = weight[: policy.vocabulary].t().contiguous()

    def head(states_NH: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            logits_NV: Tensor = states_NH.to(columns_HV.dtype) @ columns_HV
        return logits_NV.float()

    return head


def candidate_lengths(
    policy: Policy, states_BSH: Tensor, mask_BS: Tensor, *, count: int, most: int
) -> Tensor:
    """Return the likeliest lengths of every prompt's completion, from 1 to `most`, best first.

    Returns:
        [B, count], without the end token.
    """
    logits_BC = policy.model.length_logits(states_BSH, mask_BS).float()
    check_finite(logits_BC)
    classes = logits_BC.shape[1]
    class_1C = torch.arange(classes, device=logits_BC.device)[None]
    size_BC = length_of_class(class_1C, mask_BS.sum(dim=1), classes=classes)
    possible_BC = (size_BC >= 1) & (size_BC <= most)
    chosen_BL = logits_BC.masked_fill(~possible_BC, -torch.inf).topk(count, dim=1).indices
    # where fewer are possible, the shortest or longest stands for those that are not
    return size_BC.gather(1, chosen_BL).clamp(1, most)


def fill_in(
    policy: Policy,
    states_BSH: Tensor,
    mask_BS: Tensor,
    size_B: Tensor,
    *,
    steps: int,
    head: Head | None = None,
) -> tuple[Tensor, Tensor]:
    """Return tokens of these lengths, each followed by the end token, and their log-probabilities.

    Args:
        policy: who fills in.
        states_BSH: of its encoder.
        mask_BS: 1 on prompt tokens.
        size_B: tokens to write, end tokens not counted.
        steps: passes of the decoder.
        head: the policy's output layer, where there is a faster one.

    Returns:
        [B, T] both, T the largest length and one; 0 log-probability on end tokens and padding.

    Raises:
        NonFiniteError: the model's logits are not finite.
    """
    place_1T = torch.arange(int(size_B.max()) + 1, device=size_B.device)[None]
    open_BT = place_1T < size_B[:, None]
    real_BT = (place_1T <= size_B[:, None]).long()
    tokens_BT = torch.full_like(real_BT, policy.pad_id).masked_fill(
        place_1T == size_B[:, None], policy.eos_id
    )
    logp_BT = torch.zeros(real_BT.shape, device=size_B.device)
    passes = Passes(policy.model, states_BSH, mask_BS, real_BT)
    for step in range(steps):
        count_B = F.hidden_counts(size_B, step, steps=steps)
        hidden_BT = F.least_certain(logp_BT, open_BT, count_B) if step else open_BT
        best_N, id_N = _choices(policy, (head or policy.head)(passes(tokens_BT, hidden_BT)))
        tokens_BT = tokens_BT.masked_scatter(hidden_BT, id_N)
        logp_BT = logp_BT.masked_scatter(hidden_BT, best_N)
    return tokens_BT, logp_BT


def _choices(policy: Policy, logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probability and id of the likeliest token; end and padding are none."""
    logp_NV = logits_NV.log_softmax(dim=-1)
    for never in (policy.eos_id, policy.pad_id):
        logp_NV[:, never] = -torch.inf
    best_N, id_N = logp_NV.max(dim=-1)
    check_finite(best_N)
    return best_N, id_N


def _best(
    tokens_BT: Tensor, logp_BT: Tensor, size_BL: Tensor, *, texts: int, pad_id: int
) -> Written:
    """Return the candidates of the largest mean log-probability, `texts` for every prompt."""
    count, copies = size_BL.shape
    mean_BL = logp_BT.sum(dim=1).view(count, copies) / size_BL
    order_BL = mean_BL.sort(dim=1, descending=True, stable=True).indices[:, :texts]
    first_B1 = copies * torch.arange(count, device=tokens_BT.device)[:, None]
    chosen_B = (first_B1 + order_BL).flatten()
    size_B = size_BL.flatten()[chosen_B]
    width = int(size_B.max()) + 1
    real_BT = torch.arange(width, device=tokens_BT.device)[None] <= size_B[:, None]
    return Written(
        tokens_BT=tokens_BT[chosen_B, :width].masked_fill(~real_BT, pad_id),
        mask_BT=real_BT.float(),
        logp_BT=logp_BT[chosen_B, :width],
        finished_B=torch.ones(len(chosen_B), dtype=torch.bool, device=tokens_BT.device),
    )
