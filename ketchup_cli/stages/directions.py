"""Rows told from last to first: which term learns them, and which rows they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ketchup_cli import corpora, objectives
from ketchup_cli.errors import DataError
from ketchup_cli.objectives import Term
from ketchup_cli.signals import Prefixes
from ketchup_cli.specs import DistillSpec
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Encoded
    from ketchup_cli.records import Example


def terms_of(spec: DistillSpec, inputs: Mapping[str, Input]) -> tuple[Term, ...]:
    """Return the loss; rows told from last to first get a term of their own where a teacher reads.

    A causal teacher has not seen such text, and what it says of it is noise: unless a term asks for
    `reversed` by name, they are learnt by `nll` alone.
    """
    terms = objectives.terms(spec.objective)
    named = any(term.prefixes == "reversed" for term in terms)
    asked = any(term.prefixes == "data" and term.needs.any_teacher for term in terms)
    if named or not asked:
        return terms
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    if any(example.reversed for example in examples):
        terms += objectives.terms([{"name": "nll", "prefixes": "reversed"}])
    return terms


def of_direction(encoded: Encoded, examples: Sequence[Example], prefixes: Prefixes) -> Encoded:
    """Return the rows told forward, or from last to first; positions stay, so caches still fit.

    Raises:
        DataError: there is none.
    """
    wanted = prefixes == "reversed"
    rows = tuple(row for row in encoded.rows if bool(examples[row.position].reversed) == wanted)
    if not rows:
        told = "from last to first" if wanted else "forward"
        raise DataError(
            f"no row of the corpus is told {told}", hint="ketchup reverse --corpus NAME"
        )
    return replace(encoded, rows=rows)
