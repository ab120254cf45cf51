import math

import pytest
import tiny
import torch
from torch import Tensor
from writers import LENGTH, eager, prompts, rows_of

from ketchup_cli import functional as F
from ketchup_cli.models.encode import Row
from ketchup_cli.models.generation.choosing import uniforms
from ketchup_cli.models.generation.hf import Sampling, sample
from ketchup_cli.models.policy import Policy


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_behaviour_log_probs_are_those_of_teacher_forcing(architecture: str) -> None:
    policy = eager(architecture)
    batch = sample(
        policy, prompts(policy), Sampling(samples=3, max_new_tokens=LENGTH), seed=1
    ).batch
    with torch.no_grad():
        forced_BT = F.log_probs_of(policy.logits(batch), batch.tokens_BT) * batch.mask_BT

    assert batch.behaviour_logp_BT is not None
    torch.testing.assert_close(batch.behaviour_logp_BT, forced_BT, atol=1e-4, rtol=0)


def follow(policy: Policy, row: Row, numbers: Tensor) -> list[int]:
    """Write one text slowly: the whole prefix anew at every step, no cache, no batch."""
    prompt_BS = torch.tensor([row.prompt])
    found: list[int] = []
    for number in numbers:
        tokens_BT = torch.tensor([[*found, policy.pad_id]])
        with torch.no_grad():
            logits_BTV = policy.module(
                prompt_BS,
                torch.ones_like(prompt_BS),
                tokens_BT,
                torch.ones_like(tokens_BT),
                logits=True,
            )
        found.append(int(F.choose_by_inverse_cdf(logits_BTV[:, -1], number[None])))
        if found[-1] == policy.eos_id:
            break
    return found


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_sample_follows_its_random_numbers_step_by_step(architecture: str) -> None:
    policy = eager(architecture)
    rows = prompts(policy, 3)
    found = rows_of(sample(policy, rows, Sampling(samples=2, max_new_tokens=LENGTH), seed=1))
    numbers = uniforms(1, [(row.id, index) for row in rows for index in (0, 1)], steps=LENGTH)

    assert found == {
        row.id: [follow(policy, row, numbers[2 * place + index]) for index in (0, 1)]
        for place, row in enumerate(rows)
    }


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_sample_does_not_depend_on_its_batch(architecture: str) -> None:
    policy = eager(architecture)
    rows = prompts(policy)
    sampling = Sampling(samples=3, max_new_tokens=LENGTH)
    together = rows_of(sample(policy, rows, sampling, seed=1))
    alone = [rows_of(sample(policy, [row], sampling, seed=1)) for row in reversed(rows)]

    assert {name: found for part in alone for name, found in part.items()} == together
    assert len({tuple(text) for found in together.values() for text in found}) > len(rows)


def test_a_later_first_sample_goes_on_in_the_same_stream() -> None:
    policy = eager("t5")
    rows = prompts(policy)
    four = rows_of(sample(policy, rows, Sampling(samples=4, max_new_tokens=LENGTH), seed=1))
    later = Sampling(samples=2, max_new_tokens=LENGTH, first=2)

    assert rows_of(sample(policy, rows, later, seed=1)) == {
        name: found[2:] for name, found in four.items()
    }


def test_another_seed_gives_other_samples() -> None:
    policy = eager("t5")
    sampling = Sampling(max_new_tokens=LENGTH)

    one, two = (sample(policy, prompts(policy), sampling, seed=seed) for seed in (0, 1))
    assert rows_of(one) != rows_of(two)


def test_a_higher_limit_moves_no_random_number() -> None:
    keys = [("a", 0), ("b", 1)]

    assert torch.equal(uniforms(3, keys, steps=50)[:, :7], uniforms(3, keys, steps=7))


def test_random_numbers_are_uniform_and_differ_by_key() -> None:
    numbers = uniforms(0, [(str(i), j) for i in range(50) for j in range(2)], steps=40)
    counts = torch.histc(numbers.flatten(), bins=10, min=0, max=1)

    # 4000 numbers in 10 bins: chi-square with 9 degrees of freedom, 27.9 has p = 0.001
    assert float(((counts - 400) ** 2 / 400).sum()) < 27.9
    assert len(set(numbers[:, 0].tolist())) == 100


