"""What a student learns from, as rows: references, teachers' text of either direction, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ketchup_cli import corpora
from ketchup_cli.objectives import Term
from ketchup_cli.records import Example, Generation
from ketchup_cli.signals import NEW_TEXT
from ketchup_cli.specs import DistillSpec
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Encoded
    from ketchup_cli.models.policy import Policy


def encoded_rows(
    spec: DistillSpec,
    terms: Sequence[Term],
    inputs: Mapping[str, Input],
    *,
    student: Policy,
    examples: Sequence[Example],
) -> Encoded:
    """Return what terms of one kind learn from: references, pseudo-targets, or prompts alone.

    Raises:
        SpecError: pseudo-targets that are not for these terms.
        DataError: rows too long, or without what is needed of them.
        MismatchError: pseudo-targets of another corpus or tokenizer.
    """
    from ketchup_cli.models.encode import Limits, encode_prompts
    from ketchup_cli.models.sources import (
        joined,
        of_examples,
        pseudo_prompt_rows,
        pseudo_target_rows,
        reference_rows,
    )
    from ketchup_cli.stages import training

    (prefixes,) = {term.prefixes for term in terms}
    if prefixes in NEW_TEXT:
        examples = [example for example in examples if not example.reversed]
    if prefixes == "student":
        limit = Limits(prompt=spec.max_prompt_tokens, too_long=spec.too_long)
        return encode_prompts(student, examples, limit)
    limits = training.limits(spec)
    if prefixes in {"data", "reversed"}:
        return reference_rows(student, examples, limits)
    if prefixes == "extra":
        others = corpora.read_split(inputs["extra-corpus"].path, spec.split)
        return reference_rows(student, others, limits)
    folder = inputs["pseudo-targets"].path
    if prefixes == "pairs" or any(term.needs.any_teacher for term in terms):
        generations = corpora.read_pseudo_targets(folder)
        prompts: list[Generation] = []
    else:
        generations, prompts = corpora.read_both_directions(folder)
    if spec.examples:
        generations, prompts = of_examples(generations, examples), of_examples(prompts, examples)
    return joined(
        pseudo_target_rows(student, examples, generations, limits),
        pseudo_prompt_rows(student, examples, prompts, limits),
    )
