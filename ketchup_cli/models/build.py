"""A tokenizer from text and a model from numbers: what a small machine starts with."""

import json
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as pieces
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MarianConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
)

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.models.cmlm import CmlmConfig
from ketchup_cli.specs import NewModelSpec, TokenizerSpec

PAD, EOS, UNK, BOS = "<pad>", "</s>", "<unk>", "<s>"
PAD_ID, EOS_ID, UNK_ID, BOS_ID = range(4)
DECODER_ONLY = ("gpt2", "llama")
_WITH_BOS = ("bart", "llama")
_SCORE_DIGITS = 4
"""Decimals of a piece's log-probability; what differs between two trainings lies far below."""
_CHARACTER_STEP = 1e-4
"""What the trainer adds from one rare character to the next."""
_NO_LIMIT = 1_000_000_000
"""`model_max_length`: lengths are limited by the specs, not by the tokenizer."""


def train_tokenizer(
    texts: Iterable[str], spec: TokenizerSpec, *, architecture: str
) -> PreTrainedTokenizerFast:
    """Return a tokenizer for `architecture` trained on `texts`; the same texts give the same one.

    Args:
        texts: prompts and references of the training split.
        spec: kind and size of the vocabulary.
        architecture: encoder-decoders end a prompt with `</s>`, decoder-only models do not.

    Raises:
        DataError: there is no text.
        SpecError: the vocabulary is smaller than the alphabet.
    """
    lines = [text for text in texts if text]
    if not lines:
        raise DataError("no text to train a tokenizer on")
    special = [PAD, EOS, UNK, *([BOS] if architecture in _WITH_BOS else [])]
    train = _train_unigram if spec.kind == "unigram" else _train_bpe
    trained = train(lines, spec, special)
    trained.post_processor = _post_processor(architecture)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        bos_token=BOS if architecture in _WITH_BOS else None,
        padding_side="left" if architecture in DECODER_ONLY else "right",
        model_max_length=_NO_LIMIT,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _train_unigram(lines: list[str], spec: TokenizerSpec, special: list[str]) -> Tokenizer:
    alphabet = {character for line in lines for character in line if character != " "}
    _check_size(spec.vocabulary, len(alphabet) + 1 + len(special), what="characters of the text")
    tokenizer = Tokenizer(pieces.Unigram())
    words = _digits_apart(pre_tokenizers.Metaspace(prepend_scheme="always"), spec)
    tokenizer.pre_tokenizer = words
    trainer = trainers.UnigramTrainer(
        vocab_size=spec.vocabulary, special_tokens=special, unk_token=UNK, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer, length=len(lines))
    vocabulary = _settled(_unigram_vocabulary(tokenizer), first=len(special))
    settled = Tokenizer(pieces.Unigram(vocabulary, unk_id=UNK_ID))
    settled.pre_tokenizer = words
    settled.decoder = decoders.Metaspace(prepend_scheme="always")
    settled.add_special_tokens(special)
    return settled


def _unigram_vocabulary(tokenizer: Tokenizer) -> list[tuple[str, float]]:
    model = json.loads(tokenizer.to_str())["model"]
    return [(piece, score) for piece, score in model["vocab"]]


def _settled(vocabulary: list[tuple[str, float]], *, first: int) -> list[tuple[str, float]]:
    """Return the pieces with scores and order that do not depend on the trainer's threads.

    The trainer's sums differ in the last digits from run to run, and characters it would have
    dropped get the lowest score plus a small step times their place in a hash table.
    """
    learnt = vocabulary[first:]
    floor = min(score for _, score in learnt)
    characters = sum(len(piece) == 1 for piece, _ in learnt)
    stepped = floor + _CHARACTER_STEP * (characters + 1)
    scores = {
        piece: round(floor if len(piece) == 1 and score <= stepped else score, _SCORE_DIGITS)
        for piece, score in learnt
    }
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [*vocabulary[:first], *ordered]


def _train_bpe(lines: list[str], spec: TokenizerSpec, special: list[str]) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _check_size(spec.vocabulary, len(alphabet) + len(special), what="bytes")
    tokenizer = Tokenizer(pieces.BPE())
    tokenizer.pre_tokenizer = _digits_apart(pre_tokenizers.ByteLevel(add_prefix_space=False), spec)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocabulary,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer, length=len(lines))
    return tokenizer


def _digits_apart(
    words: pre_tokenizers.PreTokenizer, spec: TokenizerSpec
) -> pre_tokenizers.PreTokenizer:
    """Return what splits text into words, each digit one of its own where the spec says so."""
    if spec.digits == "merged":
        return words
    digits = pre_tokenizers.Digits(individual_digits=True)
    # bytes are made last, spaces marked first: either way a digit stands alone before pieces are sought
    byte_level = isinstance(words, pre_tokenizers.ByteLevel)
    return pre_tokenizers.Sequence([digits, words] if byte_level else [words, digits])


