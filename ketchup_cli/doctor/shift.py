"""The shift: does the logit at step t predict the token at step t?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from ketchup_cli.doctor.result import Check, failed, not_checked, passed, warned
from ketchup_cli.doctor.scoring import mean, score
from ketchup_cli.models.encode import Row
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.models.policy import Policy
from ketchup_cli.specs import DecodingSpec

NAME = "shift"

TOKENS = 32
"""Longest text that is written: a shift shows in the first few."""

LEAST_SHARE = 0.9
"""Share of its own greedy tokens a teacher must find likeliest again. It is 1 but for ties that
rounding breaks; off by one step, no more of them agree than the text repeats itself."""

FAR = 0.5
"""Loss on its own text, as a share of that on shuffled text, up to which a teacher tells order from
noise. A step off, the two losses are of one size."""


def shift(policy: Policy, prompts: Sequence[Row]) -> Check:
    """Let a teacher write greedily, and hold the loss of its text against that of shuffled text.

    The text is written by `generate` of transformers, one token at a time and without our shift; the
    losses are taken in one pass, with it.
    """
    decoding = DecodingSpec(method="greedy", max_new_tokens=TOKENS)
    texts = generate(policy, prompts, decoding, seed=0, tokens_per_batch=2000)
    # a forced first token is nobody's choice
    forced = getattr(policy.model.generation_config, "forced_bos_token_id", None) is not None
    rows = [
        replace(row, completion=text.tokens)
        for row, text in zip(prompts, texts, strict=True)
        if len(text.tokens) > 2 + forced
    ]
    if not rows:
        return not_checked(NAME, "the teacher's greedy texts have no two tokens: nothing to shift")
    shuffled = [_shuffled(row, keep=int(forced)) for row in rows]
    own, noise = (score(policy, items, skip=int(forced)) for items in (rows, shuffled))
    ended = sum(text.stop == "eos" for text in texts)
    figures = {
        "own_loss": mean([item.loss for item in own]),
        "shuffled_loss": mean([item.loss for item in noise]),
        "likeliest_share": mean([item.likeliest for item in own]),
        "texts": len(rows),
        "ended": ended,
    }
    return _judged(figures, constant=2 * sum(map(_is_constant, rows)) > len(rows))


def _judged(figures: dict[str, float], *, constant: bool) -> Check:
    own, noise = figures["own_loss"], figures["shuffled_loss"]
    told = [
        f"the teacher's loss is {own:.3f} on its own greedy text and {noise:.3f} on the same text"
        " shuffled (nats a token)",
        f"{figures['likeliest_share']:.0%} of its own tokens are its first choice again;"
        f" {figures['ended']} of the texts ended within {TOKENS} tokens",
    ]
    if constant:
        told.append("most of these texts are one token again and again, which no shift changes")
        return warned(NAME, told, "train the teacher first: ketchup train", figures=figures)
    if figures["likeliest_share"] < LEAST_SHARE:
        return failed(
            NAME,
            told,
            "logits and tokens are a step apart: compare the model's `forward` with its `generate`,"
            " and use a family `ketchup` knows (t5, bart, marian, gpt2, llama)",
            figures=figures,
        )
    if own > FAR * noise:
        told.append(f"aligned, but above {FAR:g} of the other: it hardly tells order from noise")
        return warned(NAME, told, "train the teacher first: ketchup train", figures=figures)
    return passed(NAME, told, brief=f"shift {own:.2f} < {noise:.2f}", figures=figures)


def _is_constant(row: Row) -> bool:
    return len(set(row.completion[:-1])) == 1


def _shuffled(row: Row, *, keep: int) -> Row:
    """Return a row with its tokens in another order; the first `keep` and the last stay."""
    inner = list(row.completion[keep:-1])
    random.Random(row.id).shuffle(inner)
    if tuple(inner) == row.completion[keep:-1]:
        inner = inner[1:] + inner[:1]
    return replace(row, completion=(*row.completion[:keep], *inner, row.completion[-1]))
