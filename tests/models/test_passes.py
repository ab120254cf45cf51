"""A model that fills in, read and run pass after pass, held against its own forward pass."""

from collections.abc import Iterator

import pytest
import tiny
import torch
from torch import Tensor

from ketchup_cli.models.encode import Limits, collate, encode_prompts
from ketchup_cli.models.passes import Passes, read
from ketchup_cli.models.policy import Policy

SIZES = torch.tensor([6, 1, 4, 3, 5])


@pytest.fixture(scope="module", name="policy")
def _policy() -> Policy:
    return tiny.make_policy("cmlm")


@pytest.fixture(autouse=True)
def _no_gradient() -> Iterator[None]:
    with torch.no_grad():
        yield


def prompts(policy: Policy, count: int) -> tuple[Tensor, Tensor]:
    rows = encode_prompts(policy, tiny.make_examples(count), Limits(prompt=40)).rows
    batch = collate(rows, pad_id=policy.pad_id, source="data")
    return batch.prompt_BS, batch.prompt_mask_BS


@pytest.mark.parametrize("count", [1, 5], ids=["without padding", "with padding"])
def test_the_encoder_reads_as_the_model_does(policy: Policy, count: int) -> None:
    prompt_BS, mask_BS = prompts(policy, count)

    found_BSH = read(policy.model, prompt_BS, mask_BS)
    wanted_BSH = policy.model.read(prompt_BS, mask_BS)
    torch.testing.assert_close(found_BSH[mask_BS == 1], wanted_BSH[mask_BS == 1])


@pytest.mark.parametrize("count", [1, 5], ids=["without padding", "with padding"])
def test_every_pass_gives_the_states_of_hidden_tokens(policy: Policy, count: int) -> None:
    prompt_BS, mask_BS = prompts(policy, count)
    states_BSH = policy.model.read(prompt_BS, mask_BS)
    place_1T = torch.arange(7 if count > 1 else 6)[None]
    real_BT = (place_1T <= SIZES[:count, None]).long()
    passes = Passes(policy.model, states_BSH, mask_BS, real_BT)

    for step in range(3):
        tokens_BT = (place_1T * (step + 3) + prompt_BS[:, :1]) % policy.vocabulary
        hidden_BT = ((place_1T + step) % 3 != 0) & (place_1T < SIZES[:count, None])
        wanted_BTH = policy.model.fill(states_BSH, mask_BS, tokens_BT, real_BT, ~hidden_BT)
        torch.testing.assert_close(passes(tokens_BT, hidden_BT), wanted_BTH[hidden_BT])


def test_a_pass_runs_in_bfloat16(policy: Policy) -> None:
    prompt_BS, mask_BS = prompts(policy, 5)
    real_BT = (torch.arange(7)[None] <= SIZES[:, None]).long()
    tokens_BT = torch.full_like(real_BT, 5)
    hidden_BT = torch.arange(7)[None] < SIZES[:, None]
    with torch.autocast("cpu", torch.bfloat16):
        states_BSH = read(policy.model, prompt_BS, mask_BS)
        found_NH = Passes(policy.model, states_BSH, mask_BS, real_BT)(tokens_BT, hidden_BT)
        wanted_BTH = policy.model.fill(states_BSH, mask_BS, tokens_BT, real_BT, ~hidden_BT)

    # two roundings to 8 bits of mantissa in another order
    wanted_NH = wanted_BTH[hidden_BT].float()
    torch.testing.assert_close(found_NH.float(), wanted_NH, rtol=0.05, atol=0.05)
