"""`ketchup distill --objective circuits`: another stage behind the same command."""

from collections.abc import Mapping
from pathlib import Path

from ketchup_cli.cli.following import AFTER
from ketchup_cli.cli.request import Common, Request
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
    from ketchup_cli.cli.execute import execute

    if objective != "circuits" or decisions is None:
        missing = "--decisions FILE" if decisions is None else "--objective circuits"
        raise SpecError(f"circuits are made of decisions; `{missing}` is missing", hint=HINT)
    for name, value in others.items():
        if value is not None:
            raise SpecError(f"`--{name}` belongs to a training, not to circuits", hint=HINT)
    execute(
        Request(
            stage="circuits",
            common=shared,
            roles={},
            files=(("decisions", decisions),),
            next=AFTER["circuits"],
        )
    )
