import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from ketchup_cli.errors import MismatchError, ModelError, NonFiniteError, NotFound, SpecError
from ketchup_cli.models.load import (
    check_folder,
    check_same_tokenizer,
    load_policy,
    pick_device,
    precision_warnings,
    save_policy,
    weights_of,
)
from ketchup_cli.models.policy import Policy

WEIGHTS = "model.safetensors"
TIED = {
    "t5": {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"},
    "gpt2": {"lm_head.weight"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.make_policy_folder(tmp_path / "model", "t5")


def settings(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def change_settings(folder: Path, **changes: object) -> None:
    (folder / "config.json").write_text(json.dumps(settings(folder) | changes))


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def assert_equal_weights(one: Policy, other: Policy) -> None:
    left, right = one.model.state_dict(), other.model.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_saved_policy_loads_back_equal(architecture: str, tmp_path: Path) -> None:
    policy = tiny.make_policy(architecture)
    save_policy(policy, tmp_path, dtype="float32")
    loaded = load_policy(tmp_path, device="cpu")

    assert_equal_weights(loaded, policy)
    assert loaded.fingerprint == policy.fingerprint
    assert (loaded.pad_id, loaded.eos_id, loaded.start_id) == (
        policy.pad_id,
        policy.eos_id,
        policy.start_id,
    )
    assert not loaded.module.training


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_tied_weights_are_saved_once(architecture: str, tmp_path: Path) -> None:
    policy = tiny.make_policy(architecture)
    save_policy(policy, tmp_path, dtype="float32")
    stored = set(load_file(tmp_path / WEIGHTS))

    assert set(policy.model.state_dict()) - stored == TIED[architecture]
    assert stored == set(weights_of(policy.model))


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_tied_weights_stay_tied_after_loading(architecture: str, tmp_path: Path) -> None:
    loaded = load_policy(tiny.make_policy_folder(tmp_path, architecture), device="cpu").model

    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_transformers_loads_a_saved_policy_as_it_is(architecture: str, tmp_path: Path) -> None:
    policy = tiny.make_policy(architecture)
    save_policy(policy, tmp_path, dtype="float32")
    family = AutoModelForSeq2SeqLM if architecture == "t5" else AutoModelForCausalLM
    model = family.from_pretrained(tmp_path, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)

    assert torch.equal(
        model.get_input_embeddings().weight, policy.model.get_input_embeddings().weight
    )
    assert tokenizer("the small bird") == policy.tokenizer("the small bird")


def test_the_bytes_of_a_saved_policy_are_the_same_every_time(tmp_path: Path) -> None:
    policy = tiny.make_policy("t5")
    for name in ("one", "other"):
        save_policy(policy, tmp_path / name, dtype="float32")
    files = {
        name: {item.name: item.read_bytes() for item in (tmp_path / name).iterdir()}
        for name in ("one", "other")
    }

    assert files["one"] == files["other"]


def test_weights_in_half_precision_load_as_float32(tmp_path: Path) -> None:
    policy = tiny.make_policy("t5")
    save_policy(policy, tmp_path, dtype="float16")
    stored = load_file(tmp_path / WEIGHTS)
    loaded = load_policy(tmp_path, device="cpu").model

    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(loaded.shared.weight, policy.model.shared.weight.half().float())


def test_a_weight_too_large_for_its_saved_type_is_an_error(tmp_path: Path) -> None:
    policy = tiny.make_policy("t5")
    with torch.no_grad():
        policy.model.shared.weight[3, 4] = 1e5

    with pytest.raises(NonFiniteError, match=r"`shared\.weight` is not finite as float16"):
        save_policy(policy, tmp_path, dtype="float16")


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_dropout_can_be_replaced_for_a_run(architecture: str, tmp_path: Path) -> None:
    folder = tiny.make_policy_folder(tmp_path, architecture)
    policy = load_policy(folder, device="cpu", dropout=0.5)
    policy.module.train()
    ids = torch.tensor([policy.prompt_ids(["the small bird"])[0]])
    given = {"input_ids": ids} | (
        {"decoder_input_ids": ids} if policy.model.config.is_encoder_decoder else {}
    )
    with torch.no_grad():
        one, other = policy.model(**given).logits, policy.model(**given).logits

    assert not torch.equal(one, other)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_replaced_dropout_is_not_saved(architecture: str, tmp_path: Path) -> None:
    folder = tiny.make_policy_folder(tmp_path / "model", architecture)
    policy = load_policy(folder, device="cpu", dropout=0.5)
    save_policy(policy, tmp_path / "again", dtype="float32")

    assert settings(tmp_path / "again") == settings(folder)
    assert 0.5 in policy.model.config.to_dict().values()


def test_dropout_is_replaced_where_the_file_does_not_mention_it(folder: Path) -> None:
    without = {key: value for key, value in settings(folder).items() if key != "dropout_rate"}
    (folder / "config.json").write_text(json.dumps(without))

    assert load_policy(folder, device="cpu").model.config.dropout_rate == 0.1
    assert load_policy(folder, device="cpu", dropout=0.0).model.config.dropout_rate == 0.0


def test_no_layer_is_left_out_while_a_policy_trains(tmp_path: Path) -> None:
    folder = tiny.make_policy_folder(tmp_path / "model", "bart")
    change_settings(folder, encoder_layerdrop=0.4)
    policy = load_policy(folder, device="cpu", dropout=0.1)
    save_policy(policy, tmp_path / "again", dtype="float32")

    assert policy.model.config.encoder_layerdrop == 0.0
    assert settings(tmp_path / "again")["encoder_layerdrop"] == 0.4


def test_a_folder_without_a_config_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"holds no config\.json") as caught:
        load_policy(tmp_path)

    assert caught.value.exit_code == 2


def test_pickled_weights_alone_are_refused_with_a_remedy(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds no safetensors weights") as caught:
        load_policy(folder, device="cpu")

    assert "save_pretrained" in str(caught.value.hint)


def test_safetensors_under_another_name_do_not_let_pickled_weights_in(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    save_file({"x": torch.zeros(1)}, folder / "adapter_model.safetensors")

    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(folder, device="cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_wants_its_own_classes_is_refused(folder: Path, name: str) -> None:
    table = json.loads((folder / name).read_text())
    table["auto_map"] = {"AutoModelForSeq2SeqLM": "modeling.Own"}
    (folder / name).write_text(json.dumps(table))

    with pytest.raises(ModelError, match=r"wants to run its own code \(auto_map\)"):
        check_folder(folder)


def test_a_folder_with_code_beside_the_weights_is_refused(folder: Path) -> None:
    (folder / "modeling_own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match=r"its own code \(modeling_own\.py\)") as caught:
        load_policy(folder, device="cpu")

    assert caught.value.hint == "use a model whose family is part of transformers"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a table of settings"),
        ("{}", "does not say its `model_type`"),
        ('{"model_type": "none-such"}', "cannot be loaded"),
        ('{"model_type": "t5", "num_layers": "six"}', "cannot be loaded"),
    ],
)
def test_a_config_that_makes_no_sense_is_one_clear_error(
    folder: Path, content: str, message: str
) -> None:
    (folder / "config.json").write_text(content)

    with pytest.raises(ModelError, match=message):
        load_policy(folder, device="cpu")


def test_weights_that_are_missing_are_never_drawn_at_random(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop("decoder.final_layer_norm.weight"))

    with pytest.raises(ModelError, match=r"lacks 1 weights, `decoder\.final_layer_norm\.weight`"):
        load_policy(folder, device="cpu")


def test_a_weight_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    change_settings(folder, d_ff=40)

    with pytest.raises(ModelError, match=r"has shape \[48, 32\]; config\.json says \[40, 32\]"):
        load_policy(folder, device="cpu")


def test_weights_that_were_cut_short_are_one_clear_error(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-8])

    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(folder, device="cpu")


def test_a_tokenizer_that_is_not_there_is_never_made_up(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()

    with pytest.raises(ModelError, match=r"holds no tokenizer \(spiece\.model or tokenizer\.json"):
        load_policy(folder, device="cpu")


def test_policies_of_one_tokenizer_go_together() -> None:
    check_same_tokenizer(tiny.make_policy("t5", seed=1), tiny.make_policy("t5", seed=2))


def mismatch(teacher: Policy, student: Policy) -> str:
    with pytest.raises(MismatchError, match="tokenizers differ") as caught:
        check_same_tokenizer(teacher, student)
    assert "seqkd" in str(caught.value.hint)
    return caught.value.message


def test_another_tokenizer_is_refused_by_its_first_other_piece() -> None:
    teacher = tiny.make_policy("t5")
    student = tiny.make_policy("t5", examples=tiny.make_examples(3, seed=9))
    ours, theirs = (
        policy.tokenizer.convert_ids_to_tokens(list(range(8))) for policy in (teacher, student)
    )
    index = next(number for number in range(8) if ours[number] != theirs[number])

    assert f"id {index} is {ours[index]!r} and {theirs[index]!r}" in mismatch(teacher, student)


def test_a_longer_tokenizer_is_refused_by_its_length() -> None:
    teacher, student = tiny.make_policy("gpt2"), tiny.make_policy("gpt2")
    student.tokenizer.add_tokens(["<one-more>"])
    student.model.resize_token_embeddings(len(student.tokenizer))
    longer = Policy(student.model, student.tokenizer)

    assert "280 and 281 tokens" in mismatch(teacher, longer)


def test_another_normaliser_is_refused_by_its_name() -> None:
    from tokenizers import normalizers

    teacher, student = tiny.make_policy("t5"), tiny.make_policy("t5")
    student.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()

    assert "the same tokens, but another normalizer" in mismatch(teacher, student)


def test_a_device_this_machine_does_not_have_is_a_setting_that_makes_no_sense() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(SpecError, match="this machine has no cuda device") as caught:
        pick_device("cuda")

    assert caught.value.exit_code == 2
    with pytest.raises(SpecError, match="no cuda device"):
        pick_device("cuda:1")


def test_the_cpu_is_always_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize(("ratio", "warned"), [(19.4, True), (1.1, False), (0.3, False)])
def test_a_type_the_processor_has_to_imitate_is_told_with_what_was_measured(
    folder: Path, ratio: float, warned: bool
) -> None:
    policy = load_policy(folder, device="cpu", precision="bfloat16")

    warnings = precision_warnings(
        policy, seconds=lambda dtype, _: ratio if dtype == torch.bfloat16 else 1.0
    )

    assert [("19 times" in text, "precision=float32" in text) for text in warnings] == (
        [(True, True)] if warned else []
    )


def test_float32_is_not_timed(folder: Path) -> None:
    def never(*asked: object) -> float:
        raise AssertionError(asked)

    assert precision_warnings(load_policy(folder, device="cpu"), seconds=never) == ()
