"""A model that fills in: what it sees, how lengths are counted, and mask-predict by a slow oracle."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

from ketchup_cli.errors import ModelError, SpecError
from ketchup_cli.models.encode import Limits, Row, collate, encode_prompts
from ketchup_cli.models.filling import hide, hide_all, length_class, length_of_class
from ketchup_cli.models.generation.choosing import Sampling
from ketchup_cli.models.generation.filling import candidate_lengths, fill_in, head_of
from ketchup_cli.models.generation.hf import generate, sample
from ketchup_cli.models.load import load_policy, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.signals import Batch
from ketchup_cli.specs import DecodingSpec

LIMITS = Limits(prompt=40, completion=40)
EXAMPLES = tiny.make_examples(5)


@pytest.fixture(scope="module", name="policy")
def _policy() -> Policy:
    return tiny.make_policy("cmlm")


@pytest.fixture(scope="module", name="batch")
def _batch(policy: Policy) -> Batch:
    rows = reference_rows(policy, EXAMPLES, LIMITS).rows
    return collate(rows, pad_id=policy.pad_id, source="data")


@pytest.fixture(autouse=True)
def _no_gradient() -> Iterator[None]:
    with torch.no_grad():
        yield


def every_second(batch: Batch, end_id: int) -> Batch:
    places_BT = torch.arange(batch.tokens_BT.shape[1])[None] % 2 == 0
    return hide(batch, places_BT & (batch.tokens_BT != end_id))


def test_a_saved_model_comes_back_with_its_logits(policy: Policy, batch: Batch, tmp_path) -> None:
    save_policy(policy, tmp_path, dtype="float32")
    again = load_policy(tmp_path, device="cpu")
    hidden = every_second(batch, policy.eos_id)

    assert not list(tmp_path.glob("*.py"))
    assert again.fills_in
    torch.testing.assert_close(again.logits(hidden), policy.logits(hidden), rtol=0, atol=0)


def test_a_token_on_the_right_changes_the_logits_on_its_left(policy: Policy, batch: Batch) -> None:
    hidden = hide(batch, torch.arange(batch.tokens_BT.shape[1])[None] == 0)
    tokens_BT = batch.tokens_BT.clone()
    tokens_BT[:, 1] = policy.start_id + 5
    changed = replace(hidden, tokens_BT=tokens_BT)

    difference_B = (policy.logits(hidden) - policy.logits(changed))[:, 0].abs().amax(dim=-1)
    assert bool((difference_B > 1e-4).all())


def test_a_hidden_token_is_not_looked_at(policy: Policy, batch: Batch) -> None:
    hidden = every_second(batch, policy.eos_id)
    tokens_BT = batch.tokens_BT.masked_fill(hidden.mask_BT.bool(), 7)

    logits = policy.logits(replace(hidden, tokens_BT=tokens_BT))
    torch.testing.assert_close(logits, policy.logits(hidden), rtol=0, atol=0)


def test_the_order_of_the_rows_only_reorders_the_logits(policy: Policy, batch: Batch) -> None:
    hidden = every_second(batch, policy.eos_id)
    order_B = torch.tensor([3, 0, 4, 2, 1])
    moved = replace(
        hidden,
        **{
            name: getattr(hidden, name)[order_B]
            for name in ("prompt_BS", "prompt_mask_BS", "tokens_BT", "mask_BT", "shown_BT")
        },
    )

    real_BT = batch.mask_BT.bool()[order_B]
    torch.testing.assert_close(
        policy.logits(moved)[real_BT], policy.logits(hidden)[order_B][real_BT]
    )


def test_padding_changes_no_logit(policy: Policy, batch: Batch) -> None:
    row = reference_rows(policy, EXAMPLES[:1], LIMITS).rows
    alone = hide_all(collate(row, pad_id=policy.pad_id, source="data"), end_id=policy.eos_id)
    size = alone.tokens_BT.shape[1]

    together = policy.logits(hide_all(batch, end_id=policy.eos_id))[:1, :size]
    torch.testing.assert_close(together, policy.logits(alone))


def test_the_end_token_is_shown_and_padding_is_neither_shown_nor_hidden(
    policy: Policy, batch: Batch
) -> None:
    hidden = hide_all(batch, end_id=policy.eos_id)

    assert hidden.shown_BT is not None
    assert torch.equal(
        hidden.shown_BT.bool(), (batch.tokens_BT == policy.eos_id) & batch.mask_BT.bool()
    )
    assert torch.equal(hidden.mask_BT + hidden.shown_BT, batch.mask_BT)


def test_a_length_and_its_class_are_each_others_inverse() -> None:
    prompt_B = torch.tensor([5, 9])
    size_B = torch.tensor([7, 3])

    class_B = length_class(size_B, prompt_B, classes=16)
    assert torch.equal(length_of_class(class_B[:, None], prompt_B, classes=16)[:, 0], size_B)


def test_a_difference_beyond_the_classes_is_the_outermost_of_them() -> None:
    found = length_class(torch.tensor([90, 1]), torch.tensor([1, 90]), classes=16)

    assert found.tolist() == [15, 0]


def test_the_end_token_counts_for_no_length(policy: Policy, batch: Batch) -> None:
    hidden = hide_all(batch, end_id=policy.eos_id)
    _, length_logp_B = policy.logits_with_lengths(hidden)
    logits_BC = policy.model.length_logits(
        policy.model.read(batch.prompt_BS, batch.prompt_mask_BS), batch.prompt_mask_BS
    )
    sizes = [len(row.completion) - 1 for row in reference_rows(policy, EXAMPLES, LIMITS).rows]
    prompts = batch.prompt_mask_BS.sum(dim=1).tolist()
    classes = [size - prompt + 32 for size, prompt in zip(sizes, prompts, strict=True)]

    wanted_B = logits_BC.log_softmax(dim=-1)[range(5), classes]
    torch.testing.assert_close(length_logp_B, wanted_B)


def test_a_model_that_fills_in_has_no_next_token(policy: Policy, batch: Batch) -> None:
    with pytest.raises(ModelError, match="no distribution over the next one"):
        policy.logits(batch)
    with pytest.raises(ModelError, match="no distribution over the next one"):
        policy.hidden_with_layers(batch)


def prompts_of(policy: Policy) -> tuple[Row, ...]:
    return encode_prompts(policy, EXAMPLES, LIMITS).rows


def slow_fill(policy: Policy, row: Row, size: int, steps: int) -> tuple[list[int], list[float]]:
    """Fill in one completion of `size` tokens, token by token as the paper says it."""
    prompt_1S = torch.tensor([row.prompt])
    tokens, logps = [policy.pad_id] * size, [0.0] * size
    for step in range(steps):
        count = size if step == 0 else max(1, size * (steps - step) // steps)
        order = sorted(range(size), key=lambda place: logps[place])
        hidden = set(range(size)) if step == 0 else set(order[:count])
        batch = Batch(
            ids=("x",),
            prompt_BS=prompt_1S,
            prompt_mask_BS=torch.ones_like(prompt_1S),
            tokens_BT=torch.tensor([[*tokens, policy.eos_id]]),
            mask_BT=torch.tensor([[*(float(i in hidden) for i in range(size)), 0.0]]),
            shown_BT=torch.tensor([[*(float(i not in hidden) for i in range(size)), 1.0]]),
            source="data",
        )
        logp_TV = policy.logits(batch)[0].log_softmax(dim=-1)
        logp_TV[:, [policy.eos_id, policy.pad_id]] = -torch.inf
        for place in hidden:
            tokens[place] = int(logp_TV[place].argmax())
            logps[place] = float(logp_TV[place].max())
    return [*tokens, policy.eos_id], logps


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_filling_in_by_batch_is_filling_in_one_by_one(policy: Policy, steps: int) -> None:
    rows = prompts_of(policy)
    sizes = [6, 1, 4, 3, 5]
    prompt_BS, mask_BS = batch_prompts(policy, rows)
    tokens_BT, logp_BT = fill_in(
        policy, policy.model.read(prompt_BS, mask_BS), mask_BS, torch.tensor(sizes), steps=steps
    )

    for number, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        tokens, logps = slow_fill(policy, row, size, steps)
        assert tokens_BT[number, : size + 1].tolist() == tokens
        assert logp_BT[number, :size].tolist() == pytest.approx(logps, abs=1e-4)
        assert bool((tokens_BT[number, size + 1 :] == policy.pad_id).all())


def batch_prompts(policy: Policy, rows: tuple[Row, ...]) -> tuple[Tensor, Tensor]:
    batch = collate(rows, pad_id=policy.pad_id, source="data")
    return batch.prompt_BS, batch.prompt_mask_BS


def test_the_lengths_tried_are_the_likeliest_that_are_possible(policy: Policy) -> None:
    prompt_BS, mask_BS = batch_prompts(policy, prompts_of(policy))
    states_BSH = policy.model.read(prompt_BS, mask_BS)
    logits_BC = policy.model.length_logits(states_BSH, mask_BS)
    size_BL = candidate_lengths(policy, states_BSH, mask_BS, count=3, most=4)

    for number, prompt in enumerate(mask_BS.sum(dim=1).tolist()):
        by_size = {size: float(logits_BC[number, size - prompt + 32]) for size in range(1, 5)}
        wanted = sorted(by_size, key=lambda size: -by_size[size])[:3]
        assert size_BL[number].tolist() == wanted


def test_the_copy_of_the_output_layer_gives_its_logits(policy: Policy, batch: Batch) -> None:
    states_NH = policy.hidden(hide_all(batch, end_id=policy.eos_id)).flatten(0, 1)

    torch.testing.assert_close(head_of(policy)(states_NH), policy.head(states_NH))


def test_generated_texts_end_and_depend_on_no_other_row(policy: Policy) -> None:
    rows = prompts_of(policy)
    decoding = DecodingSpec(method="mask-predict", iterations=3, beams=3, texts=2, max_new_tokens=8)
    wide = generate(policy, rows, decoding, seed=0, tokens_per_batch=4000)
    narrow = generate(policy, rows[::-1], decoding, seed=0, tokens_per_batch=1)

    assert {(one.id, one.sample): one.tokens for one in wide} == {
        (one.id, one.sample): one.tokens for one in narrow
    }
    assert [one.sample for one in wide] == [0, 1] * len(rows)
    assert {one.tokens[-1] for one in wide} == {policy.eos_id}
    assert all(one.tokens.count(policy.eos_id) == 1 and len(one.tokens) <= 8 for one in wide)
    assert all(policy.pad_id not in one.tokens for one in wide)


def test_the_best_of_the_lengths_has_the_largest_mean_log_probability(policy: Policy) -> None:
    decoding = DecodingSpec(method="mask-predict", iterations=2, beams=4, texts=4, max_new_tokens=9)
    found = generate(policy, prompts_of(policy)[:1], decoding, seed=0, tokens_per_batch=4000)

    means = [one.logp / (len(one.tokens) - 1) for one in found]
    assert means == sorted(means, reverse=True)
    assert len({len(one.tokens) for one in found}) == 4


@pytest.mark.parametrize(
    ("architecture", "method"), [("cmlm", "greedy"), ("cmlm", "beam"), ("t5", "mask-predict")]
)
def test_a_model_is_refused_a_way_of_writing_it_does_not_have(
    architecture: str, method: str
) -> None:
    policy = tiny.make_policy(architecture)
    with pytest.raises(SpecError, match=f"`decoding.method` is {method}"):
        generate(
            policy,
            prompts_of(policy),
            DecodingSpec(method=method, max_new_tokens=4),  # type: ignore[arg-type]
            seed=0,
            tokens_per_batch=400,
        )


def test_a_model_that_fills_in_draws_no_samples(policy: Policy) -> None:
    with pytest.raises(SpecError, match="fills in all tokens at once"):
        sample(policy, prompts_of(policy), Sampling(max_new_tokens=4), seed=0)
