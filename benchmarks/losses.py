"""What a loss over the vocabulary takes, block by block and in plain form, in memory and time.

    python benchmarks/losses.py

The student's logits are there before; the teacher is there as its last states and its head. Plain is
autograd over all logits of both at once. By blocks is what objectives do: `F.at_steps` asks for some
rows of the teacher's logits at a time and finds the gradient in the same sweep. Both go from the
student's logits to their gradient. The memory is the peak that the operating system saw above what
was there before, over the bytes of the student's own logits; at most 1.3 is asked of the blocks.
Where TRL and Liger are installed, their Jensen-Shannon divergences stand beside: see `others.py`.
What a block needs beside the gradient does not grow with the tokens, so few tokens make it look
large. Each measurement is a process of its own; forms take turns.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from others import BETAS, OTHERS, missing
from readings import described, peak_of
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.signals import LogitRows


@final
@dataclass(frozen=True, slots=True)
class StateRows:
    """The teacher's logits, made of its states where they are asked for."""

    hidden_NH: Tensor
    weight_HV: Tensor

    @property
    def count(self) -> int:
        """The number of rows N."""
        return len(self.hidden_NH)

    @torch.no_grad()
    def logits(self, which: slice) -> Tensor:
        """Return rows `which`, [n, V]."""
        return self.hidden_NH[which] @ self.weight_HV

    def to(self, device: object) -> "StateRows":
        """Return the same rows; there is one device."""
        del device
        return self


Sides = tuple[StateRows, Tensor]
"""The teacher, and the student's logits; for Liger the student's states."""

TARGET = 1.3
WIDTH = 64
"""Of the teacher's states: its head takes little of the time, on either side."""


def exact_mixture(p_logits_BTV: Tensor, q_logits_BTV: Tensor) -> Tensor:
    """Return what `js` with `mixture=exact` takes of teacher text, at even odds."""
    odds_BT = q_logits_BTV.new_zeros(q_logits_BTV.shape[:2])
    return F.kl_to_mixture(p_logits_BTV, q_logits_BTV, odds_BT, side="teacher")


LOSSES: dict[str, Callable[..., Any]] = {
    "kl": F.kl,
    "reverse_kl": F.reverse_kl,
    "engine": F.engine,
    "js": F.js,
    "js, exact mixture": exact_mixture,
    "tvd": F.tvd,
    "gkd, beta 0.1": partial(F.generalised_js, beta=0.1),
    "skew_kl": partial(F.skew_kl, alpha=0.1),
    "skew_rkl": partial(F.skew_reverse_kl, alpha=0.1),
    "adaptive_kl": partial(F.adaptive_kl, mu=0.5),
    "minillm": F.reverse_kl,
    "ketchup, exact": F.expected_logit,
    "vopd, top-k": partial(F.likeliest_reverse_kl, k=32),
}
WITH_LOG_PROBS = ("minillm", "ketchup, exact")
"""Whose losses take log-probabilities of tokens too."""

FORMS = ("plain", "blocks")


