"""Run one stage: spec, inputs, id, already there?, plan, lock, work, commit, name."""

import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, final

from ketchup_cli import __version__
from ketchup_cli.cli.console import Console, human_bytes, human_seconds, print_json, print_result
from ketchup_cli.cli.describe import note_of, short, signature, size_bytes
from ketchup_cli.cli.estimate import duration
from ketchup_cli.cli.following import next_line
from ketchup_cli.cli.inputs import Place, Resolution, Resolved, file_inputs, resolve_roles
from ketchup_cli.cli.project import Project, load_project
from ketchup_cli.cli.request import SCHEMA_VERSION, Request
from ketchup_cli.cli.rewards import reward_files
from ketchup_cli.cli.settings import Settings, flatten, resolve_settings, set_layers
from ketchup_cli.cli.systems import system_inputs
from ketchup_cli.cli.tracking import Subject, check_trackers, tracked
from ketchup_cli.reporting import Reporter, SilentReporter
from ketchup_cli.stages import STAGES, Stage
from ketchup_cli.stages.comparison import ROLE
from ketchup_cli.store import find, verify
from ketchup_cli.store.build import Build, begin
from ketchup_cli.store.digest import MANIFEST, recipe_id
from ketchup_cli.store.find import Artifact, Input
from ketchup_cli.store.layout import Store
from ketchup_cli.store.manifest import check_kind_version
from ketchup_cli.store.manifest import read as read_manifest

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "accelerate", "sacrebleu")
"""Whose versions are written into a manifest."""
TRACKED = ("train", "distill")
"""Stages whose figures trackers can be told."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request with everything found: what will be made, from what, under which id."""

    request: Request
    stage: Stage
    settings: Settings
    project: Project
    store: Store
    resolution: Resolution
    id: str
    name: str | None
    trackers: tuple[str, ...]

    @property
    def inputs(self) -> dict[str, Input]:
        """The inputs by role."""
        return {item.input.role: item.input for item in self.resolution.inputs}


def execute(request: Request) -> Artifact | None:
    """Make the artifact a request asks for, or find it; print its id, or one JSON document.

    Returns:
        The artifact; None after a dry run, and in a process that only works along.

    Raises:
        KetchupError: anything a person can mend, with a hint.
    """
    console: Reporter = Console(plain=request.common.json) if _rank() == 0 else SilentReporter()
    job = prepare(request)
    artifact = find.lookup(job.store, job.stage.kind, job.id)
    if artifact is not None:
        _give_name(job, artifact)
        console.note("already done", _headline(job, artifact))
        _print_artifact(job, artifact, console, already_done=True)
        return artifact
    _check_intact(job.resolution.inputs)
    show_inputs(job.stage.name, job.resolution, console)
    with stage_at_work(offline=not getattr(job.settings.spec, "dataset", "")):
        module = importlib.import_module(job.stage.module)
        plan = (*module.plan(job.settings.spec, job.inputs), *_duration(job, module))
        for heading, text in plan:
            console.note(heading, text)
        made = None if request.common.dry_run else _run(job, module, console)
    if request.common.dry_run:
        console.note("dry run", "nothing was written")
        _print_dry_run(job, plan)
    elif made is not None:
        _give_name(job, made)
        _show_done(job, made, console)
        _print_artifact(job, made, console, already_done=False)
    return made


def prepare(request: Request) -> Job:
    """Return the job of a request; reads inputs' digests, imports no stage, writes nothing."""
    stage = STAGES[request.stage]
    common = request.common
    project = load_project(common.config, store=common.store)
    trackers = _trackers(request, project)
    flags = (*request.flags, *set_layers(common.sets))
    settings = resolve_settings(stage, project, flags, preset=request.preset)
    store = Store.open(project.store, create=not common.dry_run)
    place = Place(store=store, project=project, download=not common.dry_run)
    found = resolve_roles(stage, settings.spec, request.roles, place=place)
    resolution = Resolution(
        inputs=(
            *file_inputs(request.files, stage=request.stage),
            *reward_files(settings, folder=project.folder),
            *_compared(request, settings, place),
            *found.inputs,
        ),
        absent=found.absent,
    )
    key = recipe_id(
        stage.kind,
        stage.version,
        spec=settings.identity,
        inputs=[(item.input.role, item.input.digest) for item in resolution.inputs],
    )
    return Job(
        request=request,
        stage=stage,
        settings=settings,
        project=project,
        store=store,
        resolution=resolution,
        id=key,
        name=find.check_name(common.name) if common.name else _default_name(stage, project),
        trackers=trackers,
    )


def _compared(request: Request, settings: Settings, place: Place) -> tuple[Resolved, ...]:
    """Return the texts of the systems that a request compares."""
    if not request.systems:
        return ()
    here = replace(place, download=False)
    split = settings.table["split"]
    return system_inputs(request.systems, place=here, split=split, role=ROLE)


def _trackers(request: Request, project: Project) -> tuple[str, ...]:
    """Return who is told the figures: of the flags, or else of `ketchup.toml`."""
    if request.stage not in TRACKED:
        return ()
    return check_trackers(request.trackers or project.trackers)


def _default_name(stage: Stage, project: Project) -> str | None:
    """Return the name `[names]` gives the stage's own role, unless it is a path or a hub id."""
    name = project.names.get(stage.output_role)
    return None if name is None or "/" in name or name.startswith(".") else name


