import dataclasses
import functools
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor
from transformers import ByT5Tokenizer, Gemma2Config, Gemma2ForCausalLM

from ketchup_cli.errors import ModelError
from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.fingerprints import fingerprint
from ketchup_cli.models.policy import Policy, left_padded
from ketchup_cli.signals import Batch

EXACT = 1e-5
"""Two ways of computing one float32 forward pass; logits are around 1."""

policy_of = functools.cache(tiny.make_policy)
every_architecture = pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)


def make_rows(policy: Policy, count: int = 4) -> list[Row]:
    examples = tiny.make_examples(count, seed=3)
    prompts = policy.prompt_ids([example.prompt for example in examples])
    completions = policy.completion_ids([example.references[0] for example in examples])
    return [
        Row(id=example.id, prompt=tuple(prompt), completion=tuple(completion), position=number)
        for number, (example, prompt, completion) in enumerate(
            zip(examples, prompts, completions, strict=True)
        )
    ]


def make_batch(policy: Policy, rows: list[Row]) -> Batch:
    return collate(rows, pad_id=policy.pad_id, source="data")


@torch.no_grad()
def slow_logits(policy: Policy, row: Row) -> Tensor:
    """One forward pass of the raw model for every token, nothing padded, nothing shifted."""
    steps = []
    for t in range(len(row.completion)):
        before = list(row.completion[:t])
        if policy.kind == "encoder-decoder":
            given = torch.tensor([[policy.start_id, *before]])
            output = policy.model(input_ids=torch.tensor([row.prompt]), decoder_input_ids=given)
        else:
            output = policy.model(input_ids=torch.tensor([[*row.prompt, *before]]))
        steps.append(output.logits[0, -1])
    return torch.stack(steps)


def with_padding(batch: Batch, *, columns: int, pad_id: int) -> Batch:
    def wider(x: Tensor, value: int) -> Tensor:
        return torch.nn.functional.pad(x, (0, columns), value=value)

    return dataclasses.replace(
        batch,
        prompt_BS=wider(batch.prompt_BS, pad_id),
        prompt_mask_BS=wider(batch.prompt_mask_BS, 0),
        tokens_BT=wider(batch.tokens_BT, pad_id),
        mask_BT=wider(batch.mask_BT, 0),
    )


@every_architecture
def test_logits_at_t_are_those_of_a_model_that_has_read_the_tokens_before_t(
    architecture: str,
) -> None:
    policy = policy_of(architecture)
    rows = make_rows(policy)
    with torch.no_grad():
        logits_BTV = policy.logits(make_batch(policy, rows))

    assert len({len(row.prompt) for row in rows}) > 1
    assert len({len(row.completion) for row in rows}) > 1
    for logits_TV, row in zip(logits_BTV, rows, strict=True):
        size = len(row.completion)
        torch.testing.assert_close(
            logits_TV[:size], slow_logits(policy, row), atol=EXACT, rtol=EXACT
        )


@every_architecture
def test_the_head_of_the_hidden_states_is_the_logits(architecture: str) -> None:
    policy = policy_of(architecture)
    batch = make_batch(policy, make_rows(policy))
    with torch.no_grad():
        logits_BTV = policy.head(policy.hidden(batch))

        torch.testing.assert_close(logits_BTV, policy.logits(batch), atol=EXACT, rtol=EXACT)


@every_architecture
def test_more_padding_does_not_change_the_logits(architecture: str) -> None:
    policy = policy_of(architecture)
    batch = make_batch(policy, make_rows(policy))
    wide = with_padding(batch, columns=5, pad_id=policy.pad_id)
    real_BT = batch.mask_BT.bool()
    with torch.no_grad():
        narrow_N, wide_N = policy.logits(batch)[real_BT], policy.logits(wide)[:, :-5][real_BT]

    torch.testing.assert_close(wide_N, narrow_N, atol=EXACT, rtol=EXACT)


@every_architecture
def test_the_order_of_a_batch_does_not_change_its_logits(architecture: str) -> None:
    policy = policy_of(architecture)
    rows = make_rows(policy)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        straight = policy.logits(make_batch(policy, rows))
        mixed = policy.logits(make_batch(policy, [rows[number] for number in order]))

    for place, number in enumerate(order):
        size = len(rows[number].completion)
        torch.testing.assert_close(
            mixed[place, :size], straight[number, :size], atol=EXACT, rtol=EXACT
        )


@every_architecture
def test_what_pads_a_batch_does_not_matter(architecture: str) -> None:
    policy = policy_of(architecture)
    batch = make_batch(policy, make_rows(policy))
    other = dataclasses.replace(
        batch,
        prompt_BS=batch.prompt_BS.masked_fill(batch.prompt_mask_BS == 0, 7),
        tokens_BT=batch.tokens_BT.masked_fill(batch.mask_BT == 0, 7),
    )
    real_BT = batch.mask_BT.bool()
    with torch.no_grad():
        given, padded = policy.logits(batch)[real_BT], policy.logits(other)[real_BT]

    torch.testing.assert_close(padded, given, atol=EXACT, rtol=EXACT)


