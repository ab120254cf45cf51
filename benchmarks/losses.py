"""What a loss over the vocabulary takes, block by block and in plain form, in memory and time.

    python benchmarks/losses.py

The student's logits are there before; the teacher is there as its last states and its head. Plain is
autograd over all logits of both at once. By blocks is what objectives do: `F.at_steps` asks for some
rows of the teacher's logits at a time and finds the gradient in the same sweep. Both go from the
student's logits to their gradient. The memory is the peak that the operating system saw above what
was there before, over the bytes of the student's own logits; at most 1.3 is asked of the blocks, and
2.3 where both models learn (`okd`, `bd_kd`): their two gradients alone are 2.
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


Sides = tuple[StateRows | Tensor, Tensor]
"""The teacher, as rows or, where it learns too, as logits with a gradient of their own; and the
student's logits, or for Liger its states."""

TARGET = 1.3
WIDTH = 64
"""Of the teacher's states: its head takes little of the time, on either side."""


@final
@dataclass(frozen=True, slots=True)
class Loss:
    """One loss in both forms, from the two sides to its mean, whose gradient has been taken."""

    plain: Callable[[Any, Tensor], float]
    blocks: Callable[[Any, Tensor], float]
    both_learn: bool = False
    """Whether the teacher's logits take a gradient too: a second tensor of that size."""


def stepwise(measured: Callable[..., Any], *, joined: bool = False) -> Loss:
    """Return a loss of the student alone, a sum over steps; joined takes its log-probability too."""

    def plain(rows: StateRows, q_logits_1NV: Tensor) -> float:
        found = measured(rows.logits(slice(None))[None], q_logits_1NV)
        loss_1N = found if isinstance(found, Tensor) else found[0]
        if joined:
            loss_1N = loss_1N - q_logits_1NV.log_softmax(dim=-1)[..., 0]
        return _backward(loss_1N)

    def blocks(rows: StateRows, q_logits_1NV: Tensor) -> float:
        mask_1N = _mask(q_logits_1NV)
        tokens_1N = torch.zeros_like(mask_1N) if joined else None
        found = F.at_steps(measured, rows, q_logits_1NV, mask_1N, tokens_BT=tokens_1N)
        return _backward(found[0] - found[-1] if joined else found[0])

    return Loss(plain, blocks)


