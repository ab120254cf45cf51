import pytest
import tiny
import torch

from ketchup_cli import functional as F
from ketchup_cli.models.encode import Limits, encode_prompts
from ketchup_cli.models.generation.choosing import Sampling
from ketchup_cli.models.generation.drawing import draw_rollouts
from ketchup_cli.models.generation.hf import sample
from ketchup_cli.specs import DecodingSpec

EXAMPLES = tiny.make_examples(6)
DECODING = DecodingSpec(method="sample", texts=3, max_new_tokens=7)


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def policy(request):
    return tiny.make_policy(request.param)


def prompts_of(policy):
    return encode_prompts(policy, EXAMPLES, Limits(prompt=64)).rows


def drawn(policy, tokens_per_batch=4000):
    return draw_rollouts(
        policy, prompts_of(policy), DECODING, seed=5, tokens_per_batch=tokens_per_batch
    )


def test_samples_stand_in_the_order_of_prompts_and_samples(policy):
    rows = drawn(policy)

    assert [(row.id, row.sample) for row in rows] == [
        (example.id, number) for example in EXAMPLES for number in range(3)
    ]
    assert {len(row.logps) - len(row.tokens) for row in rows} == {0}


def test_they_are_the_samples_that_training_draws(policy):
    batch = sample(policy, prompts_of(policy), Sampling(samples=3, max_new_tokens=7), seed=5).batch

    sizes = batch.mask_BT.sum(dim=1).int().tolist()
    for number, row in enumerate(drawn(policy)):
        size = sizes[number]
        assert list(row.tokens) == batch.tokens_BT[number, :size].tolist()
        # nine digits give every float32 back
        logps_T = torch.tensor(row.logps)
        torch.testing.assert_close(
            logps_T, batch.behaviour_logp_BT[number, :size], rtol=1e-5, atol=1e-6
        )


def test_the_log_probabilities_are_the_model_s_own(policy):
    batch = sample(policy, prompts_of(policy), Sampling(samples=3, max_new_tokens=7), seed=5).batch
    logp_BT = F.zero_padding(F.log_probs_of(policy.logits(batch), batch.tokens_BT), batch.mask_BT)

    found = [sum(row.logps) for row in drawn(policy)]

    torch.testing.assert_close(torch.tensor(found), logp_BT.sum(dim=1).detach(), rtol=0, atol=1e-4)


def test_the_size_of_a_batch_changes_no_sample(policy):
    one, other = drawn(policy), drawn(policy, tokens_per_batch=1)

    assert [row.tokens for row in one] == [row.tokens for row in other]
