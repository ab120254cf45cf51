"""`ketchup check-grads`: does every loss have the gradient of its value?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.console import print_json, print_result, table_lines
from ketchup_cli.cli.request import SCHEMA_VERSION

if TYPE_CHECKING:
    from ketchup_cli.axioms.checks import Finding

CHECK_FAILED = 3
"""As `verify` leaves where it found something."""

NameArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="One objective; none means all.")
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Which random point.")]
CombinationsOption = Annotated[
    bool,
    typer.Option("--combinations", help="Every combination of words, in place of each alone."),
]


def check_grads(
    name: NameArgument = None,
    seed: SeedOption = 0,
    combinations: CombinationsOption = False,
    json: o.InspectJsonOption = False,
) -> int:
    """Hold losses against the axioms of a gradient.

    Every objective, with each preset, each choice of a word and each number that may be 0, on all
    completions it learns from, early in a run and late, at a random point in float64: RD.1 (a sum),
    RD.2 (linear in what comes back), RD.5 (the chain rule at the seam of student and loss), and
    adjoint, which compares the gradient with differences of the value while what the loss detaches is
    held still. Numbers are relative errors. Leaves with 3 where one is too large.
    """
    from ketchup_cli.axioms.checks import AXIOMS, examine
    from ketchup_cli.axioms.subjects import subjects

    tried = subjects(name, seed=seed, combined=combinations)
    found = {subject.name: tuple(examine(subject)) for subject in tried}
    failed = [finding for row in found.values() for finding in row if not finding.holds]
    if json:
        print_json({
            "schema_version": SCHEMA_VERSION,
            "passed": not failed,
            "seed": seed,
            "findings": [_as_json(finding) for row in found.values() for finding in row],
        })
        return CHECK_FAILED if failed else 0
    rows = [
        (title, *(f"{finding.error:.0e}" for finding in row), _verdict(row))
        for title, row in found.items()
    ]
    for line in table_lines(("loss", *AXIOMS, ""), rows):
        print_result(line)
    print_result(f"{len(found)} losses, {len(failed)} findings above tolerance")
    return CHECK_FAILED if failed else 0


def _verdict(row: Sequence[Finding]) -> str:
    failed = [finding.axiom for finding in row if not finding.holds]
    return f"fails {', '.join(failed)}" if failed else "holds"


def _as_json(finding: Finding) -> dict[str, object]:
    # JSON has no NaN: what was not finite is null, and does not hold
    finite = finding.error == finding.error
    return {
        "loss": finding.subject,
        "axiom": finding.axiom,
        "error": finding.error if finite else None,
        "tolerance": finding.tolerance,
        "holds": finding.holds,
    }


COMMANDS: o.Commands = (("check-grads", check_grads, "ketchup check-grads kl"),)
