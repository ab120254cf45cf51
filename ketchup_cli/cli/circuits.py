"""`ketchup distill --objective circuits`: another stage behind the same command."""

from collections.abc import Mapping
from pathlib import Path

from ketchup_cli.cli.commands import run_stage
from ketchup_cli.cli.request import Common
from ketchup_cli.errors import SpecError

HINT = "ketchup distill --objective circuits --decisions FILE"


def distill_decisions(
    decisions: Path | None,
    shared: Common,
    *,
    objective: str | None,
    others: Mapping[str, object],
) -> None:
    """Run the stage, or say what of the command line does not go with it.

    Raises:
        SpecError: decisions without the objective, the objective without them, or flags of a
            training.
    """
    if objective != "circuits" or decisions is None:
        missing = "--decisions FILE" if decisions is None else "--objective circuits"
        raise SpecError(f"circuits are made of decisions; `{missing}` is missing", hint=HINT)
    for name, value in others.items():
        if value is not None:
            raise SpecError(f"`--{name}` belongs to a training, not to circuits", hint=HINT)
    run_stage("circuits", shared, {}, files=(("decisions", decisions),))
