"""A conditional masked language model: a T5 whose decoder sees both sides and fills in tokens.

    p(Y_hidden | X, Y_shown) = prod_{i hidden} p(y_i | X, Y_shown)

Beside the tokens it predicts how long a completion is, from the mean of the encoder's states. The
mask is a vector of its own and no id, so that no text can hold it and it can never be written.

Source: Ghazvininejad et al. 2019, arXiv 1904.09324. Differs: blocks and relative positions of T5,
and lengths as differences from the prompt's, as fairseq offers them.
"""

from __future__ import annotations

from typing import Any, final

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration
from transformers import initialization as init
from transformers.modeling_outputs import Seq2SeqLMOutput

MODEL_TYPE = "cmlm"
_LENGTH_SCALE = 4.0
"""Tokens of difference over which a length is e times less likely before anything is learnt."""
_LENGTH_SPREAD = 0.02
"""Spread of the head's first weights; not 0, for Adafactor's steps are in parts of the weights."""


@final
@strict
class CmlmConfig(T5Config):  # type: ignore[misc]
    """The sizes of a T5, and how many differences in length the model tells apart."""

    model_type = MODEL_TYPE

    length_classes: int = 512
    """Differences between completion and prompt; 0 is the class in the middle."""


@final
class CmlmModel(T5ForConditionalGeneration):  # type: ignore[misc]
    """A T5 with a decoder that looks both ways, a vector for what is hidden, and a head for lengths.

    Invariant: its weights are those of a T5 of the same sizes and `hidden.weight`, `lengths.*`.
    Example: `model(input_ids=x, attention_mask=m, decoder_input_ids=y, shown=s).logits` is
    `[B, T, V]`; row t is about token t itself.
    """

    config_class = CmlmConfig
    config: CmlmConfig

    def __init__(self, config: CmlmConfig) -> None:
        super().__init__(config)
        # the stack asks its config for the mask, the attention itself for the kind of positions
        self.decoder.config.is_decoder = False
        for block in self.decoder.block:
            attention = block.layer[0].SelfAttention
            attention.is_decoder = attention.is_causal = False
        self.hidden = nn.Embedding(1, config.d_model)
        self.lengths = nn.Linear(config.d_model, config.length_classes)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CmlmModel):
            init.normal_(module.hidden.weight, mean=0.0, std=self.config.initializer_factor)
            init.normal_(module.lengths.weight, mean=0.0, std=_LENGTH_SPREAD)
            init.zeros_(module.lengths.bias)

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the encoder's states `[B, S, H]`."""
        states: Tensor = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        return states

    def length_logits(self, states_BSH: Tensor, mask_BS: Tensor) -> Tensor:
        """Return logits `[B, C]` of how much longer than its prompt a completion is.

        What is learnt is laid over exp(-|d| / 4): without it the first texts are of any length.
        """
        mask_BS1 = mask_BS.to(states_BSH.dtype)[..., None]
        mean_BH = (states_BSH * mask_BS1).sum(dim=1) / mask_BS1.sum(dim=1).clamp(min=1)
        class_C = torch.arange(self.config.length_classes, device=mean_BH.device)
        away_C = (class_C - self.config.length_classes // 2).abs()
        logits: Tensor = self.lengths(mean_BH) - away_C / _LENGTH_SCALE
        return logits

    def fill(
        self,
        states_BSH: Tensor,
        mask_BS: Tensor,
        tokens_BT: Tensor,
        real_BT: Tensor,
        shown_BT: Tensor,
    ) -> Tensor:
        """Return the states `[B, T, H]` the output layer reads; hidden tokens are not looked at.

        Args:
            states_BSH: of the encoder.
            mask_BS: 1 on prompt tokens, 0 on padding.
            tokens_BT: the completion as far as it is known.
            real_BT: 1 on completion tokens, shown or hidden, 0 on padding.
            shown_BT: 1 on tokens that are shown.
        """
        states: Tensor = self.decoder(
            inputs_embeds=self.embed(tokens_BT, shown_BT),
            attention_mask=real_BT,
            encoder_hidden_states=states_BSH,
            encoder_attention_mask=mask_BS,
            use_cache=False,
        ).last_hidden_state
        return self.scaled(states)

    def embed(self, tokens_BT: Tensor, shown_BT: Tensor) -> Tensor:
        """Return what the decoder reads, `[B, T, H]`: one vector for all that is hidden."""
        known_BTH = self.shared(tokens_BT)
        return torch.where(shown_BT.bool()[..., None], known_BTH, self.hidden.weight[0])

    def scaled(self, states_BTH: Tensor) -> Tensor:
        """Return the decoder's states as the output layer reads them."""
        factor: float = self.model_dim**-0.5 if self.config.scale_decoder_outputs else 1.0
        return states_BTH * factor

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        *,
        decoder_attention_mask: Tensor | None = None,
        shown: Tensor | None = None,
        **_ignored: Any,
    ) -> Seq2SeqLMOutput:
        """Return logits of every token of a completion, whose hidden tokens are not looked at."""
        whole_BT = torch.ones_like(decoder_input_ids)
        real_BT = whole_BT if decoder_attention_mask is None else decoder_attention_mask
        shown_BT = whole_BT if shown is None else shown
        states_BSH = self.read(input_ids, attention_mask)
        hidden = self.fill(states_BSH, attention_mask, decoder_input_ids, real_BT, shown_BT)
        return Seq2SeqLMOutput(logits=self.lm_head(hidden), encoder_last_hidden_state=states_BSH)


def fills_in(model: Any) -> bool:
    """Return whether a model fills in hidden tokens rather than writing from left to right."""
    return isinstance(model, CmlmModel)


AutoConfig.register(MODEL_TYPE, CmlmConfig, exist_ok=True)
AutoModelForSeq2SeqLM.register(CmlmConfig, CmlmModel, exist_ok=True)
