"""A smaller model from a larger one: some layers copied, everything else kept."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ketchup_cli.errors import ModelError
from ketchup_cli.models.cmlm import MODEL_TYPE, CmlmConfig, CmlmModel

Layers = Mapping[str, Sequence[int]]
"""The layers to copy, by side: `encoder` and `decoder`, or `decoder` alone."""

_STACK_NAMES = ("block", "layers", "h")
_COUNT_NAMES = {
    "encoder": ("encoder_layers", "num_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers"),
}


def shrink(model: Any, layers: Layers) -> Any:
    """Return a new model with copies of the chosen layers, in the order given.

    Embeddings, output head, final norms and whatever only layer 0 owns (T5's relative position
    bias) are kept, also where layer 0 is not among the chosen.

    Args:
        model: a transformers model; it is left as it is.
        layers: for an encoder-decoder both sides, for a decoder-only model `decoder`.

    Raises:
        ModelError: the model's layers are not where this function looks for them.
    """
    prefixes = layer_lists(model)
    weights = model.state_dict()
    with torch.random.fork_rng(devices=[]):
        student = type(model)(_config(model.config, layers))
    names = student.state_dict()
    student.load_state_dict({name: _source(name, weights, prefixes, layers) for name in names})
    student.generation_config = copy.deepcopy(model.generation_config)
    return student.eval()


def to_cmlm(model: Any) -> CmlmModel:
    """Return a model that fills in hidden tokens, with the weights of a T5.

    What a T5 lacks: the vector of hidden tokens is that of the start token, which is all its decoder
    sees where nothing is written yet; positions in the decoder, which looks both ways now, are the
    encoder's; the head of lengths begins at random, always the same.

    Args:
        model: a T5; it is left as it is.

    Raises:
        ModelError: a model of another family.
    """
    if model.config.model_type != "t5":
        raise ModelError(
            f"a `{model.config.model_type}` model has no T5 weights that a cmlm could start from",
            hint="shrink a T5, or ketchup new-model --set architecture=cmlm",
        )
    table = {**model.config.to_dict(), "model_type": MODEL_TYPE}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student: CmlmModel = CmlmModel(CmlmConfig.from_dict(table))
    weights = model.state_dict()
    positions = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    weights[f"decoder.{positions}"] = weights[f"encoder.{positions}"]
    start = weights["shared.weight"][model.config.decoder_start_token_id]
    own = {name: value for name, value in student.state_dict().items() if name not in weights}
    own["hidden.weight"] = start[None]
    student.load_state_dict({**weights, **own})
    student.generation_config = copy.deepcopy(model.generation_config)
    student.eval()
    return student


def _config(config: Any, layers: Layers) -> Any:
    smaller = copy.deepcopy(config)
    if not config.is_encoder_decoder:
        smaller.num_hidden_layers = len(layers["decoder"])
        if getattr(config, "layer_types", None):
            smaller.layer_types = [config.layer_types[index] for index in layers["decoder"]]
        return smaller
    for side, names in _COUNT_NAMES.items():
        present = [name for name in names if name in config.__dict__]
        if not present:
            raise _unknown_family(config)
        setattr(smaller, present[0], len(layers[side]))
    if "num_hidden_layers" in config.__dict__:
        smaller.num_hidden_layers = len(layers["encoder"])
    return smaller


def layer_lists(model: Any) -> dict[str, str]:
    """Return the dotted name of each side's list of layers: `decoder`, and `encoder` if there is one.

    Raises:
        ModelError: they are not where this function looks for them.
    """
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        *parents, last = name.split(".")
        if not isinstance(module, nn.ModuleList) or last not in _STACK_NAMES:
            continue
        side = "encoder" if "encoder" in parents else "decoder"
        if side in found:
            raise _unknown_family(model.config)
        found[side] = name
    expected = {"encoder", "decoder"} if model.config.is_encoder_decoder else {"decoder"}
    if set(found) != expected:
        raise _unknown_family(model.config)
    return found


def _source(
    name: str, weights: Mapping[str, Tensor], prefixes: Mapping[str, str], layers: Layers
) -> Tensor:
    for side, prefix in prefixes.items():
        if name.startswith(f"{prefix}."):
            number, rest = name.removeprefix(f"{prefix}.").split(".", 1)
            chosen = f"{prefix}.{layers[side][int(number)]}.{rest}"
            return weights[chosen] if chosen in weights else weights[f"{prefix}.0.{rest}"]
    return weights[name]


def _unknown_family(config: Any) -> ModelError:
    return ModelError(
        f"the layers of a `{config.model_type}` model are not where they were expected",
        hint="use a model of the T5, BART, Marian, GPT-2 or Llama family",
    )
