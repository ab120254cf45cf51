"""The prompt as each model reads it, and the template it was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, final

from ketchup_cli.doctor.result import Check, failed, passed, warned
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example

NAME = "template"

SHOWN = 160
"""Characters of a rendered prompt that are shown."""

MARK = "ketchup"
"""Stands for a question where a chat template is looked at."""

FAMILY = (
    "ketchup corpus with the `template` the teacher was trained with, and --name for the new one"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """What the manifests say of templates; empty where they say nothing."""

    shown: str = ""
    """The corpus's, with its own field."""
    plain: str = ""
    """The same with `{prompt}`."""
    trained: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By role: the corpus a model was trained on, and the template of that."""


def template(
    teacher: Policy, student: Policy, examples: Sequence[Example], *, known: Templates
) -> Check:
    """Render the same examples for both models, and compare what they were trained with.

    Prompts are compared as ids: a tokenizer that adds a token of its own shows here and nowhere else.
    """
    apart = _first_apart(teacher, student, examples)
    rendered = _rendered(teacher, examples[0])
    if apart is not None:
        return failed(
            NAME,
            apart,
            "copy tokenizer.json and tokenizer_config.json of the teacher to the student",
            figures={"rendered": rendered},
        )
    told = [f"prompt of `{examples[0].id[:12]}` is {rendered!r:.{SHOWN}} for both"]
    trained = trained_with(known)
    told += trained.evidence
    if trained.status == "fail":
        return failed(NAME, told, FAMILY, figures={"rendered": rendered})
    chat = _chat(teacher.tokenizer)
    if chat is not None and not examples[0].prompt.startswith(chat[0]):
        told.append(f"the teacher's tokenizer has a chat template: {chat[0] + '…' + chat[1]!r}")
        remedy = "--set template='...' of ketchup corpus, with what stands around a question"
        return warned(NAME, told, remedy, figures={"rendered": rendered})
    brief = f'template "{known.shown}" on both' if known.shown else "prompts alike"
    return passed(NAME, told, brief=brief, figures={"rendered": rendered})


def trained_with(known: Templates) -> Check:
    """Compare the corpus's template with those the models were trained with; reads no model."""
    told = [f'template "{known.shown}" of the corpus'] if known.shown else []
    for role, (label, other) in known.trained.items():
        if known.plain and other != known.plain:
            told.append(f'the {role} was trained on `{label}`, whose template is "{other}"')
            return failed(NAME, told, FAMILY)
        told.append(f"the same as in `{label}`, which the {role} was trained on")
    return passed(NAME, told, brief=f'template "{known.shown}"' if known.shown else "")


def _rendered(policy: Policy, example: Example) -> str:
    """Return a prompt as the model reads it, special tokens shown."""
    (ids,) = policy.prompt_ids([example.prompt])
    text: str = policy.tokenizer.decode(ids, skip_special_tokens=False)
    return text


def _first_apart(teacher: Policy, student: Policy, examples: Sequence[Example]) -> list[str] | None:
    """Return the first example that the models read as other ids, in words."""
    prompts = [example.prompt for example in examples]
    texts = [example.references[0] if example.references else "" for example in examples]
    for what, ours, theirs in (
        ("prompt", teacher.prompt_ids(prompts), student.prompt_ids(prompts)),
        ("reference", teacher.completion_ids(texts), student.completion_ids(texts)),
    ):
        for example, mine, yours in zip(examples, ours, theirs, strict=True):
            if mine != yours:
                place = _place(mine, yours)
                return [
                    f"{what} of `{example.id[:12]}` differs from token {place} on",
                    f"teacher {_ids(teacher, mine, place)}",
                    f"student {_ids(student, yours, place)}",
                ]
    return None


def _place(one: Sequence[int], other: Sequence[int]) -> int:
    return next(n for n, (a, b) in enumerate(zip_longest(one, other)) if a != b)


def _ids(policy: Policy, ids: Sequence[int], place: int) -> str:
    """Return the ids around a place, with their tokens."""
    start = max(0, place - 2)
    few = list(ids[start : place + 4])
    tokens = " ".join(policy.tokenizer.convert_ids_to_tokens(few))
    return f"{'… ' if start else ''}{few} {tokens!r}, {len(ids)} in all"


def _chat(tokenizer: Any) -> tuple[str, str] | None:
    """Return what a tokenizer's chat template puts before and after a question; None without one."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    asked = [{"role": "user", "content": MARK}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    before, _, after = str(text).rpartition(MARK)
    return before, after
