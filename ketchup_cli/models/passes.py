"""A model that fills in, read and run pass after pass: what no pass changes is computed once.

That is keys and values of the prompts, biases of positions, and which of both may be looked at. The
states are those of `CmlmModel`, without what transformers does around the layers in every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention

if TYPE_CHECKING:
    from ketchup_cli.models.cmlm import CmlmModel


def read(model: CmlmModel, prompt_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Return `model.read(prompt_BS, mask_BS)`, the encoder's states, of a model in eval mode."""
    x_BSH: Tensor = model.shared(prompt_BS)
    bias = _bias(model.encoder, mask_BS)
    for block in model.encoder.block:
        own, feed = block.layer
        x_BSH = _fed(feed, x_BSH + _among_themselves(own, x_BSH, bias))
    return _normed(model.encoder.final_layer_norm, x_BSH)


@final
class Passes:
    """The decoder of a model in eval mode over one batch of prompts and completions of these sizes.

    Invariant: `passes(tokens_BT, hidden_BT)` are the rows of hidden tokens of `model.fill`, for any
    number of calls. Its last layer computes no others.
    """

    def __init__(
        self, model: CmlmModel, states_BSH: Tensor, mask_BS: Tensor, real_BT: Tensor
    ) -> None:
        self._model = model
        *self._inner, self._last = [tuple(block.layer) for block in model.decoder.block]
        self._bias = _bias(model.decoder, real_BT)
        self._beyond = _closed(mask_BS)
        self._prompts = {
            cross: _keys_values(cross.EncDecAttention, states_BSH)
            for _, cross, _ in (*self._inner, self._last)
        }

    def __call__(self, tokens_BT: Tensor, hidden_BT: Tensor) -> Tensor:
        """Return the states `[N, H]` the output layer reads, of the hidden tokens row by row."""
        x_BTH = self._model.embed(tokens_BT, ~hidden_BT)
        for own, cross, feed in self._inner:
            x_BTH = x_BTH + _among_themselves(own, x_BTH, self._bias)
            x_BTH = _fed(feed, self._with_prompt(cross, x_BTH))
        own, cross, feed = self._last
        place_BK, asked_BK = _places(hidden_BT)
        bias = self._bias.expand(len(place_BK), -1, -1, -1)
        bias = bias.gather(
            2, place_BK[:, None, :, None].expand(-1, bias.shape[1], -1, bias.shape[3])
        )
        x_BKH = _at(x_BTH, place_BK) + _among_themselves(own, x_BTH, bias, place_BK)
        x_BKH = _fed(feed, self._with_prompt(cross, x_BKH))
        return self._model.scaled(_normed(self._model.decoder.final_layer_norm, x_BKH[asked_BK]))

    def _with_prompt(self, cross: Any, x_BTH: Tensor) -> Tensor:
        normed_BTH = _normed(cross.layer_norm, x_BTH)
        pair = self._prompts[cross]
        return x_BTH + _attend(cross.EncDecAttention, normed_BTH, pair, self._beyond)


def _places(hidden_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return where hidden tokens stand, `[B, K]` with others behind where a row has fewer, and which."""
    count_B = hidden_BT.sum(dim=1)
    most = int(count_B.max())
    place_BK = (~hidden_BT).byte().argsort(dim=1, stable=True)[:, :most]
    return place_BK, torch.arange(most, device=count_B.device)[None] < count_B[:, None]


def _at(x_BTH: Tensor, place_BK: Tensor) -> Tensor:
    return x_BTH.gather(1, place_BK[..., None].expand(-1, -1, x_BTH.shape[2]))


def _bias(stack: Any, real_BT: Tensor) -> Tensor:
    """Return what is added to attention among these tokens: biases of positions, -inf on padding."""
    size = real_BT.shape[1]
    bias_1ATT: Tensor = (
        stack.block[0].layer[0].SelfAttention.compute_bias(size, size, device=real_BT.device)
    )
    closed = _closed(real_BT)
    return bias_1ATT if closed is None else bias_1ATT + closed


def _among_themselves(
    own: Any, x_BTH: Tensor, bias: Tensor, place_BK: Tensor | None = None
) -> Tensor:
    """Return what all of these tokens see of each other, or those at some places."""
    normed_BTH = _normed(own.layer_norm, x_BTH)
    pair = _keys_values(own.SelfAttention, normed_BTH)
    asking = normed_BTH if place_BK is None else _at(normed_BTH, place_BK)
    return _attend(own.SelfAttention, asking, pair, bias)


def _normed(norm: Any, x_BTH: Tensor) -> Tensor:
    """Return what T5's own norm does in six steps."""
    return rms_norm(x_BTH, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _fed(feed: Any, x_BTH: Tensor) -> Tensor:
    fed_BTH: Tensor = feed.DenseReluDense(_normed(feed.layer_norm, x_BTH))
    return x_BTH + fed_BTH


def _closed(real_BT: Tensor) -> Tensor | None:
    """Return what is added to attention, `[B, 1, 1, T]`, -inf on padding; None where there is none."""
    if bool(real_BT.all()):
        return None
    zeros_BT = torch.zeros(real_BT.shape, device=real_BT.device)
    return zeros_BT.masked_fill(real_BT == 0, -torch.inf)[:, None, None]


def _keys_values(attention: Any, states_BTH: Tensor) -> tuple[Tensor, Tensor]:
    return _heads(attention, attention.k(states_BTH)), _heads(attention, attention.v(states_BTH))


def _heads(attention: Any, x_BTD: Tensor) -> Tensor:
    return x_BTD.view(*x_BTD.shape[:2], -1, attention.key_value_proj_dim).transpose(1, 2)


def _attend(
    attention: Any, states_BTH: Tensor, pair: tuple[Tensor, Tensor], added: Tensor | None
) -> Tensor:
    """Return what these states see of keys and values; T5 divides no product by a root."""
    query = _heads(attention, attention.q(states_BTH))
    seen = scaled_dot_product_attention(
        query, *pair, attn_mask=None if added is None else added.to(query.dtype), scale=1.0
    )
    found: Tensor = attention.o(seen.transpose(1, 2).flatten(2))
    return found
