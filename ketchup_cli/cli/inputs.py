"""From the text of a role to an input with a digest: an artifact, a local folder, or a hub id."""

import errno
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from ketchup_cli.cli.project import Project
from ketchup_cli.errors import ModelError, NotFound, SpecError
from ketchup_cli.spec import Spec
from ketchup_cli.stages import STAGES, Role, Stage
from ketchup_cli.store import find
from ketchup_cli.store.digest import MANIFEST
from ketchup_cli.store.find import Input
from ketchup_cli.store.layout import Store

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
"""`org/name` or `org/name@revision`."""
CORPUS_FLAGS = ("train", "dev", "test", "dataset")
"""Files that have a flag of their own; those of other splits are named by `--split`."""
HUB_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
"""Weights, configs and tokenizers; never code, never pickles."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """An input and who named it."""

    input: Input
    origin: str
    """The flag or the file that named it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The inputs of a stage, and the roles it goes without."""

    inputs: tuple[Resolved, ...]
    absent: tuple[tuple[str, str], ...] = ()
    """Role and reason, for roles that were named and could be served later."""


def resolve_roles(
    stage: Stage, spec: Spec, given: Mapping[str, str | None], *, place: "Place"
) -> Resolution:
    """Return the inputs of a stage by role: flags first, then `[names]`.

    Raises:
        SpecError: a role the stage cannot do without has no name, or a flag names a role that
            these settings do not use.
        NotFound: there is no artifact, folder or model of that name.
    """
    inputs: list[Resolved] = []
    absent: list[tuple[str, str]] = []
    used = [role for role in stage.roles if role.used(spec)]
    for role in stage.roles:
        if role not in used:
            _refuse_unused(stage, role, given.get(role.name))
    for role in used:
        flag = given.get(role.name)
        text = flag if flag is not None else place.project.names.get(role.name)
        if text is None:
            _refuse_unnamed(stage, role, spec)
            continue
        origin = f"--{role.name}" if flag is not None else str(place.project.path)
        try:
            found = place.lookup(text, role, from_flag=flag is not None)
        except NotFound as error:
            if flag is not None or role.needed(spec):
                raise _with_remedy(error, role) from None
            absent.append((role.name, f"`{text}` is not made yet"))
            continue
        inputs.append(Resolved(input=found, origin=origin))
    return Resolution(inputs=tuple(inputs), absent=tuple(absent))


def _refuse_unused(stage: Stage, role: Role, flag: str | None) -> None:
    if flag is not None:
        raise SpecError(
            f"`--{role.name} {flag}` would not be read: {stage.name} uses no {role.name} with"
            " these settings",
            hint=f"leave out --{role.name}, or see `ketchup config show {stage.name}`",
        )


def _refuse_unnamed(stage: Stage, role: Role, spec: Spec) -> None:
    if role.needed(spec):
        raise SpecError(
            f"{stage.name} needs {_a(role.name)}, and none is named",
            hint=f'--{role.name} NAME, or `{role.name} = "NAME"` under [names] in ketchup.toml',
        )


def _a(word: str) -> str:
    return f"an {word}" if word.startswith(("a", "e", "i", "o")) else f"a {word}"


_COMMANDS = {"import-cache": "cache import"}
"""What is typed for a stage where it is not its name."""


def _with_remedy(error: NotFound, role: Role) -> NotFound:
    makers = [
        _COMMANDS.get(name, name) for name, stage in STAGES.items() if stage.kind == role.kind
    ]
    made_by = " or ".join(f"`ketchup {name}`" for name in makers)
    if error.hint not in {None, "ketchup ls"}:
        return error
    hint = f"make it with {made_by}, or see `ketchup ls`"
    return NotFound(error.message, hint=hint)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where names are looked up: a store and a project."""

    store: Store
    project: Project
    download: bool = True
    """Whether a hub model may be fetched."""

    def lookup(self, text: str, role: Role, *, from_flag: bool) -> Input:
        """Return the input that `text` names for a role.

        Raises:
            NotFound: no artifact, folder or hub model of that name.
            SpecError: there are both an artifact and another folder of that name.
        """
        base = Path() if from_flag else self.project.folder
        folder = base / Path(text).expanduser()
        looks_like_path = text.startswith((".", "/", "~")) or text.endswith("/")
        artifact = None if looks_like_path else self._artifact(text, role)
        if artifact is not None:
            _refuse_two_meanings(text, artifact, folder)
            return artifact
        if folder.is_dir():
            return find.folder_input(folder, role.name, kind=role.kind)
        if role.kind == "model" and not looks_like_path and HUB_ID.fullmatch(text):
            _refuse_hub(text, role)
            return self._hub_model(text, role)
        if looks_like_path:
            raise NotFound(f"no folder `{folder}`")
        return self._stored(text, role)

    def _artifact(self, text: str, role: Role) -> Input | None:
        try:
            return self._stored(text, role)
        except NotFound:
            return None

    def _stored(self, text: str, role: Role) -> Input:
        artifact = find.find(self.store, text, kind=role.kind)
        label = find.name_of(self.store, artifact.id, called=text) or ""
        return find.as_input(artifact, role.name, label=label)

    def _hub_model(self, text: str, role: Role) -> Input:
        name, _, revision = text.partition("@")
        folder, commit = fetch(
            name, revision or None, pins=self.store.root / "hub", download=self.download
        )
        found = find.folder_input(folder, role.name, kind=role.kind)
        return replace(found, label=f"{name}@{commit}")