def test_left_padding_moves_the_padding_and_nothing_else() -> None:
    prompt_BS = torch.tensor([[5, 6, 7], [8, 0, 0]])
    mask_BS = torch.tensor([[1, 1, 1], [1, 0, 0]])
    moved_BS, moved_mask_BS = left_padded(prompt_BS, mask_BS)

    assert moved_BS.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert moved_mask_BS.tolist() == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_rows_a_model_was_padded_with_have_no_probability(architecture: str) -> None:
    policy = tiny.make_policy(architecture)
    batch = make_batch(policy, make_rows(policy))
    with torch.no_grad():
        before = policy.logits(batch)
        policy.model.resize_token_embeddings(policy.vocabulary + 14)
        policy.model.get_output_embeddings().weight[policy.vocabulary :] = 100.0
    padded = Policy(policy.model, policy.tokenizer)
    with torch.no_grad():
        after, headed = padded.logits(batch), padded.head(padded.hidden(batch))

    assert padded.model.get_output_embeddings().weight.shape[0] == policy.vocabulary + 14
    torch.testing.assert_close(after, before, atol=EXACT, rtol=EXACT)
    assert headed.shape == before.shape


def test_a_model_with_fewer_rows_than_tokens_is_refused() -> None:
    policy = tiny.make_policy("gpt2")
    policy.model.resize_token_embeddings(policy.vocabulary - 1)

    with pytest.raises(ModelError, match=r"has 279 output rows for 280 tokens"):
        Policy(policy.model, policy.tokenizer)


@pytest.mark.parametrize("cap", [None, 30.0])
def test_a_cap_on_the_logits_is_found_however_small_they_are(cap: float | None) -> None:
    tokenizer = policy_of("gpt2").tokenizer
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=cap,
        initializer_range=1e-3,
    )
    torch.manual_seed(0)
    policy = Policy(Gemma2ForCausalLM(config).eval(), tokenizer)
    if cap is None:
        policy.check_head()
    else:
        with pytest.raises(ModelError, match="`gemma2` changes its logits after the output layer"):
            policy.check_head()

    assert not policy.module.training


@every_architecture
def test_the_check_of_the_head_passes_and_keeps_the_mode(architecture: str) -> None:
    policy = tiny.make_policy(architecture)
    policy.module.train()
    policy.check_head()

    assert policy.module.training


def test_a_bias_after_the_output_layer_is_part_of_the_logits() -> None:
    policy = tiny.make_policy("marian")
    batch = make_batch(policy, make_rows(policy))
    with torch.no_grad():
        before = policy.logits(batch)
        policy.model.final_logits_bias += torch.arange(policy.vocabulary)
        after = policy.logits(batch)
    policy.check_head()

    torch.testing.assert_close(after, before + torch.arange(policy.vocabulary))


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_gradients_reach_every_weight_of_the_model(architecture: str) -> None:
    policy = tiny.make_policy(architecture)
    batch = make_batch(policy, make_rows(policy))
    policy.logits(batch).square().sum().backward()
    without = [name for name, weight in policy.model.named_parameters() if weight.grad is None]

    assert without == []


@every_architecture
def test_a_completion_ends_with_one_end_token(architecture: str) -> None:
    policy = policy_of(architecture)
    rows = policy.completion_ids(["de kleine vogel", "huis"])

    assert [row.count(policy.eos_id) for row in rows] == [1, 1]
    assert [row[-1] for row in rows] == [policy.eos_id] * 2


@every_architecture
def test_a_prompt_ends_with_the_end_token_for_encoders_only(architecture: str) -> None:
    policy = policy_of(architecture)
    (row,) = policy.prompt_ids(["the small bird"])

    assert (row[-1] == policy.eos_id) == (architecture in tiny.ENCODER_DECODERS)


@every_architecture
def test_a_text_comes_back_from_its_ids(architecture: str) -> None:
    policy = policy_of(architecture)
    texts = ["de kleine vogel", "huis en tafel"]

    assert policy.decode(policy.completion_ids(texts)) == texts


def test_bfloat16_logits_come_as_float32_near_the_exact_ones() -> None:
    exact = policy_of("t5")
    rough = Policy(exact.model, exact.tokenizer, precision="bfloat16")
    batch = make_batch(exact, make_rows(exact))
    with torch.no_grad():
        logits, near = exact.logits(batch), rough.logits(batch)

    assert near.dtype == torch.float32
    assert 0 < float((near - logits).abs().max()) < 0.1


def test_the_head_alone_computes_in_float32_under_bfloat16_layers() -> None:
    exact = policy_of("t5")
    rough = Policy(exact.model, exact.tokenizer, precision="bfloat16")
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(rough.head(hidden), exact.head(hidden))


def test_a_fingerprint_tells_tokenizers_apart_and_nothing_else(tmp_path: Path) -> None:
    one, other = policy_of("t5"), policy_of("gpt2")
    one.tokenizer.save_pretrained(tmp_path)
    again = type(one.tokenizer).from_pretrained(tmp_path)

    assert fingerprint(again) == one.fingerprint != other.fingerprint


def test_a_changed_normaliser_changes_the_fingerprint() -> None:
    from tokenizers import normalizers

    policy = tiny.make_policy("t5")
    before = policy.fingerprint
    policy.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()

    assert policy.fingerprint != before


def test_a_tokenizer_written_in_python_has_a_fingerprint() -> None:
    assert fingerprint(ByT5Tokenizer()) == fingerprint(ByT5Tokenizer())
    assert fingerprint(ByT5Tokenizer()) != fingerprint(ByT5Tokenizer(extra_ids=3))
