from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file

from ketchup_cli.errors import Damaged
from ketchup_cli.models.heads import HEAD, Head, head_bytes, head_of, read_head
from ketchup_cli.models.layout import Layout

LAYOUT = Layout(
    vocabulary=5,
    top=0,
    temperatures=(1.0,),
    gap_dtype="float16",
    tokenizer="sha256:00",
    keep="hidden",
    width=3,
)
HEADS = {
    "a weight": Head(torch.arange(15.0).view(5, 3)),
    "a weight and a bias": Head(torch.arange(15.0).view(5, 3), torch.arange(5.0)),
}


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_head_on_its_own_gives_the_policys_logits(architecture: str) -> None:
    policy = tiny.make_policy(architecture)
    generator = torch.Generator().manual_seed(0)
    bias = getattr(policy.model, "final_logits_bias", None)
    if bias is not None:
        bias.copy_(torch.randn(bias.shape, generator=generator))
    states_NH = torch.randn(7, 32, generator=generator)

    torch.testing.assert_close(head_of(policy)(states_NH), policy.head(states_NH))


def test_rows_a_vocabulary_was_padded_with_are_left_out() -> None:
    policy = tiny.make_policy("t5")
    size = policy.vocabulary
    policy.model.resize_token_embeddings(size + 38, mean_resizing=False)

    assert head_of(policy).weight_VH.shape == (size, 32)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_read_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    head = HEADS[name]
    (tmp_path / HEAD).write_bytes(head_bytes(head))

    found = read_head(tmp_path, LAYOUT)

    assert torch.equal(found(torch.eye(3)), head(torch.eye(3)))
    assert (found.bias_V is None) == (head.bias_V is None)


BAD = {
    "another width": {"weight": torch.zeros(5, 4)},
    "another type": {"weight": torch.zeros(5, 3, dtype=torch.float64)},
    "a tensor too many": {"weight": torch.zeros(5, 3), "scale": torch.zeros(5)},
    "a NaN": {"weight": torch.full((5, 3), torch.nan)},
    "no weight": {"bias": torch.zeros(5)},
}


@pytest.mark.parametrize("name", BAD)
def test_a_head_that_is_not_the_caches_is_refused(name: str, tmp_path: Path) -> None:
    save_file(BAD[name], tmp_path / HEAD)

    with pytest.raises(Damaged, match=HEAD):
        read_head(tmp_path, LAYOUT)
