"""Who wrote what, and which score it got: a model, its texts and their scores as one system."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import msgspec

from ketchup_cli.errors import Damaged
from ketchup_cli.pages.sources import Source, Sources, read

SCORES = "scores.json"


@final
class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a `scores.json`; what later versions add is passed over."""

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    count: int
    signature: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A model's texts, and their scores where there are any."""

    number: int
    """Decides colour and mark."""
    label: str
    model: Source | None
    texts: Source
    scores: Source | None
    figures: tuple[Scored, ...]

    @property
    def split(self) -> str:
        """The split that was answered, or nothing where the texts do not tell."""
        return str(self.texts.spec.get("split", ""))

    def figure(self, metric: str) -> Scored | None:
        """Return the figure of one metric."""
        return next((item for item in self.figures if item.metric == metric), None)


def systems(sources: Sources) -> tuple[System, ...]:
    """Return every text of a page with its model and its scores.

    Raises:
        Damaged: a `scores.json` is not what its manifest says.
    """
    by_texts = _scores_by_texts(sources)
    texts = [source for source in sources if source.kind == "generations"]
    numbers = model_numbers(sources)
    names = _labels(sources, texts, by_texts)
    return tuple(
        System(
            number=numbers.get(source.input("model") or source.key, 0),
            label=names[source.key, place],
            model=sources.get(source.input("model")),
            texts=source,
            scores=scored,
            figures=() if scored is None else _figures(scored),
        )
        for source in texts
        for place, scored in enumerate(by_texts.get(source.key) or [None])
    )


def model_numbers(sources: Sources) -> dict[str, int]:
    """Return the number of every model that wrote text or was trained, by key, from 0."""
    writers = {source.input("model") for source in sources if source.kind == "generations"}
    shown = [
        source.key
        for source in sources
        if source.kind == "model" and (source.key in writers or "best_update" in source.summary)
    ]
    # texts whose model is not known stand for themselves
    shown += [s.key for s in sources if s.kind == "generations" and s.input("model") is None]
    return {key: number for number, key in enumerate(shown)}


def base(name: str) -> str:
    """Return NAME of NAME@N."""
    return name.partition("@")[0] or name


def metrics(found: Sequence[System]) -> list[str]:
    """Return the metrics of these systems, in the order they were asked for."""
    return list(dict.fromkeys(item.metric for system in found for item in system.figures))


def comparable(found: Sequence[System], metric: str) -> list[list[System]]:
    """Return the systems with that metric in groups that may be compared, the largest first.

    The same items of the same corpus, and the same signature.
    """
    groups: dict[tuple[str, ...], list[System]] = {}
    for system in found:
        figure = system.figure(metric)
        if figure is not None and system.scores is not None:
            corpus = system.scores.input("corpus") or ""
            place = (corpus, system.split, str(figure.count), figure.signature)
            groups.setdefault(place, []).append(system)
    return sorted(groups.values(), key=len, reverse=True)


def _scores_by_texts(sources: Sources) -> Mapping[str, list[Source | None]]:
    found: dict[str, list[Source | None]] = {}
    for source in sources.of("scores"):
        texts = source.input("generations")
        if texts is not None:
            found.setdefault(texts, []).append(source)
    return found


def _labels(
    sources: Sources, texts: Sequence[Source], scores: Mapping[str, list[Source | None]]
) -> dict[tuple[str, int], str]:
    """Return what each system is called: its model, and what else it takes to tell it apart."""
    models = {
        source.key: base(found.name if (found := sources.get(source.input("model"))) else "")
        for source in texts
    }
    often = Counter(models.values())
    labels: dict[tuple[str, int], str] = {}
    for source in texts:
        model = models[source.key]
        label = model if model and often[model] == 1 else source.name
        for place, scored in enumerate(scores.get(source.key) or [None]):
            again = place > 0 and scored is not None
            labels[source.key, place] = f"{label}, {scored.name}" if again and scored else label
    return labels


def _figures(scores: Source) -> tuple[Scored, ...]:
    assert scores.artifact is not None
    try:
        return msgspec.json.decode(read(scores.artifact, SCORES), type=tuple[Scored, ...])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(
            f"`{scores.artifact.path / SCORES}` holds no scores: {error}", hint="ketchup verify"
        ) from None
