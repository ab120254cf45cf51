import itertools
import math

import pytest
import tiny
import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError, SpecError
from ketchup_cli.models.encode import Limits, Row, encode_prompts
from ketchup_cli.models.generation.choosing import OwnRows, uniforms
from ketchup_cli.models.generation.hf import Samples, Sampling, generate, sample
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Generation
from ketchup_cli.specs import DecodingSpec

LENGTH = 20
"""More than two rounds, so that rows leave and others go on."""


def prompts(policy: Policy, count: int = 6) -> tuple[Row, ...]:
    return encode_prompts(policy, tiny.make_examples(count), Limits(prompt=60)).rows


def eager(architecture: str, *, seed: int = 0) -> Policy:
    """A policy that ends one text in ten at every step, so that lengths differ."""
    policy = tiny.make_policy(architecture, seed=seed)
    embedding = policy.model.get_input_embeddings()
    with torch.no_grad():
        embedding.weight.mul_(4 if architecture != "t5" else 1)
    bias_for_end(policy, share=0.1)
    return policy


def bias_for_end(policy: Policy, *, share: float) -> None:
    def raise_end(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        raised = logits.clone()
        raised[..., policy.eos_id] = logits.logsumexp(dim=-1) + math.log(share)
        return raised

    policy.model.get_output_embeddings().register_forward_hook(raise_end)


def texts(generations: list[Generation]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(item.id, item.sample): item.tokens for item in generations}


def rows_of(samples: Samples) -> dict[str, list[list[int]]]:
    """The completions of every prompt, in order, without padding."""
    batch = samples.batch
    found: dict[str, list[list[int]]] = {}
    for name, tokens, mask in zip(
        batch.ids, batch.tokens_BT.tolist(), batch.mask_BT.sum(dim=1).int().tolist(), strict=True
    ):
        found.setdefault(name, []).append(tokens[:mask])
    return found


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


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_generated_samples_do_not_depend_on_batch_size_or_order(architecture: str) -> None:
    policy = eager(architecture)
    rows = prompts(policy)
    decoding = DecodingSpec(method="sample", texts=2, max_new_tokens=LENGTH)
    wide = generate(policy, rows, decoding, seed=0, tokens_per_batch=4000)
    narrow = generate(policy, rows[::-1], decoding, seed=0, tokens_per_batch=1)

    assert texts(wide) == texts(narrow)
    assert [item.id for item in wide] == [row.id for row in rows for _ in range(2)]
    assert [item.sample for item in wide] == [0, 1] * len(rows)


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


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_rows_the_model_was_padded_with_are_never_chosen(architecture: str, method: str) -> None:
    policy = tiny.make_policy(architecture)
    policy.model.resize_token_embeddings(policy.vocabulary + 16)
    with torch.no_grad():
        weight = policy.model.get_output_embeddings().weight
        weight[policy.vocabulary :] = 20 * weight[: policy.vocabulary].mean(dim=0) + 1
    decoding = DecodingSpec(method=method, max_new_tokens=LENGTH, beams=3)
    found = generate(policy, prompts(policy), decoding, seed=0, tokens_per_batch=4000)

    assert max(token for item in found for token in item.tokens) < policy.vocabulary


def test_a_beam_search_sees_probabilities_of_the_own_rows_alone() -> None:
    scores = torch.randn(2, 10).log_softmax(dim=-1)
    own = OwnRows(7)(torch.zeros(2, 1), scores)

    torch.testing.assert_close(own[:, :7], scores[:, :7].log_softmax(dim=-1))
    assert bool((own[:, 7:] == -torch.inf).all())


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


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_a_language_forced_by_the_folder_comes_first_in_generated_text(method: str) -> None:
    policy = eager("bart")
    policy.model.generation_config.forced_bos_token_id = 17
    decoding = DecodingSpec(method=method, max_new_tokens=4)
    found = generate(policy, prompts(policy), decoding, seed=0, tokens_per_batch=4000)

    assert {item.tokens[0] for item in found} == {17}


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_a_pad_token_that_is_the_end_token_changes_nothing(architecture: str, method: str) -> None:
    policy = eager(architecture)
    decoding = DecodingSpec(method=method, max_new_tokens=LENGTH, beams=2)
    expected = generate(policy, prompts(policy), decoding, seed=0, tokens_per_batch=4000)
    policy.pad_id = policy.eos_id

    assert texts(
        generate(policy, prompts(policy), decoding, seed=0, tokens_per_batch=4000)
    ) == texts(expected)


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


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_summed_log_prob_is_that_of_teacher_forcing(architecture: str, method: str) -> None:
    policy = eager(architecture)
    (row,) = prompts(policy, 1)
    decoding = DecodingSpec(method=method, max_new_tokens=LENGTH, beams=2)
    (found,) = generate(policy, [row], decoding, seed=0, tokens_per_batch=4000)
    ids = torch.tensor([row.prompt])
    tokens_BT = torch.tensor([found.tokens])
    with torch.no_grad():
        logits_BTV = policy.module(
            ids, torch.ones_like(ids), tokens_BT, torch.ones_like(tokens_BT), logits=True
        )

    assert found.logp == pytest.approx(float(F.log_probs_of(logits_BTV, tokens_BT).sum()), abs=1e-4)


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_greedy_text_takes_the_most_likely_token_at_every_step(architecture: str) -> None:
    policy = eager(architecture)
    (row,) = prompts(policy, 1)
    (found,) = generate(
        policy, [row], DecodingSpec(max_new_tokens=LENGTH), seed=0, tokens_per_batch=4000
    )
    ids, tokens_BT = torch.tensor([row.prompt]), torch.tensor([found.tokens])
    with torch.no_grad():
        logits_BTV = policy.module(
            ids, torch.ones_like(ids), tokens_BT, torch.ones_like(tokens_BT), logits=True
        )

    assert tuple(logits_BTV[0].argmax(dim=-1).tolist()) == found.tokens


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_an_n_best_list_is_ordered_by_its_penalised_score(
    architecture: str, penalty: float
) -> None:
    policy = eager(architecture)
    decoding = DecodingSpec(
        method="beam", beams=4, texts=4, length_penalty=penalty, max_new_tokens=LENGTH
    )
    found = generate(policy, prompts(policy), decoding, seed=0, tokens_per_batch=4000)
    scores = [item.logp / len(item.tokens) ** penalty for item in found]

    for first in range(0, len(found), 4):
        four = scores[first : first + 4]
        assert [item.sample for item in found[first : first + 4]] == [0, 1, 2, 3]
        assert all(better >= worse - 1e-4 for better, worse in itertools.pairwise(four))
        assert len({item.tokens for item in found[first : first + 4]}) == 4


def test_every_batch_is_reported() -> None:
    policy = eager("t5")
    told: list[tuple[int, int]] = []
    found = generate(
        policy,
        prompts(policy),
        DecodingSpec(max_new_tokens=4),
        seed=0,
        tokens_per_batch=40,
        on_batch=lambda rows, tokens: told.append((rows, tokens)),
    )

    assert len(told) > 1
    assert sum(rows for rows, _ in told) == 6
    assert sum(tokens for _, tokens in told) == sum(len(item.tokens) for item in found)


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        (DecodingSpec(texts=2), "`decoding.texts` is 2; greedy gives at most 1"),
        (DecodingSpec(method="beam", beams=2, texts=3), "beam gives at most 2"),
        (DecodingSpec(max_new_tokens=65), "do not fit the 64 positions"),
    ],
    ids=["greedy n-best", "more texts than beams", "too few positions"],
)
def test_impossible_decodings_are_refused(decoding: DecodingSpec, message: str) -> None:
    policy = tiny.make_policy("bart")

    with pytest.raises(SpecError, match=message):
        generate(policy, prompts(policy), decoding, seed=0, tokens_per_batch=4000)


@pytest.mark.parametrize("method", ["greedy", "sample"])
def test_logits_that_are_not_finite_end_the_run(method: str) -> None:
    policy = tiny.make_policy("t5")
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.fill_(torch.nan)

    with pytest.raises(NonFiniteError):
        generate(
            policy,
            prompts(policy),
            DecodingSpec(method=method, max_new_tokens=4),
            seed=0,
            tokens_per_batch=4000,
        )
