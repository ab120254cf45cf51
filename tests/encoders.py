"""A two-layer BERT with a tokenizer of words, made in milliseconds."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "een", "oud", "huis", "groene", "vogel", "the", "old")
LAYERS, LONGEST = 2, 12


def make_encoder_folder(folder: Path) -> Path:
    """Write config, weights and tokenizer as `save_pretrained` does."""
    words = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "unk")}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LONGEST, **names
    ).save_pretrained(folder)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LONGEST,
        # weights of the usual spread leave the states of two layers nearly parallel
        initializer_range=0.5,
    )
    BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    return folder
