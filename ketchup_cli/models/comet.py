"""COMET's regression metrics from a local checkpoint in safetensors, without COMET's package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, final

import msgspec
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ketchup_cli import functional as F
from ketchup_cli.errors import ModelError, NonFiniteError, NotFound
from ketchup_cli.models.load import as_model_error, check_folder, check_tokenizer, pick_device

TEXTS_AT_ONCE = 64
HPARAMS, WEIGHTS = "hparams.yaml", "model.safetensors"
ENCODERS = ("XLM-RoBERTa", "XLM-RoBERTa-XL")
"""What COMET calls the encoders whose states can be had here."""
SPARE_POSITIONS = 4
"""Of the encoder's positions, those COMET leaves free: two that the family never uses, and two more."""
_ENCODER, _MIX, _ESTIMATOR = "encoder.model.", "layerwise_attention.", "estimator.ff."
_UNUSED = ("position_ids", "pooler.", "dropout_mask", "dropout_fill")
"""Parts of names of what a checkpoint may hold and a score does not need."""


@final
class Hparams(msgspec.Struct, frozen=True, kw_only=True):
    """What hparams.yaml says of how a score is made; what is about training is left aside."""

    class_identifier: Literal["regression_metric", "referenceless_regression_metric"]
    """With a reference, or without."""
    encoder_model: str
    layer: int | Literal["mix"]
    """Layer whose states are taken, 0 the embeddings; or a mix of all."""
    pool: Literal["avg", "cls", "default", "max"]
    """How a text's states become one: their mean, the first, the first of the last layer, the largest
    of each number."""
    hidden_sizes: tuple[int, ...]
    activations: str = "Tanh"
    final_activation: str | None = None
    layer_transformation: Literal["softmax", "sparsemax"] = "softmax"
    layer_norm: bool = False


@final
class Comet:
    """An encoder, and the estimator on top of it.

    Example: `Comet.load(folder).score([("een huis", "a house", "the house")])`
    """

    def __init__(
        self, hparams: Hparams, tokenizer: Any, encoder: Any, estimator: nn.Module, *, mix_N: Tensor
    ) -> None:
        self.hparams, self.tokenizer, self.encoder = hparams, tokenizer, encoder
        self.estimator, self.mix_N = estimator, mix_N
        self.longest = int(encoder.config.max_position_embeddings) - SPARE_POSITIONS

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> Comet:
        """Load a checkpoint, float32, in eval mode; nothing is fetched, no code run.

        Args:
            folder: with model.safetensors (COMET's state dict), hparams.yaml, and the encoder's
                config.json and tokenizer.json.
            device: as `pick_device` takes it.

        Raises:
            NotFound: no config.json or hparams.yaml there.
            ModelError: weights that are not safetensors, or not all there; another kind of metric or
                encoder.
        """
        check_folder(folder)
        hparams = read_hparams(folder)
        chosen = pick_device(device)
        with as_model_error(folder):
            weights = load_file(folder / WEIGHTS)
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            encoder = AutoModel.from_config(config, add_pooling_layer=False).float()
        check_tokenizer(folder, tokenizer)
        estimator = _estimator(hparams, width=int(config.hidden_size))
        _fill(encoder, _part(weights, _ENCODER), folder)
        _fill(estimator, _part(weights, _ESTIMATOR), folder)
        mix_N = _mix(hparams, _part(weights, _MIX), folder, layers=config.num_hidden_layers + 1)
        return cls(
            hparams,
            tokenizer,
            encoder.to(chosen).eval(),
            estimator.to(chosen).eval(),
            mix_N=mix_N.to(chosen),
        )

    @property
    def with_reference(self) -> bool:
        """Whether a translation is compared with a reference beside its source."""
        return self.hparams.class_identifier == "regression_metric"

    @property
    def signature(self) -> str:
        """What changes a value, but the weights."""
        own = self.hparams
        layer = f"mix-{own.layer_transformation}" if own.layer == "mix" else str(own.layer)
        norm = "|layer-norm:yes" if own.layer == "mix" and own.layer_norm else ""
        return (
            f"class:{own.class_identifier}|layer:{layer}{norm}|pool:{own.pool}|precision:float32"
            f"|transformers:{transformers.__version__}"
        )

    @torch.no_grad()
    def score(self, triples: Sequence[tuple[str, str, str]]) -> list[float]:
        """Return the score of every source, translation and reference; each text is read once.

        Raises:
            NonFiniteError: a score is NaN or infinite.
        """
        wanted = {text for triple in triples for text in self._read_of(triple)}
        vectors = self._vectors(sorted(wanted, key=lambda text: (len(text), text)))
        found: list[float] = []
        for start in range(0, len(triples), TEXTS_AT_ONCE):
            chunk = [self._read_of(triple) for triple in triples[start : start + TEXTS_AT_ONCE]]
            columns = [
                torch.stack([vectors[text] for text in texts]) for texts in zip(*chunk, strict=True)
            ]
            features_BF = F.comet_features(columns[0], columns[1:])
            found += self.estimator(features_BF).flatten().tolist()
        if not all(map(math.isfinite, found)):
            raise NonFiniteError("a score of comet is not finite", hint="use another checkpoint")
        return found

    def too_long(self, texts: Sequence[str]) -> int:
        """Return how many texts are cut at the encoder's longest length."""
        return sum(len(ids) > self.longest for ids in self.tokenizer(list(texts))["input_ids"])

    def _read_of(self, triple: tuple[str, str, str]) -> tuple[str, ...]:
        """Return the texts the estimator compares: translation, reference if any, source."""
        source, text, reference = triple
        return (text, reference, source) if self.with_reference else (text, source)

    def _vectors(self, texts: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chunk = texts[start : start + TEXTS_AT_ONCE]
            given = self.tokenizer(
                list(chunk),
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=self.longest,
            ).to(self.encoder.device)
            found |= dict(zip(chunk, self._pooled(given), strict=True))
        return found

    def _pooled(self, given: Mapping[str, Tensor]) -> Tensor:
        """Return [B, H] a vector a text."""
        own, mask_BT = self.hparams, given["attention_mask"]
        out = self.encoder(
            input_ids=given["input_ids"], attention_mask=mask_BT, output_hidden_states=True
        )
        if own.pool == "default":
            first_BH: Tensor = out.last_hidden_state[:, 0]
            return first_BH
        if own.layer == "mix":
            states_BTH = F.mixed_layers(
                out.hidden_states, self.mix_N, mask_BT, normalise=own.layer_norm
            )
        else:
            states_BTH = out.hidden_states[own.layer]
        if own.pool == "cls":
            return states_BTH[:, 0]
        if own.pool == "max":
            return states_BTH.masked_fill(mask_BT[..., None] == 0, float("-inf")).amax(dim=1)
        return F.mean_state(states_BTH, mask_BT)


def read_hparams(folder: Path) -> Hparams:
    """Return what a checkpoint's hparams.yaml says.

    Raises:
        NotFound: there is none.
        ModelError: it is no plain YAML, or of a metric that is not computed here.
    """
    import yaml  # type: ignore[import-untyped]

    path = folder / HPARAMS
    if not path.is_file():
        raise NotFound(
            f"`{folder}` holds no {HPARAMS}", hint="docs/how-to-choose.md shows how to make it"
        )
    try:
        found = msgspec.convert(yaml.safe_load(path.read_bytes()), Hparams)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"`{path.name}` of `{folder.name}` is not of a regression metric: {first}",
            hint="use a checkpoint of RegressionMetric, like wmt22-comet-da, or ReferencelessRegression",
        ) from None
    if found.encoder_model not in ENCODERS:
        raise ModelError(
            f"comet's encoder `{found.encoder_model}` is not computed here",
            hint=f"use a checkpoint on {' or '.join(ENCODERS)}",
        )
    return found