def main() -> None:
    """Print memory, time and value of every form; or, as a child, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vocabulary", type=int, default=152_000)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true", help="for a machine that is shared")
    parser.add_argument("--loss", choices=LOSSES, action="append", help="this one; may be repeated")
    parser.add_argument(
        "--form", choices=(*FORMS, *OTHERS), help="measure one loss in this very process"
    )
    given = parser.parse_args()
    names = given.loss or list(LOSSES)
    if given.form:
        print(json.dumps(measure(names[0], given.form, given)))
        return
    full = 4 * given.tokens * given.vocabulary
    clock = "CPU" if given.cpu_time else "wall-clock"
    print(
        f"V={given.vocabulary:,}, {given.tokens} tokens: the student's logits take"
        f" {full / 1e6:,.1f} MB; {torch.get_num_threads()} threads, {given.repeats} repeats"
    )
    for other in OTHERS:
        if missing(other):
            print(f"{other} is left out: {missing(other)}")
    print(f"median [smallest to largest]; peak over the student's logits, {clock} seconds")
    for name in names:
        tell(name, given, full)
    print(f"\nasked of the blocks: memory at most {TARGET}")


def tell(name: str, given: argparse.Namespace, full: int) -> None:
    """Print a line for every form of one loss."""
    others = [other for other in OTHERS if name in BETAS and not missing(other)]
    forms = (*FORMS, *others)
    found = [{form: _child(name, form, given) for form in forms} for _ in range(given.repeats)]
    print(f"\n{name:<20} {'memory':<24} {'seconds':<24} {'seconds over plain':<24} loss")
    for form in forms:
        memory = described([item[form]["bytes"] / full for item in found])
        seconds = described([item[form]["seconds"] for item in found])
        ratio = described([item[form]["seconds"] / item["plain"]["seconds"] for item in found])
        loss = f"{found[0][form]['loss']:.6f}"
        print(f"  {form:<18} {memory:<24} {seconds:<24} {ratio:<24} {loss}")


def _child(name: str, form: str, given: argparse.Namespace) -> dict[str, float]:
    sizes = ("--vocabulary", given.vocabulary, "--tokens", given.tokens)
    command = [sys.executable, __file__, "--loss", name, "--form", form, *map(str, sizes)]
    command += ["--cpu-time"] if given.cpu_time else []
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def measure(name: str, form: str, given: argparse.Namespace) -> dict[str, float]:
    """Return the bytes and the seconds of one loss with its gradient, and its mean."""
    clock = time.process_time if given.cpu_time else time.perf_counter
    # libraries set up their own buffers at first use; those are not the loss's
    take(name, form, make_sides(8, 1000, form=form))
    sides = make_sides(given.tokens, given.vocabulary, form=form)
    spent: list[float] = []

    def timed() -> None:
        started = clock()
        spent.append(take(name, form, sides))
        spent.append(clock() - started)

    taken_bytes = peak_of(timed)
    return {"bytes": taken_bytes, "seconds": spent[1], "loss": spent[0]}


def take(name: str, form: str, sides: Sides) -> float:
    """Take the gradient of one loss, and return its mean."""
    rows, own = sides
    if form in OTHERS:
        return float(OTHERS[form](BETAS[name], (rows.hidden_NH, rows.weight_HV), own))
    joined = name in WITH_LOG_PROBS
    return {"plain": plain, "blocks": by_blocks}[form](LOSSES[name], rows, own, joined=joined)


def make_sides(tokens: int, vocabulary: int, *, form: str) -> Sides:
    """Return both sides; the student's is a leaf, and its head is the teacher's."""
    generator = torch.Generator().manual_seed(0)
    hidden_NH = torch.randn(tokens, WIDTH, generator=generator)
    weight_HV = torch.randn(WIDTH, vocabulary, generator=generator) / WIDTH**0.5
    own_NH = torch.randn(tokens, WIDTH, generator=generator)
    rows = StateRows(hidden_NH, weight_HV)
    own = own_NH if form == "liger" else (own_NH @ weight_HV)[None]
    return rows, own.requires_grad_()


def plain(
    measured: Callable[..., Any], rows: LogitRows, q_logits_1NV: Tensor, *, joined: bool
) -> float:
    """Take loss and gradient of all logits at once."""
    found = measured(rows.logits(slice(None))[None], q_logits_1NV)
    loss_1N = found if isinstance(found, Tensor) else found[0]
    if joined:
        loss_1N = loss_1N - q_logits_1NV.log_softmax(dim=-1)[..., 0]
    return _backward(loss_1N)


def by_blocks(
    measured: Callable[..., Any], rows: LogitRows, q_logits_1NV: Tensor, *, joined: bool
) -> float:
    """Take them as objectives do."""
    mask_1N = torch.ones(q_logits_1NV.shape[:2], dtype=torch.long)
    tokens_1N = torch.zeros_like(mask_1N) if joined else None
    found = F.at_steps(measured, rows, q_logits_1NV, mask_1N, tokens_BT=tokens_1N)
    return _backward(found[0] - found[-1] if joined else found[0])


def _backward(loss_1N: Tensor) -> float:
    loss = loss_1N.mean()
    torch.autograd.backward(loss)
    return loss.item()


if __name__ == "__main__":
    main()
