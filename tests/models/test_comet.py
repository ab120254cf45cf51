"""COMET's figures, held against COMET's own code and against a slow formula, text by text."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comets import LAYERS, POSITIONS, make_comet_folder, make_triples, make_weights
from safetensors.torch import load_file, save_file
from transformers import XLMRobertaModel

from ketchup_cli.errors import ModelError, NotFound
from ketchup_cli.models.comet import SPARE_POSITIONS, Comet
from ketchup_cli.models.load import quiet

REFERENCELESS = {"class_identifier": "referenceless_regression_metric"}
SETTINGS: dict[str, dict[str, Any]] = {
    "as wmt22-comet-da": {},
    "softmax of normalised layers, first state": {
        "layer_transformation": "softmax", "pool": "cls", "layer_norm": True
    },
    "one layer, largest states, a final activation": {
        "layer": 1, "pool": "max", "final_activation": "Sigmoid"
    },
    "first state of the last layer": {"pool": "default"},
}  # fmt: skip
FIGURES = json.loads(Path(__file__).with_name("comet_figures.json").read_bytes())
"""Of unbabel-comet 2.2.7: its `RegressionMetric` and `ReferencelessRegression` with these weights, under
torch 2.13.0, every state dict loaded strictly; Lightning, which only trains, stood aside."""


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    quiet()


def loaded(folder: Path, **changes: Any) -> Comet:
    return Comet.load(make_comet_folder(folder, **changes), device="cpu")


@pytest.mark.parametrize("name", SETTINGS)
def test_scores_are_those_of_comet_s_own_code(name: str, tmp_path: Path) -> None:
    with_reference = loaded(tmp_path / "a", **SETTINGS[name]).score(make_triples())
    without = loaded(tmp_path / "b", **SETTINGS[name], **REFERENCELESS).score(make_triples())

    # six decimals are kept; float32 over a few sums
    assert with_reference == pytest.approx(FIGURES[name]["regression_metric"], abs=5e-6)
    assert without == pytest.approx(FIGURES[name][REFERENCELESS["class_identifier"]], abs=5e-6)


def slow_score(folder: Path, comet: Comet, triple: tuple[str, str, str]) -> float:
    """The published formula for one triple, unpadded: average of the sparsemax mix, six parts."""
    weights = load_file(folder / "model.safetensors")
    mix = [float(weights[f"layerwise_attention.scalar_parameters.{n}"]) for n in range(LAYERS + 1)]
    order = sorted(mix, reverse=True)
    size = max(k for k in range(1, len(mix) + 1) if 1 + k * order[k - 1] > sum(order[:k]))
    tau = (sum(order[:size]) - 1) / size
    shares = [max(0.0, one - tau) for one in mix]

    def vector(text: str) -> torch.Tensor:
        given = comet.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = comet.encoder(**given, output_hidden_states=True).hidden_states
        mixed = sum(share * state[0] for share, state in zip(shares, states, strict=True))
        return float(weights["layerwise_attention.gamma"]) * mixed.mean(dim=0)

    source, text, reference = map(vector, triple)
    value = torch.cat([
        text, reference, text * reference, (text - reference).abs(),
        text * source, (text - source).abs(),
    ])  # fmt: skip
    for place in (0, 3, 6):
        linear = weights[f"estimator.ff.{place}.weight"], weights[f"estimator.ff.{place}.bias"]
        value = linear[0] @ value + linear[1]
        value = value if place == 6 else value.tanh()
    return float(value)


def test_scores_are_those_of_the_published_formula(tmp_path: Path) -> None:
    comet = loaded(tmp_path)

    for triple, score in zip(make_triples(), comet.score(make_triples()), strict=True):
        assert score == pytest.approx(slow_score(tmp_path, comet, triple), abs=1e-5)


def test_the_weights_of_a_folder_are_the_encoder_s_own(tmp_path: Path) -> None:
    comet = loaded(tmp_path)

    assert isinstance(comet.encoder, XLMRobertaModel)
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    stored = make_weights()[name]
    assert torch.equal(comet.encoder.encoder.layer[1].output.dense.weight, stored)


def test_the_signature_says_class_layer_and_pooling(tmp_path: Path) -> None:
    mixed = loaded(tmp_path / "a").signature
    one = loaded(tmp_path / "b", layer=1, pool="cls", **REFERENCELESS).signature

    assert mixed.startswith(
        "class:regression_metric|layer:mix-sparsemax|pool:avg|precision:float32|"
    )
    assert one.startswith("class:referenceless_regression_metric|layer:1|pool:cls|")


def test_a_text_longer_than_the_encoder_is_cut_and_counted(tmp_path: Path) -> None:
    comet = loaded(tmp_path)
    words = POSITIONS - SPARE_POSITIONS - 2
    fits, long = " ".join(["een"] * words), " ".join(["een"] * (words + 5))

    assert comet.too_long([fits, long]) == 1
    fit, cut = comet.score([("the", fits, "oud"), ("the", long, "oud")])
    assert fit == pytest.approx(cut, abs=1e-6)


def drop(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("estimator.ff.3.bias", "lacks the weight `3.bias`"),
        ("layerwise_attention.gamma", "lacks the weight `gamma`"),
        ("encoder.model.embeddings.LayerNorm.bias", "lacks the weight `embeddings.LayerNorm.bias`"),
    ],
)
def test_a_weight_that_is_gone_is_named(name: str, said: str, tmp_path: Path) -> None:
    make_comet_folder(tmp_path)
    drop(tmp_path, name)

    with pytest.raises(ModelError, match=said):
        Comet.load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class_identifier": "unified_metric"}, "not of a regression metric: Invalid enum value"),
        ({"encoder_model": "RemBERT"}, "encoder `RemBERT` is not computed here"),
        ({"activations": "GELU"}, "activation `GELU` is not computed here"),
        ({"layer": 7}, "has layers 0 to 2; hparams.yaml takes 7"),
        ({"hidden_sizes": [5, 6]}, "has shape"),
    ],
)
def test_a_checkpoint_that_is_not_computed_here_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        loaded(tmp_path, **changes)


def test_a_folder_without_its_settings_or_with_pickles_is_refused(tmp_path: Path) -> None:
    make_comet_folder(tmp_path)
    (tmp_path / "hparams.yaml").unlink()
    with pytest.raises(NotFound, match=r"holds no hparams\.yaml"):
        Comet.load(tmp_path)

    (tmp_path / "model.safetensors").rename(tmp_path / "model.ckpt")
    with pytest.raises(ModelError, match="holds no safetensors weights"):
        Comet.load(tmp_path)
