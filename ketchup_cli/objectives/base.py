"""What every objective is, and a term of a loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, final

from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.signals import Inputs, Loss, Needs, Prefixes, TeacherSignal

Given = TypeVar("Given")


class Objective(ABC):
    """A loss for the student, unreduced; its fields are its hyper-parameters.

    A subclass is a frozen dataclass with a docstring under each field, the one final class of its
    file. It sees `Inputs` and nothing else, asks for what it reads there in `needs`, sends
    gradients to the student only, and leaves its inputs as they are.

    `presets` holds settings of `ketchup distill` that go with the objective, by preset; the user's
    own win over them. The table `objective` inside a preset sets fields of the objective itself.

    Example: `Nll(label_smoothing=0.1)(inputs)` is a `TokenLoss`.
    """

    __slots__ = ()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """Return what must be brought; it may depend on the fields."""

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
