"""How fast a student that fills in decodes beside one of equal size that writes token by token.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --models WRITER FILLER --corpus examples/en-nl/data/test.jsonl.gz

One sentence at a time, as `ketchup generate` decodes it: greedy for the student that writes from left to
right, mask-predict for the one that fills in. Both have the same layers and random weights; completions
are of `--tokens` tokens in both, the end token included. With `--models`, two folders of trained students,
both answer sentences of `--corpus` in as many tokens as they like, up to `--tokens`. The greedy student
is also timed with one bare call of transformers' `generate`, and the ratio is to the faster of the two.
Turns alternate, so that other work on the machine meets all of them. `products` are the matrix
products of one way alone, run again: what no loop around them could save.
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from readings import described
from subject import make_examples, make_policy
from torch.utils._python_dispatch import TorchDispatchMode

from ketchup_cli.models.encode import Limits, Row, encode_prompts
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.shrink import to_cmlm
from ketchup_cli.records import Example
from ketchup_cli.specs import DecodingSpec

Way = Callable[[Sequence[Row]], None]
PRODUCTS = frozenset({"linear", "matmul", "mm", "addmm", "bmm"})
TARGET = 3.0
"""Times as many sentences a second as the student of equal size."""


def main() -> None:
    """Print sentences a second of both students, and the ratio."""
    given = parser().parse_args()
    torch.set_num_threads(given.threads)
    writer, filler, rows = students(given)
    greedy = DecodingSpec(max_new_tokens=given.tokens)
    writers = (
        lambda rows: answer(writer, rows, greedy),
        lambda rows: bare(writer, rows, given.tokens),
    )
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
                "products of generate": products(writers[1], rows),
                "products of mask-predict": products(fill, rows),
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


def make_fill(filler: Policy, decoding: DecodingSpec) -> Way:
    """Return what answers rows by mask-predict."""
    return lambda rows: answer(filler, rows, decoding)


@final
class Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps every matrix product that runs under it, with what it multiplied."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run what is asked for, and keep it if it is a product."""
        del types
        if func.overloadpacket.__name__ in PRODUCTS:
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


def products(way: Way, rows: Sequence[Row]) -> Way:
    """Return what runs the matrix products that a way of answering rows runs, and nothing else."""
    noting = Noting()
    with noting:
        way(rows)

    @torch.inference_mode()
    def run(_rows: Sequence[Row]) -> None:
        for product, args in noting.calls:
            product(*args)

    return run


def _compare(ways: Mapping[str, Way], rows: Sequence[Row], *, repeats: int) -> None:
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


def answer(policy: Policy, rows: Sequence[Row], decoding: DecodingSpec) -> None:
    """Answer prompts as the stages do, one at a time."""
    generate(policy, rows, decoding, seed=0, tokens_per_batch=1)


@torch.no_grad()
def bare(policy: Policy, rows: Sequence[Row], tokens: int) -> None:
    """Answer prompts by one call of transformers each, without what ketchup adds."""
    for row in rows:
        policy.model.generate(
            input_ids=torch.tensor([row.prompt]), max_new_tokens=tokens, do_sample=False
        )


def rate(way: Way, rows: Sequence[Row]) -> float:
    """Return sentences a CPU second."""
    began = time.process_time()
    way(rows)
    return len(rows) / (time.process_time() - began)


if __name__ == "__main__":
    main()
