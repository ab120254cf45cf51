"""What a judge is asked to judge: aspects with their definitions, and a line for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

from ketchup_cli.errors import SpecError
from ketchup_cli.spec import unknown


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A kind of task: the line a judge reads, and its aspects' definitions by name."""

    line: str
    aspects: Mapping[str, str]
    alone: Mapping[str, str] = field(default_factory=dict)
    """Definitions that read otherwise where one text is rated by itself."""


TASKS: Mapping[str, Task] = MappingProxyType({
    "summary": Task(
        line="Write a short summary of the source text.",
        aspects=MappingProxyType({
            "quality": "Overall, which text would a careful reader rather be given for this task?",
            "informativeness": (
                "Covers what matters in the source, and adds nothing the source does not support."
            ),
            "coherence": "Reads as one connected text in good order, without breaks or repeats.",
        }),
        alone=MappingProxyType({
            "quality": "How gladly would a careful reader be given this text for this task, overall?",
        }),
    ),
    "translation": Task(
        line="Translate the source text.",
        aspects=MappingProxyType({
            "quality": "Overall, which text would a careful reader rather be given for this task?",
            "informativeness": (
                "Says all that the source says and nothing else: no omission, no addition, no"
                " wrong meaning."
            ),
            "coherence": "Reads as fluent, correct text that somebody would write in that language.",
        }),
        alone=MappingProxyType({
            "quality": "How gladly would a careful reader be given this text for this task, overall?",
        }),
    ),
    "reasoning": Task(
        line="Solve the problem in the source text, step by step.",
        aspects=MappingProxyType({
            "quality": "Overall, which solution would a careful teacher rather be given?",
            "informativeness": "Holds every step that is needed, each of them correct.",
            "coherence": "Steps follow from each other in a clear order and lead to the answer.",
        }),
        alone=MappingProxyType({
            "quality": "How gladly would a careful teacher be given this solution, overall?",
        }),
    ),
})
"""Own wording; the text is part of every request, and so of every key of the response cache."""


def choose_task(name: str, *, line: str = "", aspects: Mapping[str, str] | None = None) -> Task:
    """Return a task by name, or one of a person's own.

    Args:
        name: of `TASKS`; not looked at where `aspects` is given.
        line: what a judge reads of an own task.
        aspects: definition by name of an own task.

    Raises:
        SpecError: no such task, or an own one without text.
    """
    if aspects is not None:
        for text, what in (
            (line, "`line`"),
            *((text, f"aspect `{key}`") for key, text in aspects.items()),
        ):
            if not text.strip():
                raise SpecError(
                    f"{what} of the task has no text",
                    hint='line = "Write a headline." and [aspects] quality = "Which is better?"',
                )
        return Task(line=line, aspects=MappingProxyType({**aspects}))
    if name not in TASKS:
        raise unknown("a task of the judge", name, list(TASKS), hint="--set task=summary")
    return TASKS[name]


def choose_aspects(task: Task, names: tuple[str, ...], *, alone: bool = False) -> Mapping[str, str]:
    """Return the definitions of these aspects, in this order.

    Args:
        task: that defines them.
        names: which are asked about.
        alone: whether one text is rated by itself.

    Raises:
        SpecError: an aspect the task does not define, one named twice, or none.
    """
    if not names or len(set(names)) != len(names):
        raise SpecError(
            f"aspects are `{','.join(names)}`: at least one is needed, and each once",
            hint="--aspects quality,informativeness,coherence",
        )
    for name in names:
        if name not in task.aspects:
            raise unknown(
                "an aspect of this task",
                name,
                list(task.aspects),
                hint="--aspects-file FILE defines your own",
            )
    defined = {**task.aspects, **task.alone} if alone else task.aspects
    return {name: defined[name] for name in names}