def _estimator(hparams: Hparams, *, width: int) -> nn.Sequential:
    """Return the network from features to a score, its places as COMET numbers them."""
    vectors = 6 if hparams.class_identifier == "regression_metric" else 4
    sizes = (vectors * width, *hparams.hidden_sizes)
    parts: list[nn.Module] = []
    for before, after in pairwise(sizes):
        # COMET's dropout has a number too
        parts += [nn.Linear(before, after), _activation(hparams.activations), nn.Identity()]
    parts.append(nn.Linear(sizes[-1], 1))
    if hparams.final_activation is not None:
        parts.append(_activation(hparams.final_activation))
    return nn.Sequential(*parts)


def _activation(name: str) -> nn.Module:
    known = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    if name.lower() not in known:
        raise ModelError(
            f"comet's activation `{name}` is not computed here",
            hint=f"use a checkpoint with {' or '.join(sorted(known))}",
        )
    made: nn.Module = known[name.lower()]()
    return made


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in weights.items()
        if name.startswith(prefix) and not any(part in name for part in _UNUSED)
    }


def _mix(hparams: Hparams, weights: Mapping[str, Tensor], folder: Path, *, layers: int) -> Tensor:
    """Return the weight of every layer, the common factor in it; none where one layer is taken."""
    if hparams.layer != "mix":
        if not 0 <= hparams.layer < layers:
            raise ModelError(
                f"`{folder.name}` has layers 0 to {layers - 1}; hparams.yaml takes {hparams.layer}",
                hint="use the config.json the checkpoint was made with",
            )
        return torch.zeros(0)
    names = [f"scalar_parameters.{number}" for number in range(layers)]
    _check_names({*names, "gamma"}, set(weights), folder)
    scores_N = torch.cat([weights[name] for name in names])
    sparse = hparams.layer_transformation == "sparsemax"
    return weights["gamma"] * (F.sparsemax(scores_N) if sparse else scores_N.softmax(dim=0))


def _fill(module: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
    wanted = {name: tuple(value.shape) for name, value in module.named_parameters()}
    _check_names(set(wanted), set(weights), folder)
    for name, shape in wanted.items():
        if tuple(weights[name].shape) != shape:
            raise ModelError(
                f"`{folder.name}`: `{name}` has shape {list(weights[name].shape)}; its settings say"
                f" {list(shape)}",
                hint="use config.json and hparams.yaml of this very checkpoint",
            )
    module.load_state_dict(dict(weights), strict=False)


def _check_names(wanted: set[str], given: set[str], folder: Path) -> None:
    apart = sorted(wanted ^ given)
    if apart:
        what = "lacks" if apart[0] in wanted else "holds beside its settings"
        raise ModelError(
            f"`{folder.name}` {what} the weight `{apart[0]}`",
            hint="convert the checkpoint again, with its own config.json and hparams.yaml",
        )
