"""Which texts the systems of a comparison wrote: from what was typed to inputs.

What is typed may name generations, scores, or a model whose text for the split is in the store.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ketchup_cli.cli.inputs import Place, Resolved
from ketchup_cli.cli.request import System
from ketchup_cli.errors import NotFound, SpecError
from ketchup_cli.stages import Role
from ketchup_cli.store import find
from ketchup_cli.store.find import Artifact, Input

_MODEL = Role(name="model", kind="model")
TEXTS = "generations"
FORM = "ketchup compare kl=kl-s0,kl-s1,kl-s2 k4=k4-s0,k4-s1,k4-s2"


def parse_systems(typed: Sequence[str], *, seeds: int | None, least: int = 2) -> tuple[System, ...]:
    """Return the systems of `NAME` or `CALLED=RUN,RUN,...`.

    Args:
        typed: one text a system.
        seeds: with it, `NAME` stands for the runs NAME-s0 to NAME-s{seeds - 1}.
        least: fewest systems that make sense.

    Raises:
        SpecError: fewer than that, one named twice, or runs without a name for them together.
    """
    systems = tuple(_parse(text, seeds) for text in typed)
    if len(systems) < least:
        raise SpecError(
            f"a comparison takes two systems or more, and {len(systems)} is named", hint=FORM
        )
    for index, system in enumerate(systems):
        if system.name in {other.name for other in systems[:index]}:
            raise SpecError(f"two systems are called `{system.name}`", hint=FORM)
        if len(set(system.runs)) < len(system.runs) or not all(system.runs):
            raise SpecError(f"`{typed[index]}` names a run twice, or none", hint=FORM)
    return systems


def _parse(text: str, seeds: int | None) -> System:
    called, sign, runs = text.partition("=")
    if sign and called:
        if seeds is not None:
            raise SpecError(f"`{text}` names its runs, so --seeds says nothing", hint=FORM)
        return System(name=called, runs=tuple(run.strip() for run in runs.split(",")))
    if "," in text:
        raise SpecError(f"the runs `{text}` have no name together", hint=FORM)
    if seeds is None:
        return System(name=Path(text).name, runs=(text,))
    return System(name=text, runs=tuple(f"{text}-s{seed}" for seed in range(seeds)))


def system_inputs(
    systems: Sequence[System], *, place: Place, split: str, role: str
) -> tuple[Resolved, ...]:
    """Return the texts of every run for the split.

    Args:
        systems: in the order of the comparison.
        place: where names are looked up.
        split: whose texts are looked for where a model is named.
        role: of an input, with `{system}` and `{run}` for its numbers.

    Raises:
        NotFound: nothing of that name, or a model without text for the split.
        SpecError: a model with several texts for the split, or a run that is named twice.
    """
    found: list[Resolved] = []
    for number, system in enumerate(systems, start=1):
        texts = [_texts(text, place=place, split=split) for text in system.runs]
        _refuse_twice(system, texts)
        for run, (text, item) in enumerate(zip(system.runs, texts, strict=True), start=1):
            origin = f"{system.name}={text}" if len(texts) > 1 else text
            given = replace(item, role=role.format(system=number, run=run))
            found.append(Resolved(input=given, origin=origin))
    return tuple(found)


def _refuse_twice(system: System, texts: Sequence[Input]) -> None:
    digests = [item.digest for item in texts]
    for index, digest in enumerate(digests):
        if digest in digests[:index]:
            one, other = system.runs[digests.index(digest)], system.runs[index]
            raise SpecError(
                f"`{one}` and `{other}` are the same texts, so they are no two runs of"
                f" {system.name}",
                hint="name every seed once",
            )


def _texts(text: str, *, place: Place, split: str) -> Input:
    """Return the generations that `text` names, or that what it names wrote for the split."""
    if (Path(text) / f"{TEXTS}.jsonl").is_file():
        return find.folder_input(Path(text), TEXTS, kind=TEXTS)
    artifact = _stored(text, place)
    if artifact is None:
        model = place.lookup(text, _MODEL, from_flag=True)
        return _of_model(text, model.digest, place=place, split=split)
    if artifact.kind == TEXTS:
        return _labelled(artifact, text, place)
    if artifact.kind == "scores":
        return _scored(artifact, text, place)
    if artifact.kind == "model":
        return _of_model(text, artifact.digest, place=place, split=split)
    raise NotFound(
        f"`{text}` is a {artifact.kind}; a system is a model, generations or scores",
        hint="ketchup ls",
    )


def _stored(text: str, place: Place) -> Artifact | None:
    """Return the artifact of that name; None where it can only be a folder or a hub id."""
    if text.startswith((".", "/", "~")) or text.endswith("/"):
        return None
    try:
        return find.find(place.store, text)
    except NotFound:
        if Path(text).is_dir() or "/" in text:
            return None
        raise


def _scored(scores: Artifact, text: str, place: Place) -> Input:
    """Return the generations that were scored."""
    entry = next((item for item in scores.manifest.inputs if item.role == TEXTS), None)
    if entry is None:
        raise NotFound(
            f"`{text}` are scores of no text a model wrote",
            hint="name the model, its generations, or their scores",
        )
    texts = find.lookup(place.store, TEXTS, entry.id) if entry.id else None
    if texts is None or texts.digest != entry.digest:
        raise NotFound(
            f"the texts that `{text}` scored, `{entry.label}`, are no longer in the store",
            hint="name generations, or generate them again",
        )
    return _labelled(texts, entry.label, place)


def _of_model(text: str, digest: str, *, place: Place, split: str) -> Input:
    """Return what a model wrote for the split, where that is one thing."""
    found = list(_written(digest, place=place, split=split))
    if not found:
        raise NotFound(
            f"there is no text of `{text}` for split `{split}` in the store",
            hint=f"ketchup generate --model {text} --split {split}",
        )
    if len({artifact.digest for artifact in found}) > 1:
        names = ", ".join(f"`{_called(artifact, place)}`" for artifact in found)
        raise NotFound(
            f"`{text}` has {len(found)} generations of split `{split}`: {names}",
            hint="name one of them in its place",
        )
    return _labelled(found[0], text, place)


def _written(digest: str, *, place: Place, split: str) -> Iterator[Artifact]:
    for artifact in find.artifacts(place.store, on_error=lambda _error: None):
        if artifact.kind != TEXTS or artifact.manifest.spec.get("split") != split:
            continue
        if any(item.role == "model" and item.digest == digest for item in artifact.manifest.inputs):
            yield artifact


def _labelled(artifact: Artifact, text: str, place: Place) -> Input:
    return find.as_input(artifact, TEXTS, label=_called(artifact, place, text))


def _called(artifact: Artifact, place: Place, text: str = "") -> str:
    return find.name_of(place.store, artifact.id, called=text) or artifact.id[:8]
