"""How long a stage will take, by the rate of what the same model did before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from ketchup_cli.cli.console import human_seconds
from ketchup_cli.cli.describe import short
from ketchup_cli.spec import identity
from ketchup_cli.stages import STAGES
from ketchup_cli.store import find
from ketchup_cli.store.find import Artifact, Input
from ketchup_cli.store.layout import Store


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Where a stage writes its rate down, and what must be the same for it to say anything."""

    role: str
    """Of the model that works."""
    figure: str
    """In the summary: what the stage's `amount` counts, a second."""
    settings: tuple[str, ...]


RATES: Mapping[str, Rate] = {
    "cache-teacher": Rate(
        role="teacher", figure="rows_per_s", settings=("completions", "device", "precision")
    ),
    "seqkd": Rate(
        role="teacher", figure="texts_per_s", settings=("decoding", "device", "precision")
    ),
    "rollout": Rate(
        role="model", figure="texts_per_s", settings=("decoding", "device", "precision")
    ),
    "generate": Rate(
        role="model", figure="texts_per_s", settings=("decoding", "device", "precision")
    ),
}


def duration(
    store: Store, name: str, module: Any, *, spec: Any, inputs: Mapping[str, Input]
) -> tuple[tuple[str, str], ...]:
    """Return the plan's line about time; none where this model did nothing alike before.

    Args:
        store: whose artifacts tell rates.
        name: of the stage.
        module: of the stage; its `amount` counts the work.
        spec: of the stage.
        inputs: by role.
    """
    rate = RATES.get(name)
    if rate is None or rate.role not in inputs:
        return ()
    table = identity(spec)
    alike = [
        artifact
        for artifact in find.artifacts(store, on_error=lambda _error: None)
        if artifact.kind == STAGES[name].kind and _is_alike(artifact, rate, table, inputs)
    ]
    if not alike:
        return ()
    newest = max(alike, key=lambda artifact: artifact.manifest.created)
    seconds = module.amount(spec, inputs) / newest.manifest.summary[rate.figure]
    called = find.name_of(store, newest.id) or short(newest.id)
    return (("time", f"about {human_seconds(seconds)}, at the rate of {called}"),)


def _is_alike(
    artifact: Artifact, rate: Rate, table: Mapping[str, Any], inputs: Mapping[str, Input]
) -> bool:
    manifest = artifact.manifest
    used = {item.role: item.digest for item in manifest.inputs}
    return (
        bool(manifest.summary.get(rate.figure))
        and used.get(rate.role) == inputs[rate.role].digest
        and all(manifest.spec.get(key, ...) == table[key] for key in rate.settings)
    )
