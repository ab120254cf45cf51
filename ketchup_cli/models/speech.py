"""How a model speaks: its tokenizer, and the ids that begin, end and pad its texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from ketchup_cli.models.fingerprints import fingerprint

if TYPE_CHECKING:
    from ketchup_cli.models.policy import Policy


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """A tokenizer with its special ids; None where neither tokenizer nor config says one.

    Example: `read_speech(folder).token(1)` is `</s>`.
    """

    tokenizer: Any
    encoder_decoder: bool
    eos: int | None
    """What ends a text: the tokenizer's end token, or else the config's."""
    pad: int | None
    bos: int | None
    start: int | None
    """What a decoder is given first."""
    ends: tuple[int, ...]
    """Where the model's own generation config ends a text; empty where it does not say."""

    @property
    def fingerprint(self) -> str:
        """Digest of what maps text to ids."""
        return fingerprint(self.tokenizer)

    def token(self, id: int | None) -> str:
        """Return an id with its token, for people."""
        if id is None:
            return "none"
        return f"{id} {self.tokenizer.convert_ids_to_tokens(id)!r}"


def speech(tokenizer: Any, config: Any, generation_config: Any) -> Speech:
    """Return how the model of this config speaks."""
    ends = getattr(generation_config, "eos_token_id", None)
    own = getattr(tokenizer, "eos_token_id", None)
    return Speech(
        tokenizer=tokenizer,
        encoder_decoder=bool(config.is_encoder_decoder),
        eos=_first(getattr(config, "eos_token_id", None)) if own is None else int(own),
        pad=_first(tokenizer.pad_token_id),
        bos=_first(tokenizer.bos_token_id),
        start=next(
            (
                int(value)
                for place in (generation_config, config)
                if (value := getattr(place, "decoder_start_token_id", None)) is not None
            ),
            None,
        ),
        ends=()
        if ends is None
        else tuple(ends)
        if isinstance(ends, list | tuple)
        else (int(ends),),
    )


def speech_of(policy: Policy) -> Speech:
    """Return how a policy that is loaded speaks."""
    return speech(policy.tokenizer, policy.model.config, policy.model.generation_config)


def read_speech(folder: Path) -> Speech:
    """Return how the model in a folder speaks; its weights are not read.

    Raises:
        OSError, ValueError: transformers cannot make sense of the folder.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if (folder / "generation_config.json").is_file():
        settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
    else:
        settings = GenerationConfig.from_model_config(config)
    return speech(tokenizer, config, settings)


def _first(value: Any) -> int | None:
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return None if value is None else int(value)
