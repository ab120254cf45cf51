"""Rows of the output layer that no token of the tokenizer stands for."""

from __future__ import annotations

import torch

from ketchup_cli.doctor.result import Check, failed, passed
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch

NAME = "vocabulary rows"

MOST_MASS = 1e-3
"""Probability on padded rows beyond which they are no padding: rows that were never trained on get
less from a trained model, and what is taken off the others by it would be seen in the third digit."""


def rows(teacher: Policy, student: Policy, batch: Batch | None) -> Check:
    """Count the padded rows of both models, and weigh the teacher's on real text.

    They are dropped before any softmax, so their number does no harm, nor that the two models have
    different numbers of them; a teacher that gives them probability was trained with another
    tokenizer.
    """
    counts = {role: _rows(policy) for role, policy in (("teacher", teacher), ("student", student))}
    size = teacher.vocabulary
    figures: dict[str, float] = {**counts, "tokens": size}
    told = (
        f"{counts['teacher']:,} rows in the teacher and {counts['student']:,} in the student for"
        f" {size:,} tokens"
    )
    brief = f"{size:,} tokens"
    extra = counts["teacher"] - size
    if not extra:
        padded = counts["student"] - student.vocabulary
        more = f"; the student's {padded:,} more are dropped before any softmax" if padded else ""
        return passed(NAME, told + more, brief=brief, figures=figures)
    if batch is None:
        return passed(NAME, f"{told}; the others are dropped", brief=brief, figures=figures)
    mass = padded_mass(teacher, batch)
    figures["padded_mass"] = mass
    told += f"; the teacher's {extra:,} more have {mass:.2g} of its probability on average"
    if mass <= MOST_MASS:
        return passed(
            NAME, f"{told}, and are dropped before any softmax", brief=brief, figures=figures
        )
    return failed(
        NAME,
        [told, f"at most {MOST_MASS:g} is left to rows that are padding alone"],
        "put the tokenizer the teacher was trained with beside its weights, added tokens included",
        figures=figures,
    )


def _rows(policy: Policy) -> int:
    return int(policy.model.get_output_embeddings().weight.shape[0])


@torch.no_grad()
def padded_mass(policy: Policy, batch: Batch) -> float:
    """Return the mean probability of the rows beyond the tokenizer, over a batch's tokens."""
    hidden_NH = policy.hidden(batch)[batch.mask_BT.bool()]
    logits_NR = policy.module.head(hidden_NH.float()).float()
    mass_N = logits_NR.softmax(dim=-1)[:, policy.vocabulary :].sum(dim=-1)
    return float(mass_N.mean())