def _check_intact(inputs: Sequence[Resolved]) -> None:
    """Refuse inputs that differ from their manifests, or that a later ketchup wrote."""
    for given in (item.input for item in inputs):
        if not (given.path / MANIFEST).is_file():
            continue
        known = [stage.version for stage in STAGES.values() if stage.kind == given.kind]
        check_kind_version(read_manifest(given.path), max(known, default=1))
        verify.ensure_intact(given.path)


def show_inputs(heading: str, resolution: Resolution, console: Reporter) -> None:
    """Say which input every role resolved to, and who named it."""
    lines = [
        f"{item.input.role:<15} {item.input.label}   {short(item.input.digest)}"
        f"   from {item.origin}"
        for item in resolution.inputs
    ]
    lines += [f"{role:<15} none: {reason}" for role, reason in resolution.absent]
    for number, line in enumerate(lines):
        console.note(heading if number == 0 else "", line)


def _duration(job: Job, module: Any) -> tuple[tuple[str, str], ...]:
    return duration(job.store, job.stage.name, module, spec=job.settings.spec, inputs=job.inputs)


def _show_done(job: Job, artifact: Artifact, console: Reporter) -> None:
    manifest = artifact.manifest
    size, spent = human_bytes(size_bytes(manifest)), human_seconds(manifest.seconds)
    parts = [_headline(job, artifact), size, note_of(manifest), spent]
    console.note("done", "   ".join(filter(None, parts)))
    if artifact.other_digest is not None:
        console.note(
            "warning",
            f"this run made other bytes ({short(artifact.other_digest)}) than the run that was"
            f" first ({short(artifact.digest)}); the first are kept",
        )
    following = next_line(job.request, job.project, name=job.name, id=short(artifact.id))
    if following:
        console.note("next", following)


def _run(job: Job, module: Any, console: Reporter) -> Artifact | None:
    """Run the stage and publish; None in a process that only works along."""
    if _rank() > 0:
        _run_beside(job, module)
        return None
    started = time.monotonic()
    with _begin(job, job.store) as build:
        if build.published is not None:
            return build.published
        with tracked(job.trackers, _subject(job), console) as reporter:
            summary = module.run(job.settings.spec, job.inputs, build, reporter)
        digests = {role: item.digest for role, item in job.inputs.items()}
        return build.commit(
            summary=summary,
            signature=signature(job.stage, job.settings.identity, digests),
            environment=environment(),
            seconds=round(time.monotonic() - started, 1),
        )


def _subject(job: Job) -> Subject:
    return Subject(
        label=job.name or job.stage.name,
        id=job.id,
        settings=flatten(job.settings.table),
        folder=job.store.trackers,
    )


def _begin(job: Job, store: Store) -> AbstractContextManager[Build]:
    return begin(
        store,
        kind=job.stage.kind,
        version=job.stage.version,
        spec=job.settings.identity,
        inputs=[item.input for item in job.resolution.inputs],
        label=job.name or job.stage.name,
    )


def _rank() -> int:
    """Return this process's number among those of one launch; 0 publishes."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def _run_beside(job: Job, module: Any) -> None:
    """Work along with rank 0 in a store of one's own that is thrown away.

    The training state of a killed run is copied in, so that all processes resume alike; rank 0
    cannot replace it before this process joins it.
    """
    with tempfile.TemporaryDirectory(prefix="ketchup-rank-") as folder:
        store = Store.open(Path(folder) / "store")
        with _begin(job, store) as build:
            state = job.store.staging_path(job.id) / build.state_path.name
            if state.is_dir():
                shutil.copytree(state, build.state_path, dirs_exist_ok=True)
            module.run(job.settings.spec, job.inputs, build, SilentReporter())


@contextmanager
def stage_at_work(*, offline: bool) -> Iterator[None]:
    """Keep a stage's libraries off stdout, and off the network if `offline`; let SIGTERM raise.

    Models that come from a hub are on disk by now; a termination that raises lets go of locks
    and keeps the state.
    """

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    if offline:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _give_name(job: Job, artifact: Artifact) -> None:
    if job.name is not None and not job.request.common.dry_run and _rank() == 0:
        find.give_name(job.store, job.name, artifact)


def environment() -> dict[str, str]:
    """Return versions and the machine's kind, for the manifest; never part of an id."""
    import platform

    found = {"ketchup": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return found


def _headline(job: Job, artifact: Artifact) -> str:
    shown = find.name_of(job.store, artifact.id)
    return "   ".join(filter(None, [artifact.kind, shown, short(artifact.id)]))


def _print_artifact(job: Job, artifact: Artifact, console: Reporter, *, already_done: bool) -> None:
    if _rank() > 0:
        return
    more = job.request.show(artifact, console) if job.request.show else {}
    if not job.request.common.json:
        print_result(short(artifact.id))
        return
    print_json({
        "schema_version": SCHEMA_VERSION,
        "kind": artifact.kind,
        "id": artifact.id,
        "digest": artifact.digest,
        "name": find.name_of(job.store, artifact.id),
        "path": str(artifact.path),
        "already_done": already_done,
        "summary": artifact.manifest.summary,
        **more,
    })


def _print_dry_run(job: Job, plan: Sequence[tuple[str, str]]) -> None:
    if not job.request.common.json:
        print_result(short(job.id))
        return
    print_json({
        "schema_version": SCHEMA_VERSION,
        "kind": job.stage.kind,
        "id": job.id,
        "already_done": False,
        "dry_run": True,
        "inputs": [
            {"role": item.input.role, "label": item.input.label, "digest": item.input.digest}
            for item in job.resolution.inputs
        ],
        "plan": [list(line) for line in plan],
        "spec": job.settings.table,
    })
