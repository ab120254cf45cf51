import hashlib
import re
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoTokenizer

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.models.build import random_model, train_tokenizer
from ketchup_cli.models.load import load_policy, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.specs import NewModelSpec, TokenizerSpec

ORDINARY = (
    "The bird opens the small page.",
    "De vogel  ziet, één tafel: 3,5 € = 7 (nu)!",
    "tab\tand line\nbreak",
    '"Quotes", <tags> & 50 % of it…',
)


def digests(folder: Path) -> dict[str, str]:
    return {item.name: hashlib.sha256(item.read_bytes()).hexdigest() for item in folder.iterdir()}


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_ordinary_text_survives_encoding_and_decoding(kind: str, architecture: str) -> None:
    spec = TokenizerSpec(kind=kind, vocabulary=300)
    tokenizer = train_tokenizer(ORDINARY, spec, architecture=architecture)
    ids = tokenizer(list(ORDINARY))["input_ids"]

    assert tuple(tokenizer.batch_decode(ids, skip_special_tokens=True)) == ORDINARY


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_every_digit_is_a_piece_of_its_own_where_that_is_asked(kind: str) -> None:
    sums = [*ORDINARY, *(f"pay 12 x 34 = <<12*34=408>>408 for {n}" for n in range(90, 99))]
    merged, single = (
        train_tokenizer(
            sums, TokenizerSpec(kind=kind, vocabulary=300, digits=digits), architecture="llama"
        )
        for digits in ("merged", "single")
    )

    pieces = [piece for piece in single.get_vocab() if re.search("[0-9]", piece)]
    assert sorted(pieces) == list("0123456789")
    assert any(len(piece) > 1 and piece.isdigit() for piece in merged.get_vocab())
    ids = single(sums)["input_ids"]
    assert single.batch_decode(ids, skip_special_tokens=True) == sums


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_special_tokens_have_fixed_ids(kind: str) -> None:
    spec = TokenizerSpec(kind=kind, vocabulary=300)
    tokenizer = train_tokenizer(ORDINARY, spec, architecture="llama")

    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<pad>", "</s>", "<unk>", "<s>"]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_only_encoder_decoders_end_a_prompt(architecture: str) -> None:
    policy = tiny.make_policy(architecture)
    (ids,) = policy.tokenizer(["the bird"])["input_ids"]

    assert (ids[-1] == policy.eos_id) == (policy.kind == "encoder-decoder")


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_saved_tokenizer_loads_as_it_was(architecture: str, tmp_path: Path) -> None:
    policy = tiny.make_policy(architecture)
    save_policy(policy, tmp_path, dtype="float32")
    loaded = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)

    assert Policy(policy.model, loaded).fingerprint == policy.fingerprint
    assert loaded("the old bird").input_ids == policy.tokenizer("the old bird").input_ids


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_saved_model_loads_with_its_weights(architecture: str, tmp_path: Path) -> None:
    policy = tiny.make_policy(architecture)
    save_policy(policy, tmp_path, dtype="float32")
    loaded = load_policy(tmp_path, device="cpu")

    before, after = policy.model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.model.generation_config.eos_token_id == policy.eos_id == 1
    assert loaded.model.generation_config.pad_token_id == policy.pad_id == 0


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_same_seed_gives_the_same_bytes(architecture: str, tmp_path: Path) -> None:
    first = tiny.make_policy_folder(tmp_path / "first", architecture)
    torch.rand(3)
    second = tiny.make_policy_folder(tmp_path / "second", architecture)

    assert digests(first) == digests(second)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first = tiny.make_policy_folder(tmp_path / "first", seed=0)
    second = tiny.make_policy_folder(tmp_path / "second", seed=1)

    changed = {name for name, value in digests(first).items() if digests(second)[name] != value}
    assert changed == {"model.safetensors"}


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    random_model(tiny.make_spec(), vocabulary=90)

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_embeddings_are_tied(architecture: str) -> None:
    model = random_model(tiny.make_spec(architecture), vocabulary=90)

    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize("architecture", tiny.ENCODER_DECODERS)
def test_encoder_and_decoder_have_the_layers_asked_for(architecture: str) -> None:
    spec = NewModelSpec(
        architecture=architecture, layers=3, decoder_layers=1, width=16, heads=2, inner=16
    )
    names = random_model(spec, vocabulary=50).state_dict()
    blocks = {"encoder": set(), "decoder": set()}
    for name in names:
        side, *rest = name.removeprefix("model.").split(".")
        if side in blocks and rest[0] in {"block", "layers"}:
            blocks[side].add(rest[1])

    assert {side: len(found) for side, found in blocks.items()} == {"encoder": 3, "decoder": 1}


def test_a_vocabulary_below_the_alphabet_is_refused() -> None:
    with pytest.raises(SpecError, match=r"`tokenizer.vocabulary` is 64; the bytes") as caught:
        train_tokenizer(ORDINARY, TokenizerSpec(kind="bpe", vocabulary=64), architecture="gpt2")

    # an addition to what was typed, so that nothing else of it is lost
    assert (caught.value.hint or "").startswith("--set tokenizer.vocabulary=")


def test_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="no text"):
        train_tokenizer([""], TokenizerSpec(), architecture="t5")


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(SpecError, match="`width` 30 is not a multiple of `heads` 4"):
        random_model(NewModelSpec(width=30, heads=4), vocabulary=50)
