"""`ketchup doctor`: are teacher, student, text and caches what a run takes them for?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.console import Console, clean, print_json, print_result
from ketchup_cli.cli.request import SCHEMA_VERSION, Common

if TYPE_CHECKING:
    from ketchup_cli.doctor.result import Check
    from ketchup_cli.stages import Stage
    from ketchup_cli.stages.bench import Case

CHECK_FAILED = 3
"""As `verify` leaves where it found something."""

ROLES = ("corpus", "teacher", "student", "cache", "pseudo-targets")
NAME_WIDTH = 26

PrecisionOption = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option("--precision", metavar="TYPE", help="Type both models are to run in as well."),
]

JudgeOption = Annotated[
    bool, typer.Option("--judge", help="Ask the servers of [judge] plain questions, in every form.")
]


def doctor(
    corpus: o.CorpusOption = None,
    teacher: o.TeacherOption = None,
    student: o.StudentOption = None,
    cache: o.CacheOption = None,
    pseudo_targets: o.PseudoTargetsOption = None,
    objective: o.ObjectiveOption = None,
    preset: o.PresetOption = None,
    precision: PrecisionOption = None,
    judge: JudgeOption = False,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> int:
    """Look for silent misalignment before a run.

    Tokenizers, special tokens, templates, the shift, caches and pseudo-targets, precision, disk and
    memory, by the settings of `distill`, and with --judge what its servers can do: every check passes, warns or fails with its evidence and a
    remedy. Leaves with 3 where one fails, as `verify` does; warnings and what could not be checked
    leave with 0. Writes nothing.
    """
    from ketchup_cli.stages.examination import counts

    given = {
        "corpus": corpus,
        "teacher": teacher,
        "student": student,
        "cache": cache,
        "pseudo-targets": pseudo_targets,
    }
    shared = o.common(config, sets, store, None, True, json)
    case = _case(given, shared, objective=objective, preset=preset, precision=precision)
    case = _with_judge(case, shared, asked=judge)
    checks: list[Check] = []
    for check in _made(case):
        checks.append(check)
        for line in () if json else _lines(check):
            print_result(line)
    found = counts(checks)
    if json:
        print_json({
            "schema_version": SCHEMA_VERSION,
            "passed": not found["fail"],
            "counts": found,
            "checks": [_as_json(check) for check in checks],
        })
    else:
        print_result(
            f"{found['pass']} pass, {found['warn']} warn, {found['fail']} fail,"
            f" {found['not checked']} not checked"
        )
    return CHECK_FAILED if found["fail"] else 0


def _case(
    given: Mapping[str, str | None],
    shared: Common,
    *,
    objective: str | None,
    preset: str | None,
    precision: Any,
) -> Case:
    """Return what is examined, its inputs found as a stage finds them."""
    from ketchup_cli.cli.execute import show_inputs
    from ketchup_cli.cli.inputs import Place, resolve_roles
    from ketchup_cli.cli.project import load_project
    from ketchup_cli.cli.settings import Layer, resolve_settings, set_layers
    from ketchup_cli.stages import STAGES
    from ketchup_cli.stages.bench import Case
    from ketchup_cli.store.layout import Store

    project = load_project(shared.config, store=shared.store)
    named = {"objective": {"name": objective}} if objective else {}
    flags = (Layer(origin="--objective", table=named), *set_layers(shared.sets))
    spec: Any = resolve_settings(STAGES["distill"], project, flags, preset=preset).spec
    place = Place(store=Store.open(project.store, create=False), project=project, download=False)
    found = resolve_roles(_stage(), spec, given, place=place)
    show_inputs("doctor", found, Console(plain=shared.json))
    absent = dict(found.absent)
    cache_spec: Any = None
    if "cache" in absent:
        cache_spec = resolve_settings(STAGES["cache-teacher"], project, ()).spec
    return Case(
        spec=spec,
        inputs={item.input.role: item.input for item in found.inputs},
        absent=absent,
        store=project.store,
        cache_spec=cache_spec,
        precision=precision,
    )


def _with_judge(case: Case, shared: Common, *, asked: bool) -> Case:
    """Return the case with the judge that is configured, or with the reason why it is not asked."""
    from ketchup_cli.cli.project import load_project
    from ketchup_cli.cli.settings import resolve_settings
    from ketchup_cli.stages import STAGES

    project = load_project(shared.config, store=shared.store)
    spec: Any = resolve_settings(STAGES["judge"], project, ()).spec
    models = [one.model for one in spec.judges] or [spec.model]
    if asked:
        return replace(case, judge=spec)
    named = " and ".join(f"`{model}`" for model in models if model)
    reason = f"--judge asks {named}" if named else "no judge is named in [judge] of ketchup.toml"
    return replace(case, absent={**case.absent, "judge": reason})


def _stage() -> Stage:
    """Return `distill` with the roles that are looked at, none of which must be there."""
    from ketchup_cli.stages import STAGES

    stage = STAGES["distill"]
    roles = {role.name: role for role in stage.roles}
    optional = tuple(
        replace(roles[name], needed=lambda _spec: False, used=lambda _spec: True) for name in ROLES
    )
    return replace(stage, name="doctor", roles=optional)


def _made(case: Case) -> Iterator[Check]:
    """Yield the checks, libraries kept off stdout while each is made."""
    from ketchup_cli.cli.execute import stage_at_work
    from ketchup_cli.stages.examination import examine

    checks = examine(case)
    while True:
        with stage_at_work(offline=True):
            check = next(checks, None)
        if check is None:
            return
        yield check


def _lines(check: Check) -> Iterator[str]:
    """Yield status, name and evidence, and the remedy of what is not well."""
    status = "-" if check.status == "not checked" else check.status
    for number, line in enumerate(check.evidence):
        head = f"{status:<6}{check.name:<{NAME_WIDTH}}" if number == 0 else " " * (6 + NAME_WIDTH)
        yield head + clean(line)
    if check.remedy:
        yield f"{'':<{6 + NAME_WIDTH}}remedy: {clean(check.remedy)}"


def _as_json(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "status": check.status,
        "evidence": list(check.evidence),
        "remedy": check.remedy or None,
        "figures": dict(check.figures),
    }


COMMANDS: o.Commands = (("doctor", doctor, "ketchup doctor"),)
