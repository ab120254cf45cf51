"""How the laboratory should take the gradients of many estimators on one batch.

    python benchmarks/gradients.py

Four ways, in CPU seconds an estimator, on one thread:

    shared      one forward pass, then one backward pass for each estimator (what the laboratory does)
    apart       forward and backward for each estimator
    batched     one forward pass, then one backward pass vectorised over the estimators
    per sample  `torch.func`: the gradient of each completion by itself, vectorised over them, summed

A family that one of them cannot run is named with the error. Decoder-only models run with plain
attention: with the fused one, masks are made by code that no vectorised forward can run.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from readings import described
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    LlamaConfig,
    T5Config,
)

FAMILIES: Mapping[str, Callable[[int], Any]] = {
    "gpt2": lambda v: GPT2Config(vocab_size=v, n_embd=256, n_layer=4, n_head=4),
    "llama": lambda v: LlamaConfig(
        vocab_size=v,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
    ),
    "t5": lambda v: T5Config(
        vocab_size=v, d_model=256, d_ff=1024, num_heads=4, num_layers=3, dropout_rate=0.0
    ),
}

Ways = Mapping[str, Callable[[], object]]


def make_model(family: str, *, vocabulary: int) -> Any:
    """Return a model of random weights, without dropout, whose last layer alone takes gradients."""
    torch.manual_seed(0)
    config = FAMILIES[family](vocabulary)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation="eager").eval()
    model.requires_grad_(requires_grad=False)
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    stacks = [found for found in lists if len(found) == (3 if family == "t5" else 4)]
    stacks[-1][-1].requires_grad_(requires_grad=True)
    return model


def log_probs(model: Any, parameters: Mapping[str, Tensor], ids_BS: Tensor) -> Tensor:
    """Return the log-probability of every token but the first, [B, S - 1]."""
    inputs = {"input_ids": ids_BS, "attention_mask": torch.ones_like(ids_BS), "use_cache": False}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids_BS
    logits_BSV = torch.func.functional_call(model, dict(parameters), (), inputs).logits[:, :-1]
    logp_BS: Tensor = logits_BSV.log_softmax(-1).gather(-1, ids_BS[:, 1:, None]).squeeze(-1)
    return logp_BS


def ways(model: Any, ids_BS: Tensor, weight_EBT: Tensor) -> Ways:
    """Return the four ways, each a call that makes the gradients of all estimators."""
    own = {name: value for name, value in model.named_parameters() if value.requires_grad}
    values = list(own.values())
    frozen = {name: value.detach() for name, value in own.items()}

    def shared() -> object:
        logp_BT = log_probs(model, own, ids_BS)
        return [
            torch.autograd.grad(logp_BT, values, weight_BT, retain_graph=True)
            for weight_BT in weight_EBT
        ]

    def apart() -> object:
        return [
            torch.autograd.grad(log_probs(model, own, ids_BS), values, weight_BT)
            for weight_BT in weight_EBT
        ]

    def batched() -> object:
        logp_BT = log_probs(model, own, ids_BS)
        return torch.autograd.grad(logp_BT, values, weight_EBT, is_grads_batched=True)

    def of_one(parameters: Mapping[str, Tensor], ids_S: Tensor, weight_T: Tensor) -> Tensor:
        return (log_probs(model, parameters, ids_S[None])[0] * weight_T).sum()

    def per_sample() -> object:
        each = torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0, 0))
        return [
            {name: value.sum(dim=0) for name, value in each(frozen, ids_BS, weight_BT).items()}
            for weight_BT in weight_EBT
        ]

    return {"shared": shared, "apart": apart, "batched": batched, "per sample": per_sample}


def seconds(run: Callable[[], object], *, repeats: int) -> list[float]:
    """Return CPU seconds of each repeat, after one that is not counted."""
    run()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return found


def main() -> None:
    """Print a line for each family and way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--estimators", type=int, default=6)
    parser.add_argument("--completions", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (args.completions, args.tokens)
    ids_BS = torch.randint(args.vocabulary, shape, generator=generator)
    weight_EBT = torch.randn(args.estimators, shape[0], shape[1] - 1, generator=generator)
    for family in FAMILIES:
        model = make_model(family, vocabulary=args.vocabulary)
        for name, run in ways(model, ids_BS, weight_EBT).items():
            try:
                found = [x / args.estimators for x in seconds(run, repeats=args.repeats)]
            except RuntimeError as error:
                print(f"{family:<8}{name:<12}cannot: {str(error).partition('.')[0][:90]}")
                continue
            print(f"{family:<8}{name:<12}{described(found)} s")


if __name__ == "__main__":
    main()