def test_sampled_frequencies_are_the_models_probabilities() -> None:
    policy = tiny.make_policy("t5")
    prompt = prompts(policy, 1)[0]
    count = 4000
    batch = sample(policy, [prompt], Sampling(samples=count, max_new_tokens=1), seed=0).batch
    with torch.no_grad():
        probabilities = policy.logits(batch)[0, 0].double().softmax(dim=-1)
    observed = torch.bincount(batch.tokens_BT[:, 0], minlength=policy.vocabulary)
    likely = probabilities * count >= 5
    expected = probabilities[likely] * count
    statistic = float(((observed[likely] - expected) ** 2 / expected).sum())

    freedom = len(expected)
    assert freedom > 10
    # mean f, variance 2f: four standard deviations
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize(
    "bent",
    [Sampling(temperature=0.5), Sampling(top_k=3), Sampling(top_p=0.5)],
    ids=["temperature", "top-k", "top-p"],
)
def test_behaviour_log_probs_are_those_of_the_distribution_sampled_from(bent: Sampling) -> None:
    policy = eager("t5")
    sampling = Sampling(
        samples=20,
        max_new_tokens=1,
        temperature=bent.temperature,
        top_k=bent.top_k,
        top_p=bent.top_p,
    )
    batch = sample(policy, prompts(policy, 3), sampling, seed=0).batch
    with torch.no_grad():
        logits_BV = policy.logits(batch)[:, 0] / bent.temperature
    ordered_BV, order_BV = logits_BV.softmax(dim=-1).sort(dim=-1, descending=True)
    kept_BV = ordered_BV.cumsum(dim=-1) - ordered_BV < bent.top_p
    if bent.top_k:
        kept_BV[:, bent.top_k :] = False
    allowed_BV = torch.zeros_like(kept_BV).scatter(1, order_BV, kept_BV)
    expected_BV = logits_BV.masked_fill(~allowed_BV, -torch.inf).log_softmax(dim=-1)

    assert batch.behaviour_logp_BT is not None
    torch.testing.assert_close(
        batch.behaviour_logp_BT, expected_BV.gather(1, batch.tokens_BT), atol=1e-5, rtol=0
    )


def test_sampling_has_no_dropout_and_restores_the_mode() -> None:
    policy = tiny.make_policy("t5")
    for module in policy.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    sampling = Sampling(samples=2, max_new_tokens=LENGTH)
    expected = rows_of(sample(policy, prompts(policy), sampling, seed=0))
    policy.module.train()
    policy.model.encoder.eval()
    modes = [module.training for module in policy.module.modules()]

    assert rows_of(sample(policy, prompts(policy), sampling, seed=0)) == expected
    assert [module.training for module in policy.module.modules()] == modes


def test_settings_of_the_folder_do_not_change_how_text_is_drawn() -> None:
    policy = eager("t5")
    sampling = Sampling(max_new_tokens=LENGTH)
    expected = rows_of(sample(policy, prompts(policy), sampling, seed=0))
    settings = policy.model.generation_config
    settings.repetition_penalty = 3.0
    settings.min_new_tokens = 15
    settings.no_repeat_ngram_size = 1

    assert rows_of(sample(policy, prompts(policy), sampling, seed=0)) == expected
    assert policy.model.generation_config is settings


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_finished_texts_end_with_the_end_token_and_only_there(architecture: str) -> None:
    policy = eager(architecture)
    samples = sample(policy, prompts(policy), Sampling(samples=6, max_new_tokens=LENGTH), seed=0)
    found = [text for group in rows_of(samples).values() for text in group]
    ended = [text[-1] == policy.eos_id for text in found]

    assert samples.finished_B.tolist() == ended
    assert set(ended) == {True, False}
    assert all(policy.eos_id not in text[:-1] for text in found)
    assert all(len(text) == LENGTH for text, end in zip(found, ended, strict=True) if not end)


def test_padding_holds_the_pad_id_and_no_log_prob() -> None:
    policy = eager("gpt2")
    batch = sample(
        policy, prompts(policy), Sampling(samples=4, max_new_tokens=LENGTH), seed=0
    ).batch
    padding = batch.mask_BT == 0

    assert bool(padding.any())
    assert set(batch.tokens_BT[padding].tolist()) == {policy.pad_id}
    assert batch.behaviour_logp_BT is not None
    assert float(batch.behaviour_logp_BT[padding].abs().sum()) == 0.0


def test_samples_of_one_prompt_are_one_group_in_order() -> None:
    policy = eager("t5")
    rows = prompts(policy, 3)
    batch = sample(policy, rows, Sampling(samples=2, max_new_tokens=4), seed=0).batch

    assert batch.group_B is not None
    assert batch.group_B.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.ids == tuple(row.id for row in rows for _ in range(2))
    assert batch.rows == (0, 0, 1, 1, 2, 2)
