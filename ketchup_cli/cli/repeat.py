"""The command line that makes an artifact again, from what its manifest says."""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ketchup_cli.cli.configure import toml_value
from ketchup_cli.cli.inputs import CORPUS_FLAGS, HUB_ID
from ketchup_cli.cli.project import Project
from ketchup_cli.cli.settings import TEXT_FLAG, Layer, resolve_settings, set_layers
from ketchup_cli.errors import KetchupError
from ketchup_cli.spec import Table, canonical, flatten
from ketchup_cli.stages import STAGES, Stage
from ketchup_cli.store.manifest import InputEntry, Manifest

Call = Callable[[InputEntry], str]
"""What an input is called on the command line."""

_TYPED: Mapping[str, str] = {"import-cache": "cache import"}
"""What is typed for a stage where it is not its name."""
_EMPTY = Project(folder=Path(), path=None, store=Path("runs"), names={}, tables={})
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]*")
_NO_WORDS = frozenset({"true", "false", "inf", "nan"})
_NUMBER = re.compile(r"\d+")


def command(manifest: Manifest, *, name: str, call: Call) -> str:
    """Return the command line that makes an artifact again where no `ketchup.toml` is.

    Args:
        manifest: of the artifact.
        name: it is called by later lines.
        call: says what inputs are called.

    Returns:
        A line of a shell; a comment with the reason where no command line can say it.
    """
    stage = STAGES.get(manifest.signature.partition("/")[0])
    if stage is None or stage.version != manifest.kind_version:
        return f"# {name}: its stage is not one of this version"
    typed = ["ketchup", *_TYPED.get(stage.name, stage.name).split()]
    try:
        inputs = list(_inputs(stage, manifest, call))
        settings = list(_settings(stage, manifest))
    except (KetchupError, LookupError):
        return f"# {name}: no command line of this version says what its manifest does"
    return " ".join(map(shlex.quote, [*typed, *inputs, *settings, "--name", name]))


def called(entry: InputEntry, names: Mapping[str, str]) -> str:
    """Return what an input is called: its name among `names`, a hub id, or a path beside here."""
    if entry.id is not None:
        return names.get(entry.id, entry.label)
    known_elsewhere = entry.kind == "model" and HUB_ID.fullmatch(entry.label)
    return entry.label if entry.kind == "file" or known_elsewhere else f"./{entry.label}"


def _inputs(stage: Stage, manifest: Manifest, call: Call) -> Iterator[str]:
    """Yield the arguments that name the inputs: roles by their flags, files by their splits."""
    roles = {role.name for role in stage.roles}
    files: dict[str, list[str]] = {}
    for entry in manifest.inputs:
        if entry.role not in roles and not entry.role.startswith("reward."):
            files.setdefault(_flag_of(stage, entry), []).append(call(entry))
    if files and stage.name not in {"corpus", "compare", "import-cache"}:
        raise LookupError(stage.name)
    if stage.name == "compare":
        yield from _systems(manifest, list(files.values()))
    elif stage.name == "import-cache":
        yield from (path for paths in files.values() for path in paths)
        yield from ("--from", str(manifest.spec["format"]))
    else:
        for split, paths in files.items():
            own, named = split in CORPUS_FLAGS, ",".join(paths)
            yield from (f"--{split}", named) if own else ("--split", f"{split}={named}")
    for entry in manifest.inputs:
        if entry.role in roles:
            yield from (f"--{entry.role}", call(entry))


def _flag_of(stage: Stage, entry: InputEntry) -> str:
    """Return what inputs that are typed together have in common: a split, or a system's number."""
    if stage.name == "compare":
        return str(_NUMBER.findall(entry.role)[0])
    return entry.role.partition(".")[0]


def _systems(manifest: Manifest, runs: Sequence[Sequence[str]]) -> Iterator[str]:
    for system, texts in zip(manifest.spec["systems"], runs, strict=True):
        yield f"{system}={','.join(texts)}"


def _settings(stage: Stage, manifest: Manifest) -> Iterator[str]:
    """Yield the flags that turn the defaults into the settings of the manifest.

    Raises:
        SpecError: these settings are none of this version.
        LookupError: no flags make them.
    """
    flags = list(_implied(stage, manifest))
    typed: list[str] = []
    if stage.name == "distill":
        typed, layers = _objective(manifest.spec["objective"], flags)
        flags = layers
    now = _resolved(stage, flags)
    sets = [
        f"{key}={_value(value)}"
        for key, value in _changed(_plain(manifest.spec), _plain(now)).items()
    ]
    if _resolved(stage, (*flags, *set_layers(sets))) != manifest.spec:
        raise LookupError(stage.name)
    yield from typed
    for text in sets:
        yield from ("--set", text)


def _resolved(stage: Stage, flags: Sequence[Layer]) -> Table:
    """Return settings as a manifest holds them: lists where Python has tuples."""
    table: Table = json.loads(canonical(resolve_settings(stage, _EMPTY, flags).identity))
    return table


def _implied(stage: Stage, manifest: Manifest) -> Iterator[Layer]:
    """Yield what the flags of the inputs say about settings, as the commands themselves do."""
    roles = {entry.role for entry in manifest.inputs}
    if stage.name == "compare":
        yield Layer(origin="systems", table={"systems": tuple(manifest.spec["systems"])})
    if stage.name == "import-cache":
        yield Layer(origin="--from", table={"format": manifest.spec["format"]})
    if stage.name == "cache-teacher" and "pseudo-targets" in roles:
        yield Layer(origin=TEXT_FLAG, table={"completions": "pseudo-targets"})
    if stage.name == "distill" and "pseudo-targets" in roles:
        yield Layer(origin=TEXT_FLAG, table={"objective": {"prefixes": "teacher"}})


def _objective(terms: Sequence[Table], implied: Sequence[Layer]) -> tuple[list[str], list[Layer]]:
    """Return the flags that give these terms, and the same as layers of settings."""
    stage = STAGES["distill"]
    name = str(terms[0]["name"])
    typed = ["--objective", name]
    flags = [Layer(origin="--objective", table={"objective": {"name": name}}), *implied]
    now = _resolved(stage, flags)["objective"]
    if len(now) == len(terms) == 1:
        sets = [
            f"objective.{key}={_value(value)}"
            for key, value in terms[0].items()
            if now[0].get(key, ...) != value
        ]
        if name == "ketchup" and any(text.startswith("objective.k=") for text in sets):
            sets = [text for text in sets if not text.startswith("objective.k=")]
            typed = ["--k", str(terms[0]["k"])]
            flags.append(Layer(origin="--k", table={"objective": {"k": terms[0]["k"]}}))
    elif list(now) == list(terms):
        sets = []
    else:
        sets = [f"objective={toml_value(list(terms))}"]
    for text in sets:
        typed += ["--set", text]
    return typed, [*flags, *set_layers(sets)]


def _value(value: Any) -> str:
    """Return a value as `--set` reads it: a plain word needs no quotes."""
    plain = isinstance(value, str) and _WORD.fullmatch(value) and value not in _NO_WORDS
    return str(value) if plain else toml_value(value)


def _plain(table: Table) -> Table:
    return {key: value for key, value in table.items() if key != "objective"}


def _changed(wanted: Table, now: Table) -> dict[str, Any]:
    """Return the dotted keys at which two tables differ, a list of tables as one value."""
    before = _leaves(now)
    return {key: value for key, value in _leaves(wanted).items() if before.get(key, ...) != value}


def _leaves(table: Table) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            found[key] = value
    return found
