"""Teacher text: as many lines as were written, in the order of the corpus, each the text of its ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ketchup_cli.doctor.origins import manifest_of, other_author
from ketchup_cli.doctor.result import Check, failed, passed, warned
from ketchup_cli.doctor.scoring import spread
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example, Generation
from ketchup_cli.store.artifact import Input

COUNT, TEXT, WRITER, PAIRS = (
    "pseudo-target count",
    "pseudo-target text",
    "pseudo-target writer",
    "pseudo-target pairs",
)

AGAIN = "ketchup seqkd"


def count_and_order(
    made: Input, generations: Sequence[Generation], examples: Sequence[Example]
) -> Check:
    """Count the lines, find the example each belongs to, and hold their order against the corpus's."""
    places = {example.id: number for number, example in enumerate(examples)}
    manifest = manifest_of(made.path)
    written = None if manifest is None else manifest.summary.get("kept")
    figures = {"lines": len(generations), "written": written, "examples": len(examples)}
    told = f"{len(generations):,} texts for {len({g.id for g in generations}):,} of {len(examples):,} examples"
    if written is not None and written != len(generations):
        more = f"{told}; `{made.label}` says that {written:,} were written"
        return failed(COUNT, more, AGAIN, figures=figures)
    strangers = [n for n, generation in enumerate(generations) if generation.id not in places]
    if strangers:
        first = strangers[0]
        more = (
            f"{len(strangers):,} of them belong to no example of this split, line {first + 1:,}"
            f" (`{generations[first].id[:12]}`) first"
        )
        remedy = "--corpus with the one they were made from, or `ketchup seqkd` on this one"
        return failed(COUNT, [told, more], remedy, figures=figures)
    order = [(places[generation.id], generation.sample) for generation in generations]
    for number, (before, after) in enumerate(pairwise(order), start=1):
        if after <= before:
            more = (
                f"line {number:,} answers row {before[0] + 1:,} of the corpus and line {number + 1:,}"
                f" row {after[0] + 1:,}: the lines were moved"
            )
            return failed(COUNT, [told, more], AGAIN, figures=figures)
    return passed(COUNT, f"{told}, in its order", figures=figures)


def text_of_tokens(policy: Policy, generations: Sequence[Generation]) -> Check:
    """Decode the ids of a few lines and compare them with the text beside them."""
    chosen = [generations[number] for number in spread(len(generations))]
    inside = [g for g in chosen if max(g.tokens, default=0) < policy.vocabulary]
    decoded = policy.decode([generation.tokens for generation in inside])
    figures = {"rows": len(chosen), "unknown_ids": len(chosen) - len(inside)}
    if len(inside) < len(chosen):
        told = f"{len(chosen) - len(inside)} of {len(chosen)} lines hold ids beyond the vocabulary"
        return failed(TEXT, told, AGAIN, figures=figures)
    first = next((g for g in chosen if g.tokens and g.tokens[0] == policy.start_id), None)
    if first is not None and policy.start_id != policy.eos_id:
        token = policy.tokenizer.convert_ids_to_tokens(policy.start_id)
        told = (
            f"`{first.id[:12]}` begins with the decoder's start {policy.start_id} {token!r}: every token"
            " would be learned one step late"
        )
        return failed(TEXT, told, AGAIN, figures=figures)
    for generation, text in zip(chosen, decoded, strict=True):
        if text != generation.text.strip():
            told = (
                f"`{generation.id[:12]}` sample {generation.sample} says {generation.text!r:.80}; its"
                f" ids are {text!r:.80}"
            )
            return failed(TEXT, told, f"{AGAIN}, with this teacher's tokenizer", figures=figures)
    return passed(TEXT, f"ids and text agree in {len(chosen)} lines", figures=figures)


def writer(made: Input, teacher: Input) -> Check:
    """Say whether the text is this teacher's own."""
    other = other_author(made, teacher)
    if other is None:
        return passed(WRITER, f"nothing says that another teacher than `{teacher.label}` wrote it")
    return warned(
        WRITER,
        f"`{made.label}` was written by `{other}`; the teacher here is `{teacher.label}`",
        f"{AGAIN}, where an objective takes it for this teacher's own text",
    )