def _check_size(size: int, least: int, *, what: str) -> None:
    if size < least:
        raise SpecError(
            f"`tokenizer.vocabulary` is {size}; the {what} and the special tokens are {least}",
            hint=f"--set tokenizer.vocabulary={2 * least}",
        )


def _post_processor(architecture: str) -> processors.TemplateProcessing:
    bos = BOS if architecture in _WITH_BOS else ""
    eos = "" if architecture in DECODER_ONLY else EOS
    return processors.TemplateProcessing(
        single=f"{bos} $A {eos}".strip(),
        special_tokens=[(BOS, BOS_ID)] * bool(bos) + [(EOS, EOS_ID)] * bool(eos),
    )


def random_model(spec: NewModelSpec, *, vocabulary: int) -> PreTrainedModel:
    """Return a model of the spec's shape with weights drawn from its seed.

    Raises:
        SpecError: the heads do not divide the width.
    """
    if spec.width % spec.heads:
        raise SpecError(
            f"`width` {spec.width} is not a multiple of `heads` {spec.heads}",
            hint=f"--set width={spec.heads * (spec.width // spec.heads + 1)}",
        )
    config = _CONFIGS[spec.architecture](spec, vocabulary)
    auto = AutoModelForCausalLM if spec.architecture in DECODER_ONLY else AutoModelForSeq2SeqLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model: PreTrainedModel = auto.from_config(config)
    start = {} if spec.architecture in DECODER_ONLY else {"decoder_start_token_id": _start(spec)}
    model.generation_config = GenerationConfig(
        pad_token_id=PAD_ID, eos_token_id=EOS_ID, bos_token_id=_bos(spec), **start
    )
    return model


def _bos(spec: NewModelSpec) -> int:
    return BOS_ID if spec.architecture in _WITH_BOS else EOS_ID


def _start(spec: NewModelSpec) -> int:
    return EOS_ID if spec.architecture == "bart" else PAD_ID


def _of_t5(spec: NewModelSpec, vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "d_model": spec.width,
        "d_kv": spec.width // spec.heads,
        "d_ff": spec.inner,
        "num_layers": spec.layers,
        "num_decoder_layers": spec.decoder_layers or spec.layers,
        "num_heads": spec.heads,
        "dropout_rate": spec.dropout,
        "tie_word_embeddings": True,
        "pad_token_id": PAD_ID,
        "eos_token_id": EOS_ID,
        "decoder_start_token_id": _start(spec),
    }


def _t5(spec: NewModelSpec, vocabulary: int) -> T5Config:
    return T5Config(**_of_t5(spec, vocabulary))


def _cmlm(spec: NewModelSpec, vocabulary: int) -> CmlmConfig:
    return CmlmConfig(**_of_t5(spec, vocabulary), length_classes=spec.positions)


def _two_sided(spec: NewModelSpec, vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "d_model": spec.width,
        "encoder_layers": spec.layers,
        "decoder_layers": spec.decoder_layers or spec.layers,
        "encoder_attention_heads": spec.heads,
        "decoder_attention_heads": spec.heads,
        "encoder_ffn_dim": spec.inner,
        "decoder_ffn_dim": spec.inner,
        "max_position_embeddings": spec.positions,
        "dropout": spec.dropout,
        "tie_word_embeddings": True,
        "pad_token_id": PAD_ID,
        "eos_token_id": EOS_ID,
        "bos_token_id": _bos(spec),
        "decoder_start_token_id": _start(spec),
        "forced_eos_token_id": None,
    }


def _bart(spec: NewModelSpec, vocabulary: int) -> BartConfig:
    return BartConfig(**_two_sided(spec, vocabulary))


def _marian(spec: NewModelSpec, vocabulary: int) -> MarianConfig:
    return MarianConfig(
        **_two_sided(spec, vocabulary),
        decoder_vocab_size=vocabulary,
        share_encoder_decoder_embeddings=True,
        scale_embedding=True,
    )


def _gpt2(spec: NewModelSpec, vocabulary: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=vocabulary,
        n_embd=spec.width,
        n_layer=spec.layers,
        n_head=spec.heads,
        n_inner=spec.inner,
        n_positions=spec.positions,
        resid_pdrop=spec.dropout,
        embd_pdrop=spec.dropout,
        attn_pdrop=spec.dropout,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        bos_token_id=_bos(spec),
    )


def _llama(spec: NewModelSpec, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=spec.width,
        intermediate_size=spec.inner,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        max_position_embeddings=spec.positions,
        attention_dropout=spec.dropout,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        bos_token_id=_bos(spec),
    )


_CONFIGS = {
    "t5": _t5,
    "bart": _bart,
    "marian": _marian,
    "gpt2": _gpt2,
    "llama": _llama,
    "cmlm": _cmlm,
}
