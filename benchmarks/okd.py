"""What a teacher that learns costs: okd against an on-policy objective and against plain KL.

    python benchmarks/okd.py

All learn from a live teacher, update by update of the training loop, on batches of as many
completion tokens: `kl` and `okd` on references, `ketchup` on what the student samples first. The
sides take turns, one run of a few updates each. Plain KL is always the cheapest: it has no backward
pass through the teacher. What sampling costs depends on the length of the completions.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from readings import described
from subject import make_examples, make_policy

from ketchup_cli import objectives
from ketchup_cli.models.adapters import attach
from ketchup_cli.models.encode import Limits, collate, encode_prompts
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.models.trained_teacher import TrainedTeacher
from ketchup_cli.records import Example
from ketchup_cli.signals import Batch
from ketchup_cli.specs import RolloutSpec, TrainingSpec, ValidationSpec
from ketchup_cli.train.data import PromptSource, Source
from ketchup_cli.train.extras import Extra
from ketchup_cli.train.loop import train
from ketchup_cli.train.metrics import MetricsLog
from ketchup_cli.train.resume import Checkpoints
from ketchup_cli.train.rollouts import RolloutSource
from ketchup_cli.train.run import Run

SIDES: Mapping[str, Mapping[str, Any]] = {
    "kl": {"name": "kl"},
    "okd, lora": {"name": "okd", "module": "lora"},
    "okd, head": {"name": "okd", "module": "head"},
    "ketchup": {"name": "ketchup", "k": 4},
}
SAMPLES = 4
"""Completions of each prompt on the on-policy side."""

WARMUP = 1
"""Updates of every run that are not counted: the first one allocates."""


def main() -> None:
    """Print seconds an update of every side, and the ratios of okd to the two others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=18, help="length of every completion")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--updates", type=int, default=2, help="counted updates of a run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="for a machine that is shared")
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(given.repeats):
        for name, table in SIDES.items():
            times[name].append(seconds_an_update(table, given, clock))
    print(
        f"T5, vocabulary {given.vocabulary:,}: teacher 6+2 layers, student 2+1;"
        f" {given.sequences} completions of {given.tokens} tokens;"
        f" {torch.get_num_threads()} threads; {given.repeats} repeats"
    )
    print(f"median [smallest to largest], {'CPU' if given.cpu_time else 'wall-clock'} seconds")
    for name, found in times.items():
        print(f"{name:<12}{described(found)}")
    for name in ("okd, lora", "okd, head"):
        for other in ("kl", "ketchup"):
            ratio = _ratio(times[name], times[other])
            print(f"{name} / {other:<8}{ratio:.2f}")


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of runs that followed each other."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def seconds_an_update(
    table: Mapping[str, Any], given: argparse.Namespace, clock: Callable[[], float]
) -> float:
    """Return the mean time of an update of one run."""
    student = make_policy(vocabulary=given.vocabulary, layers=2, decoder_layers=1)
    teacher = make_policy(vocabulary=given.vocabulary)
    teacher.module.requires_grad_(False)
    (term,) = objectives.terms([table])
    speaker: Any = LiveTeacher(teacher)
    extras: tuple[Extra, ...] = ()
    part = term.objective.teacher_part
    if part is not None:
        adapter = attach(teacher, part, seed=0)
        speaker = TrainedTeacher(speaker, adapter)
        extras = (Extra(name="teacher", module=adapter.module, rate=part.rate),)
    ticks = Ticks(clock)
    with tempfile.TemporaryDirectory() as folder:
        train(
            Run(
                policy=student,
                terms=(term,),
                spec=TrainingSpec(
                    updates=WARMUP + given.updates,
                    dropout=0.0,
                    checkpoint_every=0,
                    validation=ValidationSpec(metric="loss", every=0),
                    device="cpu",
                ),
                sources={term.prefixes: source_of(student, term.prefixes, given)},
                teachers={term.prefixes: speaker},
                evaluate=lambda: {"loss": 1.0},
                checkpoints=Checkpoints(Path(folder) / "state"),
                log=MetricsLog(None),
                reporter=ticks,
                accelerator=Accelerator(cpu=True),
                extras=extras,
            )
        )
    return float(ticks.seen[-1] - ticks.seen[WARMUP - 1]) / int(given.updates)


class Ticks:
    """Notes when each update ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seen: list[float] = []
        self._clock = clock

    def note(self, label: str, text: str) -> None:
        """Ignore it."""
        del label, text

    def figures(self, line: Mapping[str, Any]) -> None:
        """Ignore it."""
        del line

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> "Ticks":
        """Be the progress too."""
        del label, total, unit, done
        return self

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        """Note the time."""
        del count, tokens
        self.seen.append(self._clock())

    def status(self, text: str) -> None:
        """Ignore it."""
        del text

    def __enter__(self) -> "Ticks":
        return self

    def __exit__(self, *error: object) -> None:
        return None


class Fixed:
    """References in batches of as many completions, the same ones over and over."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly."""
        return itertools.islice(itertools.cycle(self._batches), first, None, stride)


def source_of(student: Policy, prefixes: str, given: argparse.Namespace) -> Source:
    """Return batches of equal size: references, or what the student samples for the same prompts."""
    # every reference as long as what is sampled, the end token included
    reference = " ".join(["w9"] * (given.tokens - 1))
    examples = [
        Example(id=item.id, prompt=item.prompt, references=(reference,))
        for item in make_examples(4 * given.sequences, vocabulary=given.vocabulary)
    ]
    if prefixes == "student":
        rollout = RolloutSpec(
            prompts=given.sequences // SAMPLES,
            samples=SAMPLES,
            max_new_tokens=given.tokens,
            unfinished="terminal",
        )
        prompts = encode_prompts(student, examples, Limits(prompt=512)).rows
        sampled = PromptSource(prompts, prompts=rollout.prompts, seed=0)
        return RolloutSource(student, sampled, rollout=rollout, seed=0)
    rows = reference_rows(student, examples, Limits(prompt=512, completion=512)).rows
    groups = [
        rows[start : start + given.sequences] for start in range(0, len(rows), given.sequences)
    ]
    return Fixed([collate(group, pad_id=student.pad_id, source="data") for group in groups])


if __name__ == "__main__":
    main()
