"""How fast a student that fills in decodes beside one of equal size that writes token by token.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --models WRITER FILLER --corpus examples/en-nl/data/test.jsonl.gz

One sentence at a time, as `ketchup generate` decodes it: greedy for the student that writes from left to
right, mask-predict for the one that fills in. Both have the same layers and random weights; completions
are of `--tokens` tokens in both, the end token included. With `--models`, two folders of trained students,
both answer sentences of `--corpus` in as many tokens as they like, up to `--tokens`. The greedy student
is also timed with one bare call of transformers' `generate`, and the ratio is to the faster of the two.
Turns alternate, so that other work on the machine meets all of them. `products` are the linear layers
of one way alone, run again on inputs of the same sizes: what no loop around them could save.
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from readings import described
from subject import make_examples, make_policy
from torch import Tensor, nn

from ketchup_cli.models.encode import Limits, Row, encode_prompts
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.shrink import to_cmlm
from ketchup_cli.records import Example
from ketchup_cli.specs import DecodingSpec

TARGET = 3.0
"""Times as many sentences a second as the student of equal size."""


def main() -> None:
    """Print sentences a second of both students, and the ratio."""
    given = parser().parse_args()
    torch.set_num_threads(given.threads)
    writer, filler, rows = students(given)
    greedy = DecodingSpec(max_new_tokens=given.tokens)
    writers = (lambda row: one(writer, row, greedy), lambda row: bare(writer, row, given.tokens))
    print(f"{writer.model.num_parameters():,} and {filler.model.num_parameters():,} parameters")
    print(
        f"{len(rows)} sentences of {'at most ' if given.models else ''}{given.tokens} tokens at batch"
        f" 1, {given.threads} threads"
    )
    print(f"median [smallest to largest] of {given.repeats}, sentences a CPU second")
    for iterations in given.iterations:
        for lengths in given.lengths:
            decoding = DecodingSpec(
                method="mask-predict",
                iterations=iterations,
                beams=lengths,
                max_new_tokens=given.tokens,
            )
            fill = make_fill(filler, decoding)
            ways = {
                "greedy": writers[0],
                "bare generate": writers[1],
                f"mask-predict {iterations} x {lengths}": fill,
                "products of generate": products(writer, writers[1], rows),
                "products of mask-predict": products(filler, fill, rows),
            }
            _compare(ways, rows, repeats=given.repeats)


def students(given: argparse.Namespace) -> tuple[Policy, Policy, tuple[Row, ...]]:
    """Return who writes from left to right, who fills in, and the prompts of both."""
    if given.models:
        writer, filler = (load_policy(folder, device="cpu") for folder in given.models)
        with gzip.open(given.corpus, "rt", encoding="utf-8") as lines:
            prompts = [json.loads(line)[given.field] for line in lines][: given.sentences]
        examples = [
            Example(id=str(number), prompt=prompt, references=())
            for number, prompt in enumerate(prompts)
        ]
    else:
        layers = {"layers": 3, "decoder_layers": given.decoder_layers}
        writer = make_policy(vocabulary=given.vocabulary, **layers)
        filler = filling(writer)
        examples = make_examples(given.sentences, vocabulary=given.vocabulary)
    return writer, filler, encode_prompts(writer, examples, Limits(prompt=512)).rows


def make_fill(filler: Policy, decoding: DecodingSpec) -> Callable[[Row], None]:
    """Return what answers one row by mask-predict."""
    return lambda row: one(filler, row, decoding)


def products(
    policy: Policy, way: Callable[[Row], None], rows: Sequence[Row]
) -> Callable[[Row], None]:
    """Return what runs for a row the linear layers that `way` runs, and nothing else."""
    inputs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for row in rows:
        calls = inputs[row.id] = []

        def note(layer: nn.Module, given: tuple[Tensor, ...], calls: list[Any] = calls) -> None:
            calls.append((layer.weight, torch.zeros(given[0].shape)))

        layers = [layer for layer in policy.model.modules() if isinstance(layer, nn.Linear)]
        hooks = [layer.register_forward_pre_hook(note) for layer in layers]
        way(row)
        for hook in hooks:
            hook.remove()

    @torch.no_grad()
    def run(row: Row) -> None:
        for weight, x in inputs[row.id]:
            nn.functional.linear(x, weight)

    return run


def _compare(
    ways: Mapping[str, Callable[[Row], None]], rows: Sequence[Row], *, repeats: int
) -> None:
    times = [[rate(way, rows) for way in ways.values()] for _ in range(repeats + 1)][1:]
    for name, column in zip(ways, zip(*times, strict=True), strict=True):
        print(f"{name:<24} {described(column, digits=1)}")
    ratios = [filled / max(ours, bare_) for ours, bare_, filled, _, _ in times]
    print(f"{'ratio':<24} {described(ratios)}   asked: at least {TARGET:.1f}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    found.add_argument("--sentences", type=int, default=40)
    found.add_argument("--tokens", type=int, default=20, help="of a completion, its end included")
    found.add_argument("--models", type=Path, nargs=2, metavar=("WRITER", "FILLER"))
    found.add_argument("--corpus", type=Path, help="JSON Lines, gzip, for --models")
    found.add_argument("--field", default="src", help="of a prompt in --corpus")
    found.add_argument("--decoder-layers", type=int, default=1, help="without --models")
    found.add_argument("--vocabulary", type=int, default=8000)
    found.add_argument("--iterations", type=int, nargs="+", default=[4, 10], help="passes")
    found.add_argument("--lengths", type=int, nargs="+", default=[1, 3], help="tried at once")
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--repeats", type=int, default=5)
    return found


def filling(writer: Policy) -> Policy:
    """Return the same layers as a model that fills in, to which the longest text is the likeliest."""
    model = to_cmlm(writer.model)
    with torch.no_grad():
        classes = model.config.length_classes
        model.lengths.weight.zero_()
        model.lengths.bias.copy_(torch.arange(classes).float())
    return Policy(model, writer.tokenizer)


def one(policy: Policy, row: Row, decoding: DecodingSpec) -> None:
    """Answer one prompt as the stages do."""
    generate(policy, [row], decoding, seed=0, tokens_per_batch=1)


@torch.no_grad()
def bare(policy: Policy, row: Row, tokens: int) -> None:
    """Answer one prompt by one call of transformers, without what ketchup adds."""
    policy.model.generate(
        input_ids=torch.tensor([row.prompt]), max_new_tokens=tokens, do_sample=False
    )


def rate(way: Callable[[Row], None], rows: Sequence[Row]) -> float:
    """Return sentences a CPU second."""
    began = time.process_time()
    for row in rows:
        way(row)
    return len(rows) / (time.process_time() - began)


if __name__ == "__main__":
    main()
