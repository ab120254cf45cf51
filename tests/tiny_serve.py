"""`transformers serve` on a tiny model of random weights, which can say the three verdicts alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tiny_gguf import TEMPLATE

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 16, 2, 2, 32, 8192
END = "</s>"
VERDICTS = ("VERDICT: 1", "VERDICT: 2", "VERDICT: tie")
LEVEL = 5.0
"""Of the first dimension of every state, and of the second of a verdict's: biases for the output."""


def write_model(folder: Path, *, seed: int = 0) -> None:
    """Write a llama over bytes and three verdicts; after a verdict it ends."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    bytes_.add_tokens([AddedToken(text, normalized=False) for text in VERDICTS])
    bytes_.add_special_tokens([END])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_, eos_token=END, pad_token=END)
    tokenizer.chat_template = TEMPLATE
    end = tokenizer.eos_token_id
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        eos_token_id=end,
        pad_token_id=end,
        bos_token_id=None,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config)
    verdicts = slice(len(letters), len(letters) + len(VERDICTS))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[:2] = 0.0
            layer.mlp.down_proj.weight[:2] = 0.0
        embeddings_VD = model.model.embed_tokens.weight
        embeddings_VD[:, 0] = LEVEL
        embeddings_VD[:, 1] = 0.0
        embeddings_VD[verdicts, 1] = LEVEL
        output_VD = model.lm_head.weight
        output_VD[:, :2] = torch.tensor([-40.0, 0.0])
        output_VD[verdicts, :2] = torch.tensor([0.0, -40.0])
        output_VD[end, 1] = 80.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def serving() -> Iterator[str]:
    """Serve folders of this machine; yields the base URL. A request names its folder as the model."""
    from transformers.cli.serve import Serve
    from transformers.utils import logging

    told = logging.get_verbosity()
    server = Serve(host="127.0.0.1", port=0, device="cpu", log_level="error", non_blocking=True)
    try:
        until = time.monotonic() + 30
        while not server.server.started:
            assert time.monotonic() < until
            time.sleep(0.01)
        port = server.server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill_server()
        logging.set_verbosity(told)
