"""What the loop adds to one KETCHUP update; at most 1.10 of its bare parts is asked of it.

    python benchmarks/step.py

The bare parts are transformers alone: sampling as many tokens for the same prompts, one teacher
forward with all logits, one student forward and backward on the same batch. The other side is an
update of the training loop: prompts, samples, teacher statistics, returns, loss, gradients, norm,
optimiser step, figures and log. Both sides are taken in turn, update by update.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from readings import described
from subject import make_examples, make_policy

from ketchup_cli import objectives
from ketchup_cli.models.encode import Limits, encode_prompts
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Batch
from ketchup_cli.specs import RolloutSpec, TrainingSpec, ValidationSpec
from ketchup_cli.train.data import PromptSource
from ketchup_cli.train.loop import train
from ketchup_cli.train.metrics import MetricsLog
from ketchup_cli.train.resume import Checkpoints
from ketchup_cli.train.rollouts import RolloutSource
from ketchup_cli.train.run import Run

TARGET = 1.10
WARMUP = 1
"""Updates that are not counted: the first one allocates."""

PARTS = ("sampling", "teacher forward", "student forward and backward")


class Recording:
    """A source that remembers the batch it gave last."""

    def __init__(self, inner: RolloutSource) -> None:
        self.inner = inner
        self.last: Batch | None = None

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return the inner batches."""
        for batch in self.inner.batches(first, stride):
            self.last = batch
            yield batch


class Taking:
    """Takes the time of every update, and of its bare parts right after it."""

    def __init__(self, parts: Callable[[], tuple[float, ...]], clock: Callable[[], float]) -> None:
        self.updates: list[float] = []
        self.parts: list[tuple[float, ...]] = []
        self._take = parts
        self._clock = clock
        self._started = 0.0

    def note(self, label: str, text: str) -> None:
        """Start counting: the note about the first validation comes right before update 1."""
        del label, text
        if not self.updates:
            self._started = self._clock()

    def figures(self, line: Mapping[str, Any]) -> None:
        """Ignore it."""
        del line

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> "Taking":
        """Be the progress too."""
        del label, total, unit, done
        return self

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        """Note the update's time, then run its bare parts."""
        del count, tokens
        self.updates.append(self._clock() - self._started)
        self.parts.append(self._take())
        self._started = self._clock()

    def status(self, text: str) -> None:
        """Ignore it."""
        del text

    def __enter__(self) -> "Taking":
        return self

    def __exit__(self, *error: object) -> None:
        return None


def main() -> None:
    """Print the ratio, both sides, the parts and the spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=18, help="length of every completion")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cpu-time", action="store_true", help="for a machine that is shared")
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    taking = measure(given, clock)
    updates, parts = taking.updates[WARMUP:], taking.parts[WARMUP:]
    ratios = [update / sum(item) for update, item in zip(updates, parts, strict=True)]
    kind = "CPU" if given.cpu_time else "wall-clock"
    print(
        f"T5, vocabulary {given.vocabulary:,}: teacher 6+2 layers, student 2+1;"
        f" {given.prompts} prompts x {given.samples} samples of {given.tokens} tokens;"
        f" {torch.get_num_threads()} threads; {given.repeats} repeats"
    )
    print(f"median [smallest to largest], {kind} seconds")
    print(f"one update      {described(updates)}")
    print(f"its bare parts  {described([sum(item) for item in parts])}")
    for number, name in enumerate(PARTS):
        print(f"    {name:<30} {described([item[number] for item in parts])}")
    print(f"ratio           {described(ratios)}   asked: at most {TARGET:.2f}")


def measure(given: argparse.Namespace, clock: Callable[[], float]) -> Taking:
    """Return the times of a run of `repeats` updates and one before them."""
    teacher = make_policy(vocabulary=given.vocabulary)
    student = make_policy(vocabulary=given.vocabulary, layers=2, decoder_layers=1)
    teacher.module.requires_grad_(False)
    examples = make_examples(4 * given.prompts, vocabulary=given.vocabulary)
    rows = encode_prompts(student, examples, Limits(prompt=512)).rows
    rollout = RolloutSpec(
        prompts=given.prompts,
        samples=given.samples,
        max_new_tokens=given.tokens,
        unfinished="terminal",
    )
    prompts = PromptSource(rows, prompts=given.prompts, seed=0)
    source = Recording(RolloutSource(student, prompts, rollout=rollout, seed=0))
    taking = Taking(lambda: bare(source.last, teacher, student, given, clock), clock)
    with tempfile.TemporaryDirectory() as folder:
        train(
            Run(
                policy=student,
                terms=objectives.terms([{"name": "ketchup", "k": 4}]),
                spec=TrainingSpec(
                    updates=WARMUP + given.repeats,
                    dropout=0.0,
                    checkpoint_every=0,
                    validation=ValidationSpec(metric="loss", every=0),
                    device="cpu",
                ),
                sources={"student": source},
                teachers={"student": LiveTeacher(teacher)},
                evaluate=lambda: {"loss": 1.0},
                checkpoints=Checkpoints(Path(folder) / "state"),
                log=MetricsLog(Path(folder) / "metrics.jsonl"),
                reporter=taking,
                accelerator=Accelerator(cpu=True),
            )
        )
    return taking


def bare(
    batch: Batch | None,
    teacher: Policy,
    student: Policy,
    given: argparse.Namespace,
    clock: Callable[[], float],
) -> tuple[float, ...]:
    """Return the seconds of sampling, teacher forward, and student forward and backward."""
    assert batch is not None
    times = [clock()]
    _sample(student, batch, samples=given.samples, tokens=given.tokens)
    times.append(clock())
    with torch.no_grad():
        _logits(teacher, batch)
    times.append(clock())
    student.module.train()
    logp_BTV = _logits(student, batch).log_softmax(dim=-1)
    logp_BT = logp_BTV.gather(-1, batch.tokens_BT[..., None]).squeeze(-1)
    (-(logp_BT * batch.mask_BT).sum() / batch.mask_BT.sum()).backward()
    times.append(clock())
    student.module.zero_grad(set_to_none=True)
    return tuple(after - before for before, after in itertools.pairwise(times))


@torch.no_grad()
def _sample(policy: Policy, batch: Batch, *, samples: int, tokens: int) -> None:
    policy.module.eval()
    policy.model.generate(
        input_ids=batch.prompt_BS[::samples],
        attention_mask=batch.prompt_mask_BS[::samples],
        do_sample=True,
        top_k=0,
        num_return_sequences=samples,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
    )


def _logits(policy: Policy, batch: Batch) -> Any:
    start_B1 = torch.full_like(batch.tokens_BT[:, :1], policy.start_id)
    return policy.model(
        input_ids=batch.prompt_BS,
        attention_mask=batch.prompt_mask_BS,
        decoder_input_ids=torch.cat([start_B1, batch.tokens_BT[:, :-1]], dim=1),
        use_cache=False,
    ).logits


if __name__ == "__main__":
    main()
