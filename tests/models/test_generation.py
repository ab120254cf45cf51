import itertools

import pytest
import tiny
import torch
from writers import LENGTH, eager, prompts

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError, SpecError
from ketchup_cli.models.generation.choosing import OwnRows
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.records import Generation
from ketchup_cli.specs import DecodingSpec


def texts(generations: list[Generation]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(item.id, item.sample): item.tokens for item in generations}


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
