"""BERTScore and COMET as metrics of the stage `score`: the seam between scores and a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ketchup_cli.doctor.origins import plain_template
from ketchup_cli.errors import SpecError
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Measurement, mean_measurement
from ketchup_cli.scoring.report import BERTSCORE, COMET
from ketchup_cli.specs import ScoreSpec
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.comet import Comet
    from ketchup_cli.models.similarity import Encoder, Match

PROMPT = "{prompt}"


def learned(
    spec: ScoreSpec, inputs: Mapping[str, Input], items: Items, reporter: Reporter
) -> dict[str, tuple[Measurement, ...]]:
    """Return what metrics found that need a model, by name; nothing where none is asked for.

    Raises:
        NotFound: a folder holds no model.
        ModelError: it cannot be loaded.
        SpecError: the encoder has no such layer, or nobody said what was translated.
        NonFiniteError: states or scores are not finite.
    """
    makers = {BERTSCORE: _bertscore, COMET: _comet}
    asked = [name for name in makers if name in spec.metrics]
    if asked:
        from ketchup_cli.models.load import quiet

        quiet()
    return {name: (makers[name](spec, inputs, items, reporter),) for name in asked}


def _bertscore(
    spec: ScoreSpec, inputs: Mapping[str, Input], items: Items, reporter: Reporter
) -> Measurement:
    from ketchup_cli.models.similarity import Encoder

    given = inputs["encoder"]
    reporter.note("encoder", given.label)
    encoder = Encoder.load(given.path, layer=spec.encoder_layer, device=spec.device)
    return measure(encoder, items, digest=given.digest)


def _comet(
    spec: ScoreSpec, inputs: Mapping[str, Input], items: Items, reporter: Reporter
) -> Measurement:
    from ketchup_cli.models.comet import Comet

    given = inputs["comet"]
    reporter.note("comet", given.label)
    template = plain_template(inputs["corpus"].path) or PROMPT
    checkpoint = Comet.load(given.path, device=spec.device)
    return measure_comet(checkpoint, items, digest=given.digest, template=template)


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
    signature = (
        f"bertscore|f1|refs:best|idf:no|rescale:no|encoder:{_short(digest)}|{encoder.signature}"
    )
    measured = mean_measurement(BERTSCORE, [100.0 * match.f1 for match in best], signature)
    return replace(
        measured, details=_details(best), warnings=_warnings(BERTSCORE, cut, encoder.longest)
    )


def measure_comet(
    checkpoint: Comet, items: Items, *, digest: str, template: str = PROMPT
) -> Measurement:
    """Return COMET in percent: the best over an item's references, an empty text 0.

    What was translated is the prompt without what the corpus' template put around it: COMET knows
    nothing of instructions. An empty text is not asked about: the estimator may like it.

    Raises:
        SpecError: nobody said what was translated.
    """
    if not items.prompts:
        raise SpecError(
            "comet compares a text with what was translated, and there are no prompts",
            hint="leave comet out of metrics",
        )
    sources = [_source(prompt, template) for prompt in items.prompts]
    triples = [
        (source, text, reference)
        for source, text, several in zip(sources, items.hypotheses, items.references, strict=True)
        for reference in (several if checkpoint.with_reference else ("",))
        if text.strip()
    ]
    found = dict(zip(triples, checkpoint.score(triples), strict=True))
    best = [
        max(
            found[source, text, reference]
            for reference in (several if checkpoint.with_reference else ("",))
        )
        if text.strip()
        else 0.0
        for source, text, several in zip(sources, items.hypotheses, items.references, strict=True)
    ]
    empty = sum(not text.strip() for text in items.hypotheses)
    refs = "refs:best" if checkpoint.with_reference else "refs:no"
    signature = f"comet|{refs}|empty:0|weights:{_short(digest)}|{checkpoint.signature}"
    told = (f"comet: {empty} empty texts count as 0, and were not asked about",) if empty else ()
    cut = checkpoint.too_long([text for triple in found for text in triple])
    measured = mean_measurement(COMET, [100.0 * value for value in best], signature)
    return replace(measured, warnings=(*told, *_warnings(COMET, cut, checkpoint.longest)))


def _source(prompt: str, template: str) -> str:
    """Return a prompt without what the template put around it."""
    before, _, after = template.partition(PROMPT)
    return prompt.removeprefix(before).removesuffix(after)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:16]


def _details(best: Sequence[Match]) -> dict[str, float]:
    count = len(best)
    return {
        "precision": 100.0 * sum(match.precision for match in best) / count,
        "recall": 100.0 * sum(match.recall for match in best) / count,
    }


def _warnings(name: str, cut: int, longest: int) -> tuple[str, ...]:
    if not cut:
        return ()
    return (f"{name}: {cut} texts were cut at the encoder's {longest} tokens",)
