"""All estimators on all batches: one forward pass a batch, one backward pass an estimator."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.lab.estimators import Estimator, merged_needs
from ketchup_cli.lab.gradients import gradients
from ketchup_cli.lab.moments import Moments
from ketchup_cli.signals import Batch, Inputs, Needs
from ketchup_cli.train.loop import student_signal

if TYPE_CHECKING:
    from ketchup_cli.lab.resume import Kept
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import Teacher
    from ketchup_cli.reporting import Progress


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A student, its teacher, and the estimators that are measured on them.

    Example: `bench.measure(batches, bench.moments(8), kept=kept, progress=progress)`.
    """

    student: Policy
    teacher: Teacher
    estimators: tuple[Estimator, ...]
    parameters: Mapping[str, Tensor]
    counts: tuple[float, float]
    """Tokens and completions that the sums of a loss are divided by."""

    def moments(self, groups: int) -> dict[str, Moments]:
        """Return moments of every estimator, by label, that have counted nothing."""
        like_P = torch.cat([value.detach().flatten() for value in self.parameters.values()])
        return {item.label: Moments(groups, like_P) for item in self.estimators}

    def measure(
        self,
        batches: Sequence[Batch],
        moments: Mapping[str, Moments],
        *,
        kept: Kept,
        progress: Progress,
    ) -> None:
        """Count the gradients of all batches that are not counted yet, and keep every sum.

        Raises:
            NonFiniteError: a gradient is not finite.
        """
        needs = merged_needs(self.estimators)
        ordered = references_first(self.estimators)
        any_of = next(iter(moments.values()))
        for number, batch in enumerate(batches):
            if any_of.counted:
                for own in moments.values():
                    own.skip()
                continue
            inputs = self._inputs(batch, needs)
            add(moments, gradients(inputs, ordered, self.parameters, counts=self.counts))
            kept.put_group(number % len(any_of.sizes_G), moments)
            progress.advance(1, tokens=int(batch.mask_BT.sum()))

    def time_alone(self, batches: Sequence[Batch], *, progress: Progress) -> dict[str, float]:
        """Return the median seconds of an update, its samples and its optimiser's step apart.

        Both models forward, with what this estimator alone needs, the loss, and one backward pass,
        by `clock_of` the device. Nothing where there are no batches.
        """
        clock, _ = clock_of(self.student.device)
        found: dict[str, float] = {}
        for estimator in self.estimators if batches else ():
            seconds = []
            for batch in batches:
                began = clock()
                inputs = self._inputs(batch, estimator.objective.needs)
                for _ in gradients(inputs, [estimator], self.parameters, counts=self.counts):
                    pass
                seconds.append(clock() - began)
            found[estimator.label] = statistics.median(seconds)
            progress.advance(1)
        return found

    def _inputs(self, batch: Batch, needs: Needs) -> Inputs:
        student = student_signal(self.student, batch)
        teacher = None
        if needs.any_teacher:
            teacher = self.teacher.signal(batch, needs, student)
        return F.own_steps(Inputs(batch=batch, student=student, teacher=teacher))


def clock_of(device: torch.device) -> tuple[Callable[[], float], str]:
    """Return the clock that times of estimators are read off, and its name.

    On a CPU it is the time all threads of this process worked, which other work on the machine
    leaves nearly alone; an accelerator works while the processor waits, so there it is the wall's.
    """
    if device.type == "cpu":
        return time.process_time, "CPU time, all threads"
    return time.perf_counter, "time by the clock"


def references_first(estimators: Sequence[Estimator]) -> list[Estimator]:
    """Return the estimators, those that others are held against before the others."""
    return sorted(estimators, key=lambda item: item.label != item.reference)


def add(moments: Mapping[str, Moments], found: Iterable[tuple[Estimator, Tensor]]) -> None:
    """Count the gradients of one batch, references first; those of others are let go at once."""
    references: dict[str, Tensor] = {}
    for estimator, gradient_P in found:
        if estimator.reference == estimator.label:
            references[estimator.label] = gradient_P
        moments[estimator.label].add(gradient_P, references[estimator.reference])
