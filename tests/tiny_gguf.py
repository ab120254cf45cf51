"""A real llama.cpp server on a tiny model of random weights, which knows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT = 32, 2, 1, 64, 4096
FIRST_BYTE = 3
LEVEL = 5.0
"""Of the first dimension of every state: a weight of the output layer there is a bias."""
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "assistant:"
)


def write_model(path: Path, *, seed: int = 0) -> None:
    """Write a llama of two layers over bytes."""
    import gguf
    import numpy

    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256
    assert tokens[FIRST_BYTE] == b"<0x00>"
    random = numpy.random.default_rng(seed)

    def weight(*shape: int) -> numpy.ndarray:
        return (random.standard_normal(shape) * 0.3).astype(numpy.float32)

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    embeddings_VD = weight(len(tokens), WIDTH)
    embeddings_VD[:, 0] = LEVEL
    writer.add_tensor("token_embd.weight", embeddings_VD)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        ones = numpy.ones(WIDTH, dtype=numpy.float32)
        writer.add_tensor(f"{block}.attn_norm.weight", ones)
        for name in ("attn_q", "attn_k", "attn_v"):
            writer.add_tensor(f"{block}.{name}.weight", weight(WIDTH, WIDTH))
        writer.add_tensor(f"{block}.attn_output.weight", _beside_the_level(weight(WIDTH, WIDTH)))
        writer.add_tensor(f"{block}.ffn_norm.weight", ones)
        writer.add_tensor(f"{block}.ffn_gate.weight", weight(HIDDEN, WIDTH))
        writer.add_tensor(f"{block}.ffn_up.weight", weight(HIDDEN, WIDTH))
        writer.add_tensor(f"{block}.ffn_down.weight", _beside_the_level(weight(WIDTH, HIDDEN)))
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, dtype=numpy.float32))
    output_VD = weight(len(tokens), WIDTH)
    output_VD[:, 0] = [_bias(number - FIRST_BYTE) for number in range(len(tokens))]
    writer.add_tensor("output.weight", output_VD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _beside_the_level(weight_DE: numpy.ndarray) -> numpy.ndarray:
    """Return the weight with nothing to add to the first dimension of a state."""
    weight_DE[0] = 0.0
    return weight_DE


def _bias(byte: int) -> float:
    """Return what a byte is favoured by: a string ends soon, and holds printed ASCII alone."""
    if byte == ord('"'):
        return 0.8
    return 0.0 if 32 <= byte < 127 or byte < 0 else -4.0


@contextmanager
def serving(path: Path, *, slots: int = 2) -> Iterator[str]:
    """Serve a model on this machine; yields the base URL."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.model_alias = {"random"}
    settings.n_ctx = CONTEXT * slots
    settings.n_parallel = slots
    settings.port = 0
    settings.cpuparams.n_threads = 1
    settings.cpuparams_batch.n_threads = 1
    settings.warmup = False
    settings.verbosity = 0
    server = xllamacpp.Server(settings)
    try:
        yield f"{server.listening_address}/v1"
    finally:
        del server
