import functools

import pytest
import tiny
import torch
from torch import Tensor

from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Needs
from ketchup_cli.train.loop import student_signal

EXACT = 1e-5
"""Two ways of computing one float32 forward pass; states are around 1."""

policy_of = functools.cache(functools.partial(tiny.make_policy, layers=3))
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


def make_batch(policy: Policy, *, columns: int = 0):
    rows = make_rows(policy)
    longer = tuple(rows[0].completion) * 9
    longest = max(len(row.completion) for row in rows)
    if columns:
        rows.append(
            Row(id="x", prompt=(4,) * 20, completion=longer[: longest + columns], position=9)
        )
    return collate(rows, pad_id=policy.pad_id, source="data")


@torch.no_grad()
def slow_states(policy: Policy, row: Row) -> Tensor:
    """The states of the last position, one forward pass of the raw model a token: [L, T, H]."""
    steps = []
    for t in range(len(row.completion)):
        before = list(row.completion[:t])
        if policy.kind == "encoder-decoder":
            given = torch.tensor([[policy.start_id, *before]])
            output = policy.model(
                input_ids=torch.tensor([row.prompt]),
                decoder_input_ids=given,
                output_hidden_states=True,
            )
            states = output.decoder_hidden_states
        else:
            ids = torch.tensor([[*row.prompt, *before]])
            states = policy.model(input_ids=ids, output_hidden_states=True).hidden_states
        steps.append(torch.stack([state[0, -1] for state in states]))
    return torch.stack(steps, dim=1)


@every_architecture
def test_states_at_t_are_those_of_a_model_that_has_read_the_tokens_before_t(
    architecture: str,
) -> None:
    policy = policy_of(architecture)
    with torch.no_grad():
        _, states_LBTH, _ = policy.logits_with_layers(make_batch(policy))

    for number, row in enumerate(make_rows(policy)):
        own_LTH = states_LBTH[:, number, : len(row.completion)]
        torch.testing.assert_close(own_LTH, slow_states(policy, row), atol=EXACT, rtol=EXACT)


@every_architecture
def test_there_is_a_state_for_the_embeddings_and_for_every_decoder_layer(
    architecture: str,
) -> None:
    policy = tiny.make_policy(architecture)
    batch = make_batch(policy)
    with torch.no_grad():
        _, states_LBTH, _ = policy.hidden_with_layers(batch)

    assert states_LBTH.shape == (3, *batch.tokens_BT.shape, 32)


def test_states_are_those_of_the_decoder_alone() -> None:
    from ketchup_cli.models.shrink import shrink

    full = policy_of("t5")
    policy = Policy(shrink(full.model, {"encoder": (0, 1), "decoder": (2,)}), full.tokenizer)

    assert len(policy.hidden_with_layers(make_batch(policy))[1]) == 2


@every_architecture
def test_logits_and_head_states_are_the_same_with_layers_and_without(architecture: str) -> None:
    policy = policy_of(architecture)
    batch = make_batch(policy)
    with torch.no_grad():
        assert torch.equal(policy.logits_with_layers(batch)[0], policy.logits(batch))
        assert torch.equal(policy.hidden_with_layers(batch)[0], policy.hidden(batch))


@every_architecture
def test_more_padding_does_not_change_the_states(architecture: str) -> None:
    policy = policy_of(architecture)
    narrow, wide = make_batch(policy), make_batch(policy, columns=3)
    count, steps = narrow.tokens_BT.shape
    with torch.no_grad():
        before, after = (policy.hidden_with_layers(batch)[1] for batch in (narrow, wide))

    assert wide.tokens_BT.shape[1] > steps
    real_BT = narrow.mask_BT.bool()
    torch.testing.assert_close(
        after[:, :count, :steps][:, real_BT], before[:, real_BT], atol=EXACT, rtol=EXACT
    )


@every_architecture
def test_an_encoder_s_states_are_those_of_the_encoder_alone_on_one_prompt(
    architecture: str,
) -> None:
    policy = policy_of(architecture)
    with torch.no_grad():
        _, _, encoder_LBSH = policy.hidden_with_layers(make_batch(policy))

    if policy.kind == "decoder-only":
        assert encoder_LBSH is None
        return
    assert encoder_LBSH is not None
    for number, row in enumerate(make_rows(policy)):
        ids = torch.tensor([row.prompt])
        with torch.no_grad():
            output = policy.model.get_encoder()(input_ids=ids, output_hidden_states=True)
        expected_LSH = torch.stack(output.hidden_states)[:, 0]
        own_LSH = encoder_LBSH[:, number, : len(row.prompt)]
        torch.testing.assert_close(own_LSH, expected_LSH, atol=EXACT, rtol=EXACT)


def test_the_model_runs_once_for_logits_and_states() -> None:
    policy = tiny.make_policy("t5")
    runs: list[int] = []
    policy.model.register_forward_hook(lambda *_: runs.append(1))

    policy.logits_with_layers(make_batch(policy))

    assert len(runs) == 1


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_gradients_of_a_layer_s_state_reach_the_layers_below_it_only(architecture: str) -> None:
    policy = tiny.make_policy(architecture)
    _, states_LBTH, _ = policy.logits_with_layers(make_batch(policy))

    states_LBTH[1].square().sum().backward()

    layers = policy.model.decoder.block if architecture == "t5" else policy.model.transformer.h
    reached = [any(_reached(w) for w in layer.parameters()) for layer in layers]
    assert reached == [True, False]


def _reached(weight: Tensor) -> bool:
    return weight.grad is not None and bool(weight.grad.any())


def test_states_of_bfloat16_layers_come_as_float32() -> None:
    exact = policy_of("t5")
    rough = Policy(exact.model, exact.tokenizer, precision="bfloat16")
    with torch.no_grad():
        _, states_LBTH, _ = rough.logits_with_layers(make_batch(exact))

    assert states_LBTH.dtype == torch.float32


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_live_teacher_gives_its_states_without_gradient_and_zeros_on_padding(
    architecture: str,
) -> None:
    policy = policy_of(architecture)
    batch = make_batch(policy)
    with torch.no_grad():
        _, states_LBTH, _ = policy.hidden_with_layers(batch)

    signal = LiveTeacher(policy).signal(batch, Needs(hidden=True))

    assert signal.hidden_LBTH is not None
    assert not signal.hidden_LBTH.requires_grad
    real_BT = batch.mask_BT.bool()
    assert torch.equal(signal.hidden_LBTH[:, real_BT], states_LBTH[:, real_BT])
    assert not signal.hidden_LBTH[:, ~real_BT].any()
    if signal.encoder_LBSH is not None:
        assert signal.encoder_LBSH[:, batch.prompt_mask_BS.bool()].any(dim=-1).all()
        assert not signal.encoder_LBSH[:, ~batch.prompt_mask_BS.bool()].any()


def test_a_live_teacher_that_is_not_asked_keeps_no_states() -> None:
    policy = policy_of("t5")

    assert (
        LiveTeacher(policy).signal(make_batch(policy), Needs(teacher="stats")).hidden_LBTH is None
    )


def test_a_student_is_asked_for_its_states_in_the_pass_that_gives_its_logits() -> None:
    policy = policy_of("t5")
    batch = make_batch(policy)
    plain, asked = student_signal(policy, batch), student_signal(policy, batch, hidden=True)

    assert plain.hidden_LBTH is None
    assert asked.hidden_LBTH is not None
    assert asked.hidden_LBTH.requires_grad
    assert torch.equal(asked.logits_BTV, plain.logits_BTV)