def paired(measured: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return a loss of which both models learn, a sum over steps."""
    return Loss(
        plain=lambda p_logits_1NV, q_logits_1NV: _backward(measured(p_logits_1NV, q_logits_1NV)),
        blocks=lambda p_logits_1NV, q_logits_1NV: _backward(
            F.at_pairs(measured, p_logits_1NV, q_logits_1NV, _mask(q_logits_1NV))[0]
        ),
        both_learn=True,
    )


def transported(how: F.Transport) -> Loss:
    """Return the cost of carrying one set of distributions to the other, in groups of tokens."""

    def plain(rows: StateRows, q_logits_1NV: Tensor) -> float:
        p_NV, q_NV = rows.logits(slice(None)).softmax(dim=-1), q_logits_1NV[0].softmax(dim=-1)
        costs = [
            len(p_nV)
            * F.transport_cost(
                torch.cdist(p_nV, q_nV, p=1), smoothing=how.smoothing, sweeps=how.sweeps
            )
            for p_nV, q_nV in zip(
                torch.split(p_NV, how.max_points), torch.split(q_NV, how.max_points), strict=True
            )
        ]
        return _backward(torch.stack(costs) / len(p_NV), mean=False)

    def blocks(rows: StateRows, q_logits_1NV: Tensor) -> float:
        return _backward(F.transport_loss(rows, q_logits_1NV, _mask(q_logits_1NV), how=how)[0])

    return Loss(plain, blocks)


def exact_mixture(p_logits_BTV: Tensor, q_logits_BTV: Tensor) -> Tensor:
    """Return what `js` with `mixture=exact` takes of teacher text, at even odds."""
    odds_BT = q_logits_BTV.new_zeros(q_logits_BTV.shape[:2])
    return F.kl_to_mixture(p_logits_BTV, q_logits_BTV, odds_BT, side="teacher")


def online(p_logits_BTV: Tensor, q_logits_BTV: Tensor) -> Tensor:
    """Return what `okd` takes of both models, with equal weights."""
    student_BT, teacher_BT = F.mutual(p_logits_BTV, q_logits_BTV)
    return student_BT + teacher_BT


def both_ways(p_logits_BTV: Tensor, q_logits_BTV: Tensor) -> Tensor:
    """Return what `bd_kd` takes of both models."""
    student_BT, _ = F.balanced(p_logits_BTV.detach(), q_logits_BTV, emphasis=2.0)
    return student_BT + F.reverse_kl(p_logits_BTV, q_logits_BTV.detach())


LOSSES: dict[str, Loss] = {
    "kl": stepwise(F.kl),
    "reverse_kl": stepwise(F.reverse_kl),
    "engine": stepwise(F.engine),
    "js": stepwise(F.js),
    "js, exact mixture": stepwise(exact_mixture),
    "tvd": stepwise(F.tvd),
    "gkd, beta 0.1": stepwise(partial(F.generalised_js, beta=0.1)),
    "skew_kl": stepwise(partial(F.skew_kl, alpha=0.1)),
    "skew_rkl": stepwise(partial(F.skew_reverse_kl, alpha=0.1)),
    "adaptive_kl": stepwise(partial(F.adaptive_kl, mu=0.5)),
    "minillm": stepwise(F.reverse_kl, joined=True),
    "ketchup, exact": stepwise(F.expected_logit, joined=True),
    "vopd, top-k": stepwise(partial(F.likeliest_reverse_kl, k=32)),
    "sinkd": transported(F.Transport(smoothing=0.1, sweeps=20, max_points=32)),
    "okd": paired(online),
    "bd_kd": paired(both_ways),
}

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
    print(f"\nasked of the blocks: memory at most {TARGET}, {TARGET + 1} where both models learn")


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
    take(name, form, make_sides(name, 8, 1000, form=form))
    sides = make_sides(name, given.tokens, given.vocabulary, form=form)
    spent: list[float] = []

    def timed() -> None:
        started = clock()
        spent.append(take(name, form, sides))
        spent.append(clock() - started)

    taken_bytes = peak_of(timed)
    return {"bytes": taken_bytes, "seconds": spent[1], "loss": spent[0]}


def take(name: str, form: str, sides: Sides) -> float:
    """Take the gradient of one loss, and return its mean."""
    teacher, own = sides
    if form in OTHERS:
        assert isinstance(teacher, StateRows)
        return float(OTHERS[form](BETAS[name], (teacher.hidden_NH, teacher.weight_HV), own))
    loss = LOSSES[name]
    return {"plain": loss.plain, "blocks": loss.blocks}[form](teacher, own)


def make_sides(name: str, tokens: int, vocabulary: int, *, form: str) -> Sides:
    """Return both sides; the student's is a leaf, and its head is the teacher's."""
    generator = torch.Generator().manual_seed(0)
    hidden_NH = torch.randn(tokens, WIDTH, generator=generator)
    weight_HV = torch.randn(WIDTH, vocabulary, generator=generator) / WIDTH**0.5
    own_NH = torch.randn(tokens, WIDTH, generator=generator)
    own = own_NH if form == "liger" else (own_NH @ weight_HV)[None]
    if LOSSES[name].both_learn:
        return (hidden_NH @ weight_HV)[None].requires_grad_(), own.requires_grad_()
    return StateRows(hidden_NH, weight_HV), own.requires_grad_()


def _mask(q_logits_1NV: Tensor) -> Tensor:
    return torch.ones(q_logits_1NV.shape[:2], dtype=torch.long)


def _backward(loss_1N: Tensor, *, mean: bool = True) -> float:
    loss = loss_1N.mean() if mean else loss_1N.sum()
    torch.autograd.backward(loss)
    return loss.item()


if __name__ == "__main__":
    main()
