"""A model with its tokenizer, aligned to completions: the one place that shifts.

Everything outside sees prompts and completions apart, and hidden states or logits whose index `t`
is the step at which completion token `t` is emitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor, nn

from ketchup_cli.errors import ModelError
from ketchup_cli.models.cmlm import fills_in
from ketchup_cli.models.filling import FillingModel
from ketchup_cli.models.fingerprints import fingerprint
from ketchup_cli.models.head_probe import PROBE_GAINS, head_agrees
from ketchup_cli.models.speech import Speech, speech

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ketchup_cli.signals import Batch

Kind = Literal["encoder-decoder", "decoder-only"]
Precision = Literal["float32", "bfloat16"]


@final
class CompletionModel(nn.Module):
    """A transformers model that answers with states aligned to the completion.

    Invariant: row b, step t of the result belongs to `tokens_BT[b, t]`, for encoder-decoders and
    decoder-only models alike. The output head is applied to these states alone, never to prompts.
    """

    def __init__(self, model: Any, *, start_id: int) -> None:
        super().__init__()
        self.model = model
        self.start_id = start_id
        self._captured: list[Tensor] | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._capture)

    def _capture(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._captured is None:
            return None
        self._captured.append(inputs[0])
        return (inputs[0][:, :1],)

    def forward(
        self,
        prompt_BS: Tensor,
        prompt_mask_BS: Tensor,
        tokens_BT: Tensor,
        mask_BT: Tensor,
        *,
        logits: bool,
        layers: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor | None]:
        """Return logits `[B, T, rows]` or the states the head reads `[B, T, H]`.

        With `layers`, the states of every decoder layer come second, `[L, B, T, H]`, embeddings
        first, and those of an encoder third, `[L, B, S, H]`.
        """
        if self.model.config.is_encoder_decoder:
            steps, inputs = slice(None), self._encoder_decoder(prompt_BS, prompt_mask_BS, tokens_BT)
        else:
            steps = slice(prompt_BS.shape[1] - 1, prompt_BS.shape[1] - 1 + tokens_BT.shape[1])
            inputs = _decoder_only(prompt_BS, prompt_mask_BS, tokens_BT, mask_BT)
        hidden, states = self._run(inputs, layers=layers)
        found = self.head(hidden[:, steps]) if logits else hidden[:, steps]
        if not layers:
            return found
        decoder_LBTH = torch.stack([state[:, steps] for state in states[0]])
        return found, decoder_LBTH, torch.stack(states[1]) if states[1] else None

    def _run(
        self, inputs: dict[str, Tensor], *, layers: bool
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """Return what the head reads and, if asked for, the states of decoder and encoder."""
        self._captured = []
        try:
            output = self.model(**inputs, use_cache=False, output_hidden_states=layers)
            (hidden,) = self._captured
        finally:
            self._captured = None
        if not layers:
            return hidden, ((), ())
        if self.model.config.is_encoder_decoder:
            return hidden, (output.decoder_hidden_states, output.encoder_hidden_states)
        return hidden, (output.hidden_states, ())

    def _encoder_decoder(
        self, prompt_BS: Tensor, prompt_mask_BS: Tensor, tokens_BT: Tensor
    ) -> dict[str, Tensor]:
        start_B1 = torch.full_like(tokens_BT[:, :1], self.start_id)
        return {
            "input_ids": prompt_BS,
            "attention_mask": prompt_mask_BS,
            "decoder_input_ids": torch.cat([start_B1, tokens_BT[:, :-1]], dim=1),
        }

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits of states `[..., H]`, padded vocabulary rows included."""
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        bias = getattr(self.model, "final_logits_bias", None)
        return logits if bias is None else logits + bias


def _decoder_only(
    prompt_BS: Tensor, prompt_mask_BS: Tensor, tokens_BT: Tensor, mask_BT: Tensor
) -> dict[str, Tensor]:
    prompt_BS, prompt_mask_BS = left_padded(prompt_BS, prompt_mask_BS)
    mask = torch.cat([prompt_mask_BS, mask_BT.to(prompt_mask_BS.dtype)], dim=1)
    return {
        "input_ids": torch.cat([prompt_BS, tokens_BT], dim=1),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0),
    }


