"""BERTScore as a metric of the stage `score`: the seam between scores and an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Measurement, mean_measurement
from ketchup_cli.scoring.report import BERTSCORE
from ketchup_cli.specs import ScoreSpec
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.similarity import Encoder, Match


def learned(
    spec: ScoreSpec, inputs: Mapping[str, Input], items: Items, reporter: Reporter
) -> dict[str, tuple[Measurement, ...]]:
    """Return what metrics found that need a model, by name; nothing where none is asked for.

    Raises:
        NotFound: the encoder's folder holds no model.
        ModelError: it cannot be loaded.
        SpecError: it has no such layer.
        NonFiniteError: its states are not finite.
    """
    if BERTSCORE not in spec.metrics:
        return {}
    from ketchup_cli.models.load import quiet
    from ketchup_cli.models.similarity import Encoder

    quiet()
    given = inputs["encoder"]
    reporter.note("encoder", given.label)
    encoder = Encoder.load(given.path, layer=spec.encoder_layer, device=spec.device)
    return {BERTSCORE: (measure(encoder, items, digest=given.digest),)}


def measure(encoder: Encoder, items: Items, *, digest: str) -> Measurement:
    """Return BERTScore F1 in percent: the best over an item's references, an empty text 0."""
    pairs = [
        (text, reference)
        for text, several in zip(items.hypotheses, items.references, strict=True)
        for reference in several
    ]
    matches = iter(encoder.match(pairs))
    best = [
        max((next(matches) for _ in several), key=lambda match: match.f1)
        for several in items.references
    ]
    cut = encoder.too_long([text for pair in pairs for text in pair])
    weights = digest.removeprefix("sha256:")[:16]
    signature = f"bertscore|f1|refs:best|idf:no|rescale:no|encoder:{weights}|{encoder.signature}"
    measured = mean_measurement(BERTSCORE, [100.0 * match.f1 for match in best], signature)
    return replace(measured, details=_details(best), warnings=_warnings(cut, encoder.longest))


def _details(best: list[Match]) -> dict[str, float]:
    count = len(best)
    return {
        "precision": 100.0 * sum(match.precision for match in best) / count,
        "recall": 100.0 * sum(match.recall for match in best) / count,
    }


def _warnings(cut: int, longest: int) -> tuple[str, ...]:
    if not cut:
        return ()
    return (f"bertscore: {cut} texts were cut at the encoder's {longest} tokens",)
