"""A COMET checkpoint of two layers, as its conversion to safetensors leaves one: seeded, no package."""

import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

WORDS = (
    "<s>", "<pad>", "</s>", "<unk>", "een", "oud", "huis", "groene", "vogel", "the", "old", "house", "bird",
)  # fmt: skip
LAYERS, WIDTH, POSITIONS = 2, 16, 20
HIDDEN = (12, 6)
HPARAMS: dict[str, Any] = {
    "class_identifier": "regression_metric",
    "encoder_model": "XLM-RoBERTa",
    "pretrained_model": "xlm-roberta-large",
    "layer": "mix",
    "layer_transformation": "sparsemax",
    "layer_norm": False,
    "pool": "avg",
    "hidden_sizes": list(HIDDEN),
    "activations": "Tanh",
    "final_activation": None,
    "dropout": 0.1,
    "nr_frozen_epochs": 0.3,
}


def make_triples(count: int = 20) -> list[tuple[str, str, str]]:
    """Return sources, translations and references of different lengths; one word is unknown."""
    generator = random.Random(4)
    dutch, english = ("een", "oud", "huis", "groene", "vogel"), ("the", "old", "house", "bird", "x")
    return [
        (
            " ".join(generator.choices(english, k=generator.randint(1, 9))),
            " ".join(generator.choices(dutch, k=generator.randint(1, 9))),
            " ".join(generator.choices(dutch, k=generator.randint(1, 9))),
        )
        for _ in range(count)
    ]


def make_weights(vectors: int = 6) -> dict[str, torch.Tensor]:
    """Return COMET's state dict by its own names: the encoder, the mix of layers, the estimator."""
    encoder = XLMRobertaModel(make_config(), add_pooling_layer=False)
    shapes = {
        f"encoder.model.{name}": tuple(value.shape) for name, value in encoder.named_parameters()
    }
    shapes |= {f"layerwise_attention.scalar_parameters.{n}": (1,) for n in range(LAYERS + 1)}
    shapes |= {"layerwise_attention.gamma": (1,)}
    sizes = (vectors * WIDTH, *HIDDEN, 1)
    # a linear map, its activation and its dropout have a number each
    for place in range(len(sizes) - 1):
        shapes[f"estimator.ff.{3 * place}.weight"] = (sizes[place + 1], sizes[place])
        shapes[f"estimator.ff.{3 * place}.bias"] = (sizes[place + 1],)
    generator = torch.Generator().manual_seed(0)
    return {name: 0.4 * torch.randn(shapes[name], generator=generator) for name in sorted(shapes)}


def make_config() -> XLMRobertaConfig:
    return XLMRobertaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
    )


def make_comet_folder(folder: Path, **changes: Any) -> Path:
    """Write weights, hparams.yaml, config and tokenizer."""
    hparams = HPARAMS | changes
    vectors = 6 if hparams["class_identifier"] == "regression_metric" else 4
    folder.mkdir(parents=True, exist_ok=True)
    save_file(make_weights(vectors), folder / "model.safetensors")
    make_config().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    lines = [f"{name}: {'null' if value is None else value}\n" for name, value in hparams.items()]
    (folder / "hparams.yaml").write_text("".join(lines), encoding="utf-8")
    return folder
