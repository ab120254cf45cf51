"""What inputs were made from, as far as their manifests tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ketchup_cli.store.artifact import Input
from ketchup_cli.store.digest import MANIFEST
from ketchup_cli.store.manifest import InputEntry, Manifest
from ketchup_cli.store.manifest import read as read_manifest

OBJECTS = "objects"


def manifest_of(folder: Path) -> Manifest | None:
    """Return the manifest of an artifact, or None for a plain folder.

    Raises:
        Damaged, TooNew: it cannot be read.
    """
    return read_manifest(folder) if (folder / MANIFEST).exists() else None


def author(made: Input) -> InputEntry | None:
    """Return the teacher an input was made from.

    None where it is not known: an imported cache has no teacher, a folder no manifest.
    """
    manifest = manifest_of(made.path)
    entries = () if manifest is None else manifest.inputs
    return next((entry for entry in entries if entry.role == "teacher"), None)


def other_author(made: Input, teacher: Input) -> str | None:
    """Return the teacher an input was made from, where it is known and not this one."""
    entry = author(made)
    return None if entry is None or entry.digest == teacher.digest else entry.label


def template_of(corpus: Path) -> str | None:
    """Return the template a corpus was imported with, its own fields in the braces; None if unknown."""
    spec = _spec(corpus)
    if "template" not in spec:
        return None
    return str(spec["template"]).replace("{prompt}", f"{{{spec['prompt_field']}}}")


def plain_template(corpus: Path) -> str | None:
    """Return the template with `{prompt}` for the prompt field, by which two corpora compare."""
    spec, shown = _spec(corpus), template_of(corpus)
    return None if shown is None else shown.replace(f"{{{spec['prompt_field']}}}", "{prompt}")


def training_corpora(model: Path) -> Iterator[tuple[str, Path]]:
    """Yield label and folder of every corpus a model, or what it was made from, was trained on.

    Only what lies in the same store is followed.
    """
    manifest = manifest_of(model)
    if manifest is None or model.parent.parent.name != OBJECTS:
        return
    corpora = [entry for entry in manifest.inputs if entry.kind == "corpus"]
    for entry in corpora or [entry for entry in manifest.inputs if entry.kind == "model"]:
        folder = model.parent.parent / entry.kind / (entry.id or "")
        if entry.id is None or not folder.is_dir():
            continue
        if entry.kind == "corpus":
            yield entry.label, folder
        else:
            yield from training_corpora(folder)


def _spec(folder: Path) -> dict[str, Any]:
    manifest = manifest_of(folder)
    return {} if manifest is None else manifest.spec
