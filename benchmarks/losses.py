"""What a loss over the vocabulary takes, block by block and in plain form, in memory and time.

    python benchmarks/losses.py

The student's logits are there before; the teacher is there as its last states and its head. Plain is
autograd over all logits of both at once. By blocks is what objectives do: `F.at_steps` asks for a few
rows of the teacher's logits at a time and finds the gradient in the same sweep. Both go from the
student's logits to their gradient. The share is the peak that the operating system saw above what
was there before, over the bytes of the student's own logits; at most 1.3 is asked of the blocks.
What a block needs beside the gradient does not grow with the tokens: on a CPU it is near 100 MB, so
few tokens make it look large. Each measurement is a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from memory import peak_of
from subject import described
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.models.teacher import StateLogits

TARGET = 1.3
WIDTH = 64
"""Of the teacher's states: its head takes little of the time, on either side."""

LOSSES: dict[str, Callable[..., Any]] = {
    "kl": F.kl,
    "reverse_kl": F.reverse_kl,
    "js": F.js,
    "tvd": F.tvd,
    "gkd, beta 0.1": partial(F.generalised_js, beta=0.1),
    "skew_kl": partial(F.skew_kl, alpha=0.1),
    "adaptive_kl": partial(F.adaptive_kl, mu=0.5),
}
FORMS = ("plain", "blocks")


def main() -> None:
    """Print both shares, the times and their ratio; or, as a child, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vocabulary", type=int, default=152_000)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loss", choices=LOSSES, action="append", help="this one; may be repeated")
    parser.add_argument("--form", choices=FORMS, help="measure one loss in this very process")
    given = parser.parse_args()
    names = given.loss or list(LOSSES)
    if given.form:
        print(json.dumps(measure(names[0], given.form, given.tokens, given.vocabulary)))
        return
    full = 4 * given.tokens * given.vocabulary
    print(
        f"V={given.vocabulary:,}, {given.tokens} tokens: the student's logits take"
        f" {full / 1e6:,.1f} MB; {torch.get_num_threads()} threads, {given.repeats} repeats"
    )
    print("median [smallest to largest]; peak over the student's logits, seconds, and their ratio")
    for name in names:
        found = [[_child(name, form, given) for form in FORMS] for _ in range(given.repeats)]
        print(f"\n{name}")
        for number, form in enumerate(FORMS):
            pairs = [pair[number] for pair in found]
            print(f"  {form:<7} memory  {described([item['bytes'] / full for item in pairs])}")
            print(f"          seconds {described([item['seconds'] for item in pairs])}")
        ratios = [blocks["seconds"] / plain["seconds"] for plain, blocks in found]
        print(f"  time, blocks over plain: {described(ratios)}")
    print(f"\nasked of the blocks: memory at most {TARGET}")


def _child(name: str, form: str, given: argparse.Namespace) -> dict[str, float]:
    sizes = ("--vocabulary", given.vocabulary, "--tokens", given.tokens)
    command = [sys.executable, __file__, "--loss", name, "--form", form, *map(str, sizes)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def measure(name: str, form: str, tokens: int, vocabulary: int) -> dict[str, float]:
    """Return the bytes and the seconds of one loss with its gradient."""
    work = {"plain": plain, "blocks": by_blocks}[form]
    # libraries set up their own buffers at first use; those are not the loss's
    work(LOSSES[name], *make_sides(8, 1000))
    sides = make_sides(tokens, vocabulary)
    spent: list[float] = []

    def timed(*given: Any) -> None:
        started = time.perf_counter()
        work(*given)
        spent.append(time.perf_counter() - started)

    return {"bytes": peak_of(timed, LOSSES[name], *sides), "seconds": spent[0]}


def make_sides(tokens: int, vocabulary: int) -> tuple[StateLogits, Tensor]:
    """Return the teacher as rows made of its states, and the student's logits, a leaf."""
    generator = torch.Generator().manual_seed(0)
    hidden_NH = torch.randn(tokens, WIDTH, generator=generator)
    weight_HV = torch.randn(WIDTH, vocabulary, generator=generator) / WIDTH**0.5
    q_logits_1NV = torch.randn(1, tokens, vocabulary, generator=generator).requires_grad_()
    return StateLogits(head=lambda states: states @ weight_HV, hidden_NH=hidden_NH), q_logits_1NV


def plain(measured: Callable[..., Any], rows: StateLogits, q_logits_1NV: Tensor) -> None:
    """Take loss and gradient of all logits at once."""
    _backward(measured(rows.logits(slice(None))[None], q_logits_1NV))


def by_blocks(measured: Callable[..., Any], rows: StateLogits, q_logits_1NV: Tensor) -> None:
    """Take them as objectives do."""
    mask_1N = torch.ones(q_logits_1NV.shape[:2], dtype=torch.long)
    _backward(F.at_steps(measured, rows, q_logits_1NV, mask_1N))


def _backward(found: Tensor | Sequence[Tensor]) -> None:
    loss_1N = found if isinstance(found, Tensor) else found[0]
    torch.autograd.backward(loss_1N.mean())


if __name__ == "__main__":
    main()
