"""Short words for artifacts: ids, what made them, and one note from the summary."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from ketchup_cli import __version__
from ketchup_cli.cli.settings import flatten
from ketchup_cli.reporting import human_count
from ketchup_cli.spec import to_table
from ketchup_cli.stages import STAGES, Stage
from ketchup_cli.store.manifest import Manifest

SHORT_ID = 8
"""Hex digits of an id or digest that are shown."""
SHOWN_SETTINGS = 3
"""Changed settings that are shown where room is short; all of them are in the signature."""
SHOWN_SCORES = 2
"""Scores that are shown where room is short."""
SPLIT_ORDER = ("train", "dev", "test")


def short(text: str) -> str:
    """Return the first eight hex digits of an id or a digest."""
    return text.removeprefix("sha256:")[:SHORT_ID]


def note_of(manifest: Manifest) -> str:
    """Return a few words on what an artifact holds: the summary's `note`, or its main figures."""
    summary = manifest.summary
    if isinstance(summary.get("note"), str):
        return str(summary["note"])
    words = _FIGURES.get(manifest.kind, _plain_values)(summary)
    return ", ".join(word for word in words if word)


Words = Iterator[str]


def _corpus_figures(summary: Mapping[str, Any]) -> Words:
    counts = summary.get("examples", {})
    ordered = sorted(counts, key=lambda split: (_split_rank(split), split))
    yield " + ".join(f"{counts[split]:,}" for split in ordered) + " examples"
    if summary.get("skipped"):
        yield f"{summary['skipped']:,} skipped"


def _split_rank(split: str) -> int:
    return SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER)


def _model_figures(summary: Mapping[str, Any]) -> Words:
    family = summary.get("architecture", summary.get("model_type", ""))
    if "parameters" in summary:
        yield f"{human_count(summary['parameters'])} {family}".rstrip()
    if "best" in summary:
        yield f"dev {summary.get('metric', '')} {summary['best']:.4g}"


def _cache_figures(summary: Mapping[str, Any]) -> Words:
    yield f"{summary.get('tokens', 0):,} tokens"
    if "tail_mass_mean" in summary:
        yield f"tail mass {100 * summary['tail_mass_mean']:.2f} % on average"


def _score_figures(summary: Mapping[str, Any]) -> Words:
    for metric, score in list(summary.get("scores", {}).items())[:SHOWN_SCORES]:
        yield f"{metric} {score['value']:.2f}"
    yield f"{summary.get('examples', 0):,} examples of {summary.get('split', '')}"


def _plain_values(summary: Mapping[str, Any]) -> Words:
    plain = {key: value for key, value in summary.items() if isinstance(value, int | float | str)}
    for key, value in list(plain.items())[:SHOWN_SETTINGS]:
        yield f"{key.replace('_', ' ')} {value}"


_FIGURES: Mapping[str, Callable[[Mapping[str, Any]], Words]] = {
    "corpus": _corpus_figures,
    "model": _model_figures,
    "teacher-cache": _cache_figures,
    "scores": _score_figures,
}


def changed_settings(stage: Stage, table: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that are not their stage's defaults, as dotted keys and words."""
    default = flatten(to_table(stage.spec()))
    plain = {key: value for key, value in table.items() if key != "objective"}
    changed = {
        key: _value(value)
        for key, value in flatten(plain).items()
        if default.get(key, ...) != value
    }
    if "objective" in table:
        changed = {"objective": objective_words(table["objective"]), **changed}
    return changed


def objective_words(terms: Any) -> str:
    """Return the terms of a loss as `ketchup(k=4) + 0.1 nll`, fields at their defaults left out."""
    return " + ".join(_term_words(term) for term in terms)


def _term_words(term: Mapping[str, Any]) -> str:
    from ketchup_cli import objectives

    kind: Any = objectives.load(term["name"])
    defaults = {field.name: field.default for field in fields(kind)}
    own = [
        f"{key}={_value(value)}"
        for key, value in term.items()
        if key in defaults and value != defaults[key]
    ]
    words = term["name"] + (f"({', '.join(own)})" if own else "")
    return words if term.get("weight", 1.0) == 1.0 else f"{term['weight']:g} {words}"


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def signature(stage: Stage, table: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return one line that tells what made an artifact: stage, settings, inputs, version.

    Args:
        stage: which stage made it.
        table: its complete spec; settings at their defaults are left out.
        inputs: role to content digest.
    """
    settings = [f"{key}:{words}" for key, words in changed_settings(stage, table).items()]
    origins = [f"{role}:{short(digest)}" for role, digest in inputs.items()]
    return "|".join([f"{stage.name}/{stage.version}", *settings, *origins, f"v:{__version__}"])


def made_by(manifest: Manifest) -> str:
    """Return the stage that made an artifact and its first few changed settings."""
    name = manifest.signature.partition("/")[0]
    parts = manifest.signature.split("|")[1:]
    roles = {item.role for item in manifest.inputs} | {"v"}
    settings = [part for part in parts if part.partition(":")[0] not in roles]
    if name not in STAGES:
        return manifest.kind
    shown = [part.removeprefix("objective:").replace(":", " ", 1) for part in settings]
    return " ".join([name, ", ".join(shown[:SHOWN_SETTINGS])]).rstrip()


def size_bytes(manifest: Manifest) -> int:
    """Return the size of an artifact's files."""
    return sum(entry.bytes for entry in (*manifest.files, *manifest.logs))
