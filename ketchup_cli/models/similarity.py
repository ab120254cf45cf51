"""BERTScore from a local encoder: states of two texts' tokens, matched greedily."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError, SpecError
from ketchup_cli.models.load import (
    as_model_error,
    check_folder,
    check_tokenizer,
    check_weights,
    pick_device,
)

TEXTS_AT_ONCE = 64
SPACED_FIRST = ("roberta", "gpt2", "bart", "longformer")
"""Families whose tokenizer sees a word after a space otherwise than one at the start; bert-score
puts a space in front of their texts."""
_UNUSED = "pooler."
"""Weights above the states, which checkpoints trained without them lack."""


@final
@dataclass(frozen=True, slots=True)
class Match:
    """How one text matches one reference; each from -1 to 1."""

    precision: float
    recall: float
    f1: float


@final
class Encoder:
    """An encoder with its tokenizer, and the layer whose states are taken.

    Example: `Encoder.load(folder).match([("a text", "a reference")])`
    """

    def __init__(self, model: Any, tokenizer: Any, *, layer: int) -> None:
        self.model, self.tokenizer, self.layer = model, tokenizer, layer
        limits = (tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 0))
        # families that count positions from behind the padding id lose the first of them
        offset = 2 if model.config.model_type in SPACED_FIRST else 0
        self.longest = min(limits[0], limits[1] - offset if limits[1] else limits[0])

    @classmethod
    def load(cls, folder: Path, *, layer: int = 0, device: str = "auto") -> Encoder:
        """Load the encoder of a folder, float32, in eval mode; nothing is fetched, no code run.

        Args:
            folder: a folder as `save_pretrained` writes it.
            layer: layer whose states are taken, from 1; 0 takes the last.
            device: as `pick_device` takes it.

        Raises:
            NotFound: no config.json there.
            ModelError: weights that are not safetensors, or not all there; code beside them.
            SpecError: the encoder has no such layer.
        """
        check_folder(folder)
        chosen = pick_device(device)
        with as_model_error(folder):
            model, found = AutoModel.from_pretrained(
                folder,
                config=AutoConfig.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                ),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        missing = [key for key in found["missing_keys"] if not key.startswith(_UNUSED)]
        check_weights(folder, {**found, "missing_keys": missing})
        check_tokenizer(folder, tokenizer)
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        count = model.config.num_hidden_layers
        if layer > count:
            raise SpecError(
                f"`{folder.name}` has {count} layers; encoder_layer is {layer}",
                hint=f"--set encoder_layer={count}",
            )
        return cls(model.to(chosen).eval(), tokenizer, layer=layer or count)

    @property
    def signature(self) -> str:
        """What changes a value, but the weights."""
        family = self.model.config.model_type
        return f"family:{family}|layer:{self.layer}|transformers:{transformers.__version__}"

    def match(self, pairs: Sequence[tuple[str, str]]) -> list[Match]:
        """Return how each hypothesis matches its reference.

        Raises:
            NonFiniteError: a state of the encoder is NaN or infinite.
        """
        order = sorted(range(len(pairs)), key=lambda n: sum(map(len, pairs[n])))
        found: dict[int, Match] = {}
        for start in range(0, len(order), TEXTS_AT_ONCE // 2):
            chunk = order[start : start + TEXTS_AT_ONCE // 2]
            texts = [text for number in chunk for text in pairs[number]]
            states = list(self._states(texts))
            for place, number in enumerate(chunk):
                (hyp_NH, hyp_N), (ref_KH, ref_K) = states[2 * place : 2 * place + 2]
                found[number] = Match(*F.greedy_match(hyp_NH, ref_KH, hyp_N, ref_K))
        return [found[number] for number in range(len(pairs))]

    def too_long(self, texts: Sequence[str]) -> int:
        """Return how many texts are cut at the encoder's longest length."""
        return sum(len(self._ids(text, cut=False)) > self.longest for text in texts)

    @torch.no_grad()
    def _states(self, texts: Sequence[str]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each text's states [N, H] and which of its tokens count [N]."""
        rows = [self._ids(text, cut=True) for text in texts]
        width = max(map(len, rows))
        pad = self.tokenizer.pad_token_id or 0
        device = self.model.device
        ids_BT = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        lengths_B = torch.tensor([len(row) for row in rows], device=device)
        mask_BT = (torch.arange(width, device=device) < lengths_B[:, None]).long()
        out = self.model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True)
        states_BTH = out.hidden_states[self.layer].float()
        if not bool(states_BTH[mask_BT.bool()].isfinite().all()):
            raise NonFiniteError("a state of the encoder is not finite", hint="use another encoder")
        around = torch.tensor(self._around(), device=device)
        for row, (states_TH, own_T) in enumerate(zip(states_BTH, ids_BT, strict=True)):
            count = len(rows[row])
            yield states_TH[:count], ~torch.isin(own_T[:count], around)

    def _ids(self, text: str, *, cut: bool) -> list[int]:
        bare = text.strip()
        spaced = f" {bare}" if bare and self.model.config.model_type in SPACED_FIRST else bare
        limit = {"truncation": True, "max_length": self.longest} if cut else {}
        ids: list[int] = self.tokenizer(spaced, verbose=False, **limit)["input_ids"]
        # an encoder needs a token, though none of an empty text counts
        return ids or [self.tokenizer.pad_token_id or 0]

    def _around(self) -> list[int]:
        """Return the ids a tokenizer puts around a text, and padding."""
        own = self.tokenizer
        ids = (own.cls_token_id, own.sep_token_id, own.bos_token_id, own.eos_token_id)
        return sorted({id for id in (*ids, own.pad_token_id) if id is not None})
