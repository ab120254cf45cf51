from pathlib import Path

import pytest
import torch
from encoders import LAYERS, LONGEST, make_encoder_folder

from ketchup_cli.errors import ModelError, SpecError
from ketchup_cli.models.load import quiet
from ketchup_cli.models.similarity import Encoder

PAIRS = [
    ("een oud huis", "een groene vogel"),
    ("huis", "the old een oud huis"),
    ("", "een oud huis"),
    ("the old vogel oud", "vogel"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT."""
    quiet()
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    """Its last layer."""
    return Encoder.load(folder, device="cpu")


def slow_match(encoder: Encoder, hyp: str, ref: str) -> tuple[float, float]:
    """Precision and recall of one pair, unpadded, the tokens around a text counted out by place."""

    def states(text: str) -> torch.Tensor:
        given = encoder.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            out = encoder.model(**given, output_hidden_states=True)
        return torch.nn.functional.normalize(out.hidden_states[encoder.layer][0], dim=-1)

    hyp_NH, ref_KH = states(hyp), states(ref)
    cosine_NK = hyp_NH @ ref_KH.t()
    return float(cosine_NK.amax(1)[1:-1].mean()), float(cosine_NK.amax(0)[1:-1].mean())


def test_a_batch_of_pairs_agrees_with_each_by_itself(encoder: Encoder) -> None:
    matches = encoder.match(PAIRS)

    for match, (hyp, ref) in zip(matches, PAIRS, strict=True):
        wanted = slow_match(encoder, hyp, ref) if hyp else (0.0, 0.0)
        # float32, and padding changes the order of sums
        assert (match.precision, match.recall) == pytest.approx(wanted, abs=1e-5)


def test_a_text_matches_itself_and_another_less(encoder: Encoder) -> None:
    same, other = encoder.match([("een oud huis", " een oud huis "), PAIRS[0]])

    assert same.f1 == pytest.approx(1.0, abs=1e-6)
    assert other.f1 < 0.99


def test_an_empty_text_matches_nothing(encoder: Encoder) -> None:
    (match,) = encoder.match([("  ", "een")])

    assert (match.precision, match.recall, match.f1) == (0.0, 0.0, 0.0)


def test_the_layer_decides_the_states(folder: Path, encoder: Encoder) -> None:
    first = Encoder.load(folder, layer=1, device="cpu")

    assert encoder.layer == LAYERS
    assert first.match(PAIRS[:1])[0].f1 != encoder.match(PAIRS[:1])[0].f1


def test_a_layer_there_is_not_is_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match="has 2 layers; encoder_layer is 3"):
        Encoder.load(folder, layer=3)


def test_a_text_longer_than_the_encoder_is_cut_and_counted(encoder: Encoder) -> None:
    fits, long = " ".join(["een"] * (LONGEST - 2)), " ".join(["een"] * 40)

    assert encoder.too_long([fits, long]) == 1
    assert encoder.match([(long, long)])[0].f1 == pytest.approx(1.0, abs=1e-6)


def test_pickled_weights_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")

    with pytest.raises(ModelError, match="holds no safetensors weights"):
        Encoder.load(tmp_path)
