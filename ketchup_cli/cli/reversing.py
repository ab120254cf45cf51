"""The commands that turn a corpus around, and that make the task that tells what for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.following import AFTER
from ketchup_cli.cli.request import Request

EXAMPLES: Mapping[str, str] = {
    "reverse": "ketchup reverse --set match=compute --name both-ways",
    "reversal-probe": "ketchup reversal-probe --name probe",
}
"""A line for each that runs as printed in examples/en-nl, once its pipeline has."""

EntitiesOption = Annotated[
    Path | None,
    typer.Option("--entities", metavar="FILE", help="Names that stay whole, one a line."),
]


def reverse(
    corpus: o.CorpusOption = None,
    entities: EntitiesOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Make a corpus whose texts run from last to first as well.

    For causal models: word by word, with entities left whole, in random segments, or token by
    token. `distill` asks no teacher about such rows unless `reversed_rows=distill`.
    """
    _run(
        Request(
            stage="reverse",
            common=o.common(config, sets, store, name, dry_run, json),
            roles={"corpus": corpus},
            files=(("entities", entities),) if entities is not None else (),
            next=AFTER["reverse"],
        )
    )


def reversal_probe(
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Make a task that asks for facts from both ends.

    Train on it as it is and turned around; `ketchup score --set 'metrics=["exact-folded"]'` on its
    test split tells forward and backward side by side.
    """
    _run(
        Request(
            stage="reversal-probe",
            common=o.common(config, sets, store, name, dry_run, json),
            roles={},
            next=AFTER["reversal-probe"],
        )
    )


def _run(request: Request) -> None:
    from ketchup_cli.cli.execute import execute

    execute(request)
