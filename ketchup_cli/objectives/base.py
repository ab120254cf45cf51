"""What every objective is, and a term of a loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, final

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.signals import (
    NEW_TEXT,
    TEACHER_TEXT,
    Inputs,
    Loss,
    Needs,
    Part,
    Prefixes,
    Sizes,
    TeacherPart,
    TeacherSignal,
)

if TYPE_CHECKING:
    from torch import Tensor

Tail = Literal["bucket", "renormalise"]
"""What the mass outside a truncated teacher's entries is taken for: one more token, or nothing."""

LIVE_SAMPLES: Mapping[str, Any] = {
    "updates": 400,
    "dropout": 0.0,
    "checkpoint_every": 50,
    "optimizer": {"learning_rate": 1e-4, "warmup": 20},
    "rollout": {"prompts": 96, "samples": 1},
    "validation": {"every": 50},
}
"""Settings that go with a divergence on completions the student writes while it learns."""

Given = TypeVar("Given")


class Objective(ABC):
    """A loss for the student, unreduced; its fields are its hyper-parameters.

    A subclass is a frozen dataclass with a docstring under each field, the one final class of its
    file. It sees `Inputs` and nothing else, asks for what it reads there in `needs`, sends
    gradients to the student only, and leaves its inputs as they are.

    `presets` holds settings of `ketchup distill` that go with the objective, by preset; the user's
    own win over them. The table `objective` inside a preset sets fields of the objective itself, the
    list `beside` holds further terms of the loss, for where the user names no mix.

    Example: `Nll(label_smoothing=0.1)(inputs)` is a `TokenLoss`.
    """

    __slots__ = ()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}

    fits: ClassVar[Mapping[str, str]] = {}
    """What it can work from (`stats`, `top`, `sampled`, `hidden`, `dense`), and what is then lost:
    `exact`, or a bound."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """Return what must be brought; it may depend on the fields."""

    @property
    def shares(self) -> Mapping[Prefixes, float]:
        """Return whose completions it learns from where the spec does not say, and how much.

        Each share becomes a term of its own; `inputs.batch.source` tells it where it stands.
        """
        return {self.needs.prefixes[0]: 1.0}

    def parts(self, sizes: Sizes) -> Mapping[str, Part]:
        """Return the learnable tensors it brings along, by name; they come as `inputs.parts`."""
        del sizes
        return {}

    @property
    def teacher_part(self) -> TeacherPart | None:
        """Return what it trains of the teacher, where `needs.trainable_teacher` says it does."""
        return None

    @abstractmethod
    def __call__(self, inputs: Inputs) -> Loss:
        """Return the loss of a batch, unreduced."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One objective in a mix: its weight, and whose completions it learns from."""

    name: str
    weight: float
    prefixes: Prefixes
    objective: Objective

    @property
    def needs(self) -> Needs:
        """Return what the objective needs."""
        return self.objective.needs

    @property
    def new_text(self) -> bool:
        """Return whether some completions are written while the student learns."""
        return self.prefixes in NEW_TEXT

    @property
    def teacher_text(self) -> bool:
        """Return whether some completions are pseudo-targets."""
        return self.prefixes in TEACHER_TEXT


def check_range(name: str, value: float, *, low: float, high: float = math.inf) -> None:
    """Refuse a field that is not a number from `low` to `high`, both included.

    Raises:
        SpecError: with the field, its value and the range.
    """
    if not low <= value <= high or math.isinf(value):
        upper = "" if math.isinf(high) else f" and at most {high:g}"
        raise SpecError(
            f"`{name}` is {value:g}; it must be at least {low:g}{upper}",
            hint=f"--set objective.{name}={low:g}",
        )


def compare(
    inputs: Inputs,
    measure: Callable[..., Any],
    *,
    temperature: float = 1.0,
    tail: Tail = "bucket",
    beside: Sequence[Tensor] = (),
) -> tuple[Tensor, ...]:
    """Return what a measure says of teacher and student at every step, 0 on padding.

    All of the teacher's logits are read block by block where they can be had; from its top entries
    both distributions are compared on the kept entries and one for the tail.

    Args:
        inputs: with a teacher.
        measure: from teacher's and student's logits, [1, n, V], what stands beside them, [1, n],
            and `temperature` to [1, n], or a tuple of such; the first carries the gradient.
        temperature: divides both sets of logits.
        tail: the rule for what a truncated teacher leaves open, "bucket" or "renormalise".
        beside: [B, T] further numbers of each step; no gradient reaches them.

    Returns:
        [B, T] tensors, as many as the measure gives.

    Raises:
        MismatchError: the teacher gives neither, or its tail is for another temperature.
    """
    teacher, logits_BTV = teacher_of(inputs), inputs.student.logits_BTV
    mask_BT = inputs.batch.mask_BT
    if teacher.dense is not None:
        at_temperature = partial(measure, temperature=temperature)
        return F.at_steps(at_temperature, teacher.dense, logits_BTV, mask_BT, beside=beside)
    if teacher.temperature != temperature:
        raise MismatchError(
            f"the teacher's tail is for temperature {teacher.temperature:g}; the objective asks"
            f" for {temperature:g}"
        )
    top = given(teacher.top, "teacher.top")
    view = partial(F.bucketed, tail=tail, temperature=temperature)
    return F.at_top(measure, top, logits_BTV, mask_BT, view=view, beside=beside)


def teacher_of(inputs: Inputs) -> TeacherSignal:
    """Return the teacher's signal.

    Raises:
        MismatchError: there is none.
    """
    return given(inputs.teacher, "teacher")


def given(value: Given | None, name: str) -> Given:
    """Return `value`, which the objective asked for.

    Raises:
        MismatchError: it was not brought.
    """
    if value is None:
        raise MismatchError(f"the objective asked for `{name}` and was not given it")
    return value