def left_padded(prompt_BS: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Return right-padded prompts and their mask with the padding moved to the left."""
    size = prompt_BS.shape[1]
    padding_B1 = size - mask_BS.sum(dim=1, keepdim=True)
    index_BS = (torch.arange(size, device=prompt_BS.device)[None] - padding_B1) % size
    return prompt_BS.gather(1, index_BS), mask_BS.gather(1, index_BS)


@final
class Policy:
    """A tokenizer and a model that speak the same ids.

    Invariant: logits have exactly `vocabulary` entries, the tokenizer's length; rows a model was
    padded with are dropped before any softmax.
    Example: `policy.logits(batch)` is `[B, T, vocabulary]`, aligned with `batch.tokens_BT`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        precision: Precision = "float32",
        replaced: Mapping[str, Any] | None = None,
    ) -> None:
        self.replaced: Mapping[str, Any] = replaced or {}
        """Settings of the model's config that hold another value while the policy lives."""
        self.tokenizer = tokenizer
        self.kind: Kind = "encoder-decoder" if model.config.is_encoder_decoder else "decoder-only"
        self.vocabulary = len(tokenizer)
        spoken = speech(tokenizer, model.config, model.generation_config)
        self.eos_id = _end_id(spoken)
        # masks say what is padding, never the id: a model without a pad token pads with its end token
        self.pad_id = self.eos_id if spoken.pad is None else spoken.pad
        self.start_id = _start_id(spoken, self.pad_id)
        self.precision: Precision = precision
        self.fills_in = fills_in(model)
        """Whether it fills in hidden tokens, and does not write from left to right."""
        self.module: CompletionModel | FillingModel = (
            FillingModel(model, end_id=self.eos_id)
            if self.fills_in
            else CompletionModel(model, start_id=self.start_id)
        )
        self.module.train(model.training)
        self.runner: Any = self.module
        """What runs the module: itself, or its wrapper where several processes train it."""
        self._check_rows()

    @property
    def model(self) -> Any:
        """The transformers model itself."""
        return self.module.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def fingerprint(self) -> str:
        """Digest of what maps text to ids: pieces in order, merges, normaliser, added tokens."""
        return fingerprint(self.tokenizer)

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of prompts as the model reads them."""
        ids = self._ids(texts)
        if self.kind == "decoder-only":
            return [row[:-1] if row and row[-1] == self.eos_id else row for row in ids]
        return ids

    def completion_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of completions as the model writes them, the end token last."""
        if self.kind == "encoder-decoder":
            ids = self._ids(texts, as_target=True)
        else:
            ids = self._ids(texts, add_special_tokens=False)
        return [row if row and row[-1] == self.eos_id else [*row, self.eos_id] for row in ids]

    def _ids(
        self, texts: Sequence[str], *, as_target: bool = False, **settings: bool
    ) -> list[list[int]]:
        if not texts:  # tokenizers fail on an empty list
            return []
        role = "text_target" if as_target else "text"
        ids: list[list[int]] = self.tokenizer(**{role: list(texts)}, **settings)["input_ids"]
        return ids

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of id lists, special tokens left out."""
        texts: list[str] = self.tokenizer.batch_decode(
            [list(row) for row in rows],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return [text.strip() for text in texts]

    def autocast(self) -> torch.autocast:
        """Return the context the layers run in."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )

    def hidden(self, batch: Batch) -> Tensor:
        """Return the states the head reads, `[B, T, H]`, one per completion token."""
        hidden, _ = self._forward(batch, logits=False)
        return hidden

    def head(self, hidden: Tensor) -> Tensor:
        """Return float32 logits `[..., V]` of states `[..., H]`, computed in float32."""
        with torch.autocast(self.device.type, enabled=False):
            weight = self.model.get_output_embeddings().weight
            logits = self.module.head(hidden.to(weight.dtype))
        return self._own(logits).float()

    def logits(self, batch: Batch) -> Tensor:
        """Return float32 logits `[B, T, V]`, one row per completion token; gradients flow."""
        logits, _ = self._forward(batch, logits=True)
        return self._own(logits).float()

    def logits_with_lengths(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return `logits(batch)`, and `[B]` log-probabilities of lengths if it predicts them."""
        logits, length_logp_B = self._forward(batch, logits=True)
        return self._own(logits).float(), length_logp_B

    def _forward(self, batch: Batch, *, logits: bool) -> tuple[Tensor, Tensor | None]:
        with self.autocast():
            if not self.fills_in:
                return self.runner(*_tensors(batch), logits=logits), None
            found, length_logp_B = self.runner(*_tensors(batch), _shown(batch), logits=logits)
        return found, length_logp_B

    def hidden_with_layers(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the states the head reads, `[B, T, H]`, and those of all layers in float32.

        The second are the decoder's, `[L, B, T, H]`, the third the encoder's, `[L, B, S, H]`, where
        there is one. L is layers + 1: the embeddings come first.
        """
        return self._with_layers(batch, logits=False)

    def logits_with_layers(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return `logits(batch)` and the states of `hidden_with_layers`, of one forward pass."""
        logits, decoder_LBTH, encoder_LBSH = self._with_layers(batch, logits=True)
        return self._own(logits).float(), decoder_LBTH, encoder_LBSH

    def _with_layers(self, batch: Batch, *, logits: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.fills_in:
            _shown(batch)
        with self.autocast():
            found, decoder, encoder = self.runner(*_tensors(batch), logits=logits, layers=True)
        return found, decoder.float(), None if encoder is None else encoder.float()

    def _own(self, logits: Tensor) -> Tensor:
        """Return logits without the rows the model was padded with."""
        # a slice of everything would cost two tensors of that size on the way back
        whole = logits.shape[-1] == self.vocabulary
        return logits if whole else logits[..., : self.vocabulary]

    @torch.no_grad()
    def check_head(self) -> None:
        """Hold our head against the model's own on two tokens.

        Raises:
            ModelError: the model transforms logits in a way this class does not know.
        """
        training = self.module.training
        self.module.eval()
        try:
            agrees = all(head_agrees(self, gain=gain) for gain in PROBE_GAINS)
        finally:
            self.module.train(training)
        if not agrees:
            raise ModelError(
                f"`{self.model.config.model_type}` changes its logits after the output layer",
                hint="use a model whose logits are a linear map of its last hidden state",
            )

    def _check_rows(self) -> None:
        rows = self.model.get_output_embeddings().weight.shape[0]
        if rows < self.vocabulary:
            raise ModelError(
                f"the model has {rows} output rows for {self.vocabulary} tokens of its tokenizer",
                hint="use the tokenizer the model was trained with",
            )


def _tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return batch.prompt_BS, batch.prompt_mask_BS, batch.tokens_BT, batch.mask_BT


def _shown(batch: Batch) -> Tensor:
    if batch.shown_BT is None:
        raise ModelError(
            "a `cmlm` model fills in hidden tokens; it has no distribution over the next one",
            hint="name a model that writes from left to right, or --objective cmlm",
        )
    return batch.shown_BT


def _end_id(spoken: Speech) -> int:
    if spoken.eos is None:
        raise ModelError(
            "neither the tokenizer nor the model says its `eos_token_id`",
            hint="set `eos_token_id` in config.json",
        )
    return spoken.eos


def _start_id(spoken: Speech, pad_id: int) -> int:
    if spoken.start is not None:
        return spoken.start
    if spoken.encoder_decoder:
        raise ModelError(
            "the model does not say its `decoder_start_token_id`",
            hint="set `decoder_start_token_id` in generation_config.json",
        )
    return pad_id
