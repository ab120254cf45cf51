"""Whose completions a model is trained on or scored on, as rows: references and pseudo-targets.

A row's `position` counts examples of the split, or lines of `pseudo-targets.jsonl`, from 0. Caches
are read back by it, so whoever makes rows for training makes them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ketchup_cli.errors import DataError, MismatchError
from ketchup_cli.models.encode import Encoded, Limits, encode_pairs
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example, Generation


def reference_rows(policy: Policy, examples: Sequence[Example], limits: Limits) -> Encoded:
    """Return every example with its first reference as a row.

    Raises:
        DataError: an example has no reference, or a row is longer than allowed and `too_long` is
            "error".
        MismatchError: texts from last to first for a model that reads the prompt apart.
    """
    if policy.kind == "encoder-decoder" and any(example.reversed for example in examples):
        raise MismatchError(
            "the corpus tells texts from last to first, which is for causal models; this one has an"
            " encoder",
            hint="--corpus with the name of the corpus it was made from",
        )
    for example in examples:
        if not example.references:
            raise DataError(
                f"example `{example.id[:12]}` has no reference",
                hint="import the corpus with its references, or use pseudo-targets: ketchup seqkd",
            )
    return encode_pairs(policy, examples, [example.references[0] for example in examples], limits)


def of_examples(generations: Sequence[Generation], examples: Sequence[Example]) -> list[Generation]:
    """Return the generations that answer one of these examples, in their own order."""
    wanted = {example.id for example in examples}
    return [generation for generation in generations if generation.id in wanted]


def pseudo_target_rows(
    policy: Policy,
    examples: Sequence[Example],
    generations: Sequence[Generation],
    limits: Limits,
) -> Encoded:
    """Return every generation as a row: its own token ids after its example's prompt.

    The ids are taken as they are. A text that ended by itself carries its end token already; one
    that was cut has none, and gets none.

    Raises:
        DataError: a generation is empty, or a row is longer than allowed and `too_long` is "error".
        MismatchError: a generation belongs to no example, or to another tokenizer.
    """
    by_id = {example.id: example for example in examples}
    for generation in generations:
        if generation.id not in by_id:
            raise MismatchError(
                f"pseudo-target `{generation.id[:12]}` belongs to no example of this split",
                hint="name the corpus and the split it was made from",
            )
        _check_ids(policy, generation)
    return encode_pairs(
        policy,
        [by_id[generation.id] for generation in generations],
        [generation.tokens for generation in generations],
        limits,
    )


def pseudo_prompt_rows(
    policy: Policy,
    examples: Sequence[Example],
    generations: Sequence[Generation],
    limits: Limits,
) -> Encoded:
    """Return every generation as a row: the text as the prompt of its example's first reference.

    Raises:
        DataError: a row is longer than allowed and `too_long` is "error".
        MismatchError: a generation belongs to no example.
    """
    by_id = {example.id: example for example in examples}
    pairs: list[Example] = []
    for generation in generations:
        if generation.id not in by_id:
            raise MismatchError(
                f"pseudo-prompt `{generation.id[:12]}` belongs to no example of this split",
                hint="name the corpus and the split it was made from",
            )
        references = by_id[generation.id].references
        pairs.append(Example(id=generation.id, prompt=generation.text, references=references))
    return reference_rows(policy, pairs, limits)


def joined(first: Encoded, then: Encoded) -> Encoded:
    """Return the rows of both; positions of the second go on where those of the first end."""
    start = max((row.position for row in first.rows), default=-1) + 1
    moved = (replace(row, position=start + row.position) for row in then.rows)
    return Encoded(
        rows=(*first.rows, *moved),
        truncated=first.truncated + then.truncated,
        skipped=first.skipped + then.skipped,
    )


def _check_ids(policy: Policy, generation: Generation) -> None:
    if not generation.tokens:
        raise DataError(
            f"pseudo-target `{generation.id[:12]}` has no tokens",
            hint="make them again: ketchup seqkd",
        )
    ended = generation.tokens[-1] == policy.eos_id
    inside = 0 <= min(generation.tokens) <= max(generation.tokens) < policy.vocabulary
    if not inside or (generation.stop == "eos" and not ended):
        raise MismatchError(
            f"pseudo-target `{generation.id[:12]}` has ids that another tokenizer gave",
            hint="use pseudo-targets of a teacher of the same family",
        )
