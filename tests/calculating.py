"""Policies that write sums by a chain of tokens, so that a calculator has something to do."""

import functools
import math
from pathlib import Path

import msgspec
import tiny
import torch
from torch import Tensor

from ketchup_cli.models.encode import Limits, Row, encode_prompts
from ketchup_cli.models.load import save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.shrink import layer_lists
from ketchup_cli.records import Example

LENGTH = 20
"""More than two rounds of decoding: results are put across their seams."""

TEXTS = (
    "<<9*9=81>><<19*1=19>>9<<91/9=10>>1<<1*9=9>>now",
    "2 3 4 5 6 7 8 0 . ( ) + - here<<9=9>>9<<1=1>>1",
    "now<<8>>8<<9>>9<<7>>7<<6>>6<<5>>5<<4>>4<<3>>3<<2>>2<<1>>1<<0>>0 here",
)

CHAIN = {
    "<<": {"9": 0.5, "1": 0.5},
    "9": {"*": 0.3, "=": 0.5, "1": 0.2},
    "1": {"=": 0.5, "*": 0.2, "/": 0.2, "9": 0.1},
    "*": {"9": 0.5, "1": 0.5},
    "/": {"9": 0.5, "1": 0.5},
    "=": {"9": 0.6, "1": 0.4},
    ">>": {"<<": 0.6, "end": 0.4},
}
"""What follows a token, and how likely; anything else begins a sum."""


def make_examples() -> list[Example]:
    return [Example(id=f"sum{n}", prompt=text, references=(text,)) for n, text in enumerate(TEXTS)]


def asked(count: int) -> list[Example]:
    """Return examples whose prompts differ in length, and end alike."""
    return [
        Example(id=f"p{n}", prompt="here " * n + "now", references=("<<9*9=81>>81",))
        for n in range(count)
    ]


def prompts(policy: Policy, count: int = 4) -> tuple[Row, ...]:
    return encode_prompts(policy, asked(count), Limits(prompt=60)).rows


def make_corpus(folder: Path) -> Path:
    """Write a corpus whose prompts a chained model answers with sums."""
    folder.mkdir(parents=True)
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in asked(4))
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_bytes(lines)
    return folder


@functools.cache
def chained(architecture: str) -> Policy:
    """Return a policy whose next token depends on the last one alone, by `CHAIN`."""
    policy = tiny.make_policy(architecture, examples=make_examples())
    _forget_context(policy)
    states_VH = _states(policy)
    table_VV = _table(policy)

    def choose(_module: object, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        last = torch.cdist(inputs[0].flatten(0, -2).float(), states_VH).argmin(dim=-1)
        # a little of the model's own, so that gradients reach it
        return table_VV[last].view(logits.shape) + 0.1 * logits

    policy.model.get_output_embeddings().register_forward_hook(choose)
    return policy


def make_folder(folder: Path) -> Path:
    """Write a decoder-only model with the same habits, all of it in weights."""
    policy = tiny.make_policy("gpt2", examples=make_examples())
    _forget_context(policy)
    (ids,) = policy.prompt_ids(["now"])
    rows = [*(token_of(policy, piece) for piece in CHAIN), ids[-1]]
    wanted_NV = _table(policy)[rows]
    head = torch.nn.Linear(policy.model.config.n_embd, policy.vocabulary, bias=False)
    solved_HV = torch.linalg.lstsq(_states(policy)[rows], wanted_NV).solution
    head.weight = torch.nn.Parameter(solved_HV.T.contiguous())
    policy.model.config.tie_word_embeddings = False
    policy.model.set_output_embeddings(head)
    folder.mkdir(parents=True)
    save_policy(policy, folder, dtype="float32")
    return folder


def token_of(policy: Policy, piece: str) -> int:
    """Return the id of a piece that the tokenizer must have."""
    token = policy.eos_id if piece == "end" else policy.tokenizer.convert_tokens_to_ids(piece)
    assert token != policy.tokenizer.unk_token_id, piece
    return int(token)


def _forget_context(policy: Policy) -> None:
    prefix = f"{layer_lists(policy.model)['decoder']}."
    with torch.no_grad():
        for name, value in policy.model.named_parameters():
            inner = name.startswith(prefix) and "norm" not in name and ".ln_" not in name
            if inner or "embed_positions" in name or ".wpe." in name:
                value.zero_()


@torch.no_grad()
def _states(policy: Policy) -> Tensor:
    """Return what the head reads after each token, [V, H]."""
    seen: list[Tensor] = []
    hook = policy.model.get_output_embeddings().register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0][:, -1])
    )
    ids = torch.arange(policy.vocabulary)[:, None]
    both = {"input_ids": ids, "decoder_input_ids": ids}
    policy.model(**(both if policy.kind == "encoder-decoder" else {"input_ids": ids}))
    hook.remove()
    return seen[0].float()


def _table(policy: Policy) -> Tensor:
    """Return the logits after each token, [V, V]."""
    table_VV = torch.full((policy.vocabulary, policy.vocabulary), -9.0)
    table_VV[:, token_of(policy, "<<")] = 0.0
    for last, following in CHAIN.items():
        row_V = table_VV[token_of(policy, last)]
        row_V.fill_(-9.0)
        for piece, share in following.items():
            row_V[token_of(policy, piece)] = math.log(share)
    return table_VV
