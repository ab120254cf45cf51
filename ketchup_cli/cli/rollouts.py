"""The command that draws completions and rewards them."""

from collections.abc import Mapping

from ketchup_cli.cli import options as o
from ketchup_cli.cli.following import AFTER
from ketchup_cli.cli.request import Request
from ketchup_cli.cli.settings import Layer

EXAMPLES: Mapping[str, str] = {
    "rollout": "ketchup rollout --model kl-student --set reward.shaped=bleu",
}
"""A line that runs as printed in examples/en-nl, once its pipeline has."""


def rollout(
    model: o.ModelOption = None,
    corpus: o.CorpusOption = None,
    split: o.SplitOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Draw a model's completions, and reward them.

    Every token is kept with the log-probability it was drawn with. --set reward.correct=NAME says
    what is right, --set reward.shaped=NAME what is earned.
    """
    from ketchup_cli.cli.execute import execute

    layer = Layer(origin="--split", table={"split": split})
    execute(
        Request(
            stage="rollout",
            common=o.common(config, sets, store, name, dry_run, json),
            roles={"model": model, "corpus": corpus},
            flags=() if split is None else (layer,),
            next=AFTER["rollout"],
        )
    )
