"""From the spec of `judge` to the questions it asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import SpecError
from ketchup_cli.judging import calls as asking
from ketchup_cli.judging.aspects import Task, choose_aspects, choose_task
from ketchup_cli.judging.calls import Call, Form, Item
from ketchup_cli.judging.rating import RatingCall, rating_calls, rating_controls
from ketchup_cli.specs import JudgeSpec
from ketchup_cli.stages.judged_texts import items_of
from ketchup_cli.store.find import Input


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What is asked of every judge, controls last."""

    items: tuple[Item, ...]
    calls: tuple[Call | RatingCall, ...]

    @property
    def controls(self) -> int:
        """How many of the calls are controls."""
        return sum(call.control is not None for call in self.calls)


def questions(spec: JudgeSpec, inputs: Mapping[str, Input]) -> Questions:
    """Return every question of a judgement.

    Raises:
        SpecError: an aspect nobody defines, or several aspects read from one token.
        MismatchError: texts of another split.
    """
    if is_joint(spec) and spec.protocol == "logprob":
        raise SpecError(
            f"one token cannot answer for {len(spec.aspects)} aspects",
            hint="--aspect-mode separate, or --protocol auto",
        )
    items = asking.chosen(items_of(spec, inputs), spec.examples, seed=spec.seed)
    form = Form(
        task=task_of(spec).line,
        aspects=aspects_of(spec),
        characters=spec.max_characters,
        with_reference=spec.with_reference,
        repeats=spec.repeats,
        joint=is_joint(spec),
    )
    drawn = {"count": spec.controls, "seed": spec.seed}
    if spec.mode == "rating":
        rated_calls = rating_calls(items, spec.systems, form)
        spoilt = rating_controls(items, spec.systems, form, **drawn)
        return Questions(items=items, calls=(*rated_calls, *spoilt))
    real = asking.calls(items, spec.systems, form, against=spec.against)
    controls = asking.controls(items, spec.systems, form, **drawn)
    return Questions(items=items, calls=(*real, *controls))


def is_joint(spec: JudgeSpec) -> bool:
    """Return whether one call asks about several aspects."""
    return spec.aspect_mode == "joint" and len(spec.aspects) > 1


def task_of(spec: JudgeSpec) -> Task:
    """Return the task whose texts are judged.

    Raises:
        SpecError: no such task, or an own one without text.
    """
    if not spec.own_task.aspects:
        return choose_task(spec.task)
    return choose_task("", line=spec.own_task.line, aspects=spec.own_task.aspects)


def aspects_of(spec: JudgeSpec) -> Mapping[str, str]:
    """Return the definition of every aspect that is asked about, by name.

    Raises:
        SpecError: the task does not define it.
    """
    return choose_aspects(task_of(spec), spec.aspects, alone=spec.mode == "rating")
