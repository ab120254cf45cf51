"""What the benchmarks run on: a T5 of random weights and a corpus of made-up words."""

import random
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example

SPECIAL = ("<pad>", "</s>", "<unk>")
MEAN_WORDS, SPREAD_WORDS, MOST_WORDS = 15.0, 8.0, 60
"""Lengths of sentences, about those of examples/en-nl."""


def make_policy(*, vocabulary: int, layers: int = 6, decoder_layers: int = 2) -> Policy:
    """Return a T5 of width 256 with a word-level tokenizer; 8.9 M parameters for 8,000 words."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocabulary,
        d_model=256,
        d_kv=64,
        d_ff=1024,
        num_heads=4,
        num_layers=layers,
        num_decoder_layers=decoder_layers,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    model = T5ForConditionalGeneration(config).eval()
    return Policy(model, make_tokenizer(vocabulary))


def make_tokenizer(vocabulary: int) -> Any:
    """Return a tokenizer that knows `vocabulary` made-up words and ends every text with `</s>`."""
    words = {word: number for number, word in enumerate(SPECIAL)}
    words |= {f"w{number}": number for number in range(len(SPECIAL), vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def make_examples(count: int, *, vocabulary: int) -> list[Example]:
    """Return sentences of made-up words with references of about their length."""
    generator = random.Random(0)

    def sentence(size: int) -> str:
        return " ".join(f"w{generator.randrange(len(SPECIAL), vocabulary)}" for _ in range(size))

    examples: list[Example] = []
    for number in range(count):
        drawn = generator.gauss(MEAN_WORDS, SPREAD_WORDS)
        size = min(MOST_WORDS, max(2, round(drawn)))
        other = min(MOST_WORDS, max(2, round(size * generator.gauss(1.0, 0.15))))
        examples.append(
            Example(id=f"{number:08d}", prompt=sentence(size), references=(sentence(other),))
        )
    return examples