def _refuse_hub(text: str, role: Role) -> None:
    if role.local:
        raise NotFound(
            f"no folder `{text}`, and the {role.name} is never fetched",
            hint="name a local folder with config.json, model.safetensors and tokenizer.json",
        )


def _refuse_two_meanings(text: str, artifact: Input, folder: Path) -> None:
    """Refuse a name that is an artifact and, with other content, a folder of the same kind."""
    sign = "config.json" if artifact.kind == "model" else MANIFEST
    if not (folder / sign).is_file():
        return
    if find.folder_input(folder, artifact.role, kind=artifact.kind).digest != artifact.digest:
        raise SpecError(
            f"`{text}` is both the artifact {artifact.label} and the folder `{folder}`, which"
            " differ",
            hint=f"./{text} is the folder, {artifact.label} the artifact",
        )


def fetch(name: str, revision: str | None, *, pins: Path, download: bool) -> tuple[Path, str]:
    """Return the folder of a hub model and its commit; a new download is made at most once.

    A name without a revision keeps the commit it was first resolved to, written below `pins`.

    Raises:
        NotFound: it is not on this machine and may not be fetched now.
        ModelError: the hub cannot be reached, or has no such model.
    """
    pin = pins / f"{name}@{revision or 'main'}".replace("/", "--")
    wanted = pin.read_text(encoding="ascii").strip() if pin.is_file() else revision
    snapshot = None
    if pin.is_file() or not download:
        snapshot = _snapshot(name, wanted, local=True)
    if snapshot is None and not download:
        raise NotFound(
            f"hub model `{name}` is not on this machine, and a dry run fetches nothing",
            hint="leave out --dry-run, or name an artifact or a local folder",
        )
    if snapshot is None:
        snapshot = _snapshot(name, wanted, local=False)
        assert snapshot is not None
    if download and not pin.is_file():
        pins.mkdir(parents=True, exist_ok=True)
        pin.write_text(snapshot.name + "\n", encoding="ascii")
    return snapshot, snapshot.name


def _snapshot(name: str, revision: str | None, *, local: bool) -> Path | None:
    """Return the folder of one commit; None where it is not on this machine and `local`."""
    import huggingface_hub
    from huggingface_hub import errors

    wanted = f"{name}@{revision}" if revision else name
    # the hub's client raises its HTTP library's own errors too; this is what they have in common
    transport: type[BaseException] = errors.HfHubHTTPError.__mro__[1]
    instead = "name an artifact (`ketchup ls`) or a local folder with config.json and"
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=list(HUB_FILES), local_files_only=local
            )
        )
    except errors.HFValidationError:
        raise NotFound(f"`{wanted}` cannot be a model on the hub", hint="ketchup ls") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelError(
            f"the hub shows you no model `{wanted}` ({type(error).__name__})",
            hint=f"check the name, or {instead} model.safetensors instead",
        ) from None
    except (OSError, transport) as error:
        if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT, errno.EACCES}:
            raise
        if local:
            return None
        reason = type(error.__cause__ or error).__name__
        raise ModelError(
            f"the model hub cannot be reached, so `{wanted}` cannot be fetched ({reason})",
            hint=f"{instead} model.safetensors instead",
        ) from None


def more_splits(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and files of every `NAME=FILE`.

    Raises:
        SpecError: one has no name or no file, or the name of what is no split.
    """
    named = [text.partition("=") for text in texts]
    for name, sign, files in named:
        if not (name and sign and files):
            raise SpecError(
                f"`--split {name}{sign}{files}` is not of the form `NAME=FILE`",
                hint="--split iid=iid.jsonl",
            )
        if name == "dataset" or "." in name:
            raise SpecError(
                f"`{name}` cannot name a split", hint=f"--split rows={shlex.quote(files)}"
            )
    return [(name, files) for name, _, files in named]


def split_files(split: str, text: str) -> list[tuple[str, Path]]:
    """Return role and path of every file of a split; Moses files are `PROMPTS,REFERENCES,...`."""
    parts = text.split(",")
    if len(parts) == 1 or Path(text).is_file():
        return [(split, Path(text))]
    fields = ("prompt", "reference", *(f"reference-{n}" for n in range(2, len(parts))))
    return [(f"{split}.{field}", Path(part)) for field, part in zip(fields, parts, strict=True)]


def file_inputs(files: Sequence[tuple[str, Path]], *, stage: str) -> tuple[Resolved, ...]:
    """Return the inputs for plain files, and for the folder of a data set, by role.

    Raises:
        NotFound: a file does not exist.
        SpecError: a role is named twice.
    """
    resolved: list[Resolved] = []
    roles: set[str] = set()
    for role, path in files:
        own = role.partition(".")[0]
        flag, typed = f"--{own}", f"--{own} FILE"
        if stage == "corpus" and own not in CORPUS_FLAGS:
            flag, typed = "--split", f"--split {own}=FILE"
        if role in roles:
            raise SpecError(f"`{own}` is named twice", hint=f"give {typed} once")
        roles.add(role)
        if path.is_dir():
            found = find.folder_input(path, role, kind="dataset")
        elif path.is_file():
            found = find.file_input(path, role)
        else:
            raise NotFound(f"no file `{path}`", hint=typed)
        resolved.append(Resolved(input=found, origin=flag))
    return tuple(resolved)
