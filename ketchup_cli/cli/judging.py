"""`ketchup judge`: the command, and the question before texts leave this machine or much is asked."""

import importlib
import ipaddress
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.commands import stage_command
from ketchup_cli.cli.pricing import priced
from ketchup_cli.cli.project import load_project
from ketchup_cli.cli.request import Common, Request, System
from ketchup_cli.cli.settings import Layer, typed
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import Table, read_toml

RESPONSES = Path("judge", "responses.sqlite")
REFERENCE, TEACHER = "reference", "teacher"
"""Opponents that are no name: what people wrote, and the text of who plays that role."""
PRICES = ("price_prompt", "price_cached", "price_completion")
MANY_CALLS, MUCH = 1000, 5
"""Calls, and cost in the unit of the prices, above which somebody is asked first."""


@stage_command
def judge(
    shared: Common,
    systems: o.JudgedSystemsArgument = None,
    against: o.AgainstOption = None,
    mode: o.JudgeModeOption = None,
    aspects: o.AspectsOption = None,
    aspect_mode: o.AspectModeOption = None,
    aspects_file: o.AspectsFileOption = None,
    base_url: o.BaseUrlOption = None,
    model: o.JudgeModelOption = None,
    judges: o.JudgesOption = None,
    protocol: o.JudgeProtocolOption = None,
    corpus: o.CorpusOption = None,
    split: o.ComparedSplitOption = None,
    human: o.HumanOption = None,
    repeats: o.RepeatsOption = None,
    price_in: o.PriceInOption = None,
    price_cached: o.PriceCachedOption = None,
    price_out: o.PriceOutOption = None,
    budget: o.BudgetOption = None,
    api_key_file: o.KeyFileOption = None,
    cache_only: o.CacheOnlyOption = False,
    refresh: o.RefreshOption = False,
    yes: o.YesOption = False,
) -> None:
    """Ask a language model which of two texts is better.

    Both orders, and controls with a known answer. The same command goes on and asks nothing twice.
    """
    from ketchup_cli.cli.execute import execute

    flags: Table = {
        "mode": mode,
        "protocol": protocol,
        "aspects": None if aspects is None else tuple(filter(None, aspects.split(","))),
        "aspect_mode": aspect_mode,
        "own_task": None if aspects_file is None else read_toml(aspects_file),
        "base_url": base_url,
        "model": model,
        "judges": tuple(map(_judge, judges)) if judges else None,
        "split": split,
        "repeats": repeats,
        "budget": budget,
        "api_key_file": None if api_key_file is None else str(api_key_file),
        "cache_only": cache_only or None,
        "refresh": refresh or None,
    }
    flags |= _priced((price_in, price_cached, price_out), flags, shared)
    parsed = _typed(systems, shared)
    flags["against"], opponent = _opponent(against, shared)
    request = Request(
        stage="judge",
        common=shared,
        roles={"corpus": corpus},
        files=(("human", human),) if human else (),
        flags=tuple(_layers(parsed, shared, flags)),
        systems=(*parsed, *opponent),
    )
    _ask_before_sending(request, yes=yes)
    execute(request)


def _judge(text: str) -> Table:
    """Return the judge of MODEL@URL, or of MODEL where --base-url names the server."""
    model, sign, base_url = text.rpartition("@http")
    if not sign:
        return {"model": text}
    return {"model": model, "base_url": f"http{base_url}"}


def _priced(prices: Sequence[Sequence[str] | None], flags: Table, common: Common) -> Table:
    named = load_project(common.config, store=common.store).tables.get("judge", {})
    return priced(
        dict(zip(PRICES, prices, strict=True)),
        flags["judges"] or named.get("judges", ()),
        model=flags["model"] or named.get("model"),
    )


def _typed(systems: Sequence[str] | None, common: Common) -> tuple[System, ...]:
    """Return the systems of the command line, or else those of the project file."""
    from ketchup_cli.cli.systems import parse_systems

    project = load_project(common.config, store=common.store)
    named = systems or project.tables.get("judge", {}).get("systems", ())
    if not named:
        raise SpecError(
            "no systems are named",
            hint='ketchup judge ONE OTHER, or [judge] systems = ["ONE", "OTHER"] in ketchup.toml',
        )
    # one system can be rated; how many the mode takes is the stage's to say
    parsed = parse_systems(list(named), seeds=None, least=1)
    if any(len(system.runs) > 1 for system in parsed):
        raise SpecError("a judge reads one run of each system", hint="ketchup judge kl-s0 k4-s0")
    return parsed


def _opponent(typed: str | None, common: Common) -> tuple[str | None, tuple[System, ...]]:
    """Return the name of whom every system is held against, and its texts; people's are no input."""
    project = load_project(common.config, store=common.store)
    named = typed or project.tables.get("judge", {}).get("against")
    if not named or named == REFERENCE:
        return named or None, ()
    text = project.names.get(TEACHER, named) if named == TEACHER else named
    return Path(named).name, (System(name=Path(named).name, runs=(text,)),)


def _layers(systems: Sequence[System], common: Common, flags: Table) -> Iterator[Layer]:
    project = load_project(common.config, store=common.store)
    named = project.tables.get("judge", {})
    if "responses" not in named:
        yield Layer(origin="the store", table={"responses": str(project.store / RESPONSES)})
    yield Layer(
        origin="the command line", table={"systems": tuple(system.name for system in systems)}
    )
    yield from typed("a flag", flags)


def _ask_before_sending(request: Request, *, yes: bool) -> None:
    """Ask before texts leave this machine, and before many calls or much cost without a budget.

    Raises:
        SpecError: nobody is there to be asked, or the answer is no.
    """
    from ketchup_cli.cli.execute import prepare, stage_at_work
    from ketchup_cli.store import find

    job = prepare(request)
    if yes or request.common.dry_run or job.settings.table["cache_only"]:
        return
    if find.lookup(job.store, job.stage.kind, job.id):
        return
    with stage_at_work(offline=True):
        module = importlib.import_module(job.stage.module)
        expense = module.estimate(job.settings.spec, job.inputs)
    labels = " and ".join(item.input.label for item in job.resolution.inputs)
    told = list(_reasons(expense, _hosts(job.settings.table), labels))
    if not told:
        return
    message = ", and ".join(told)
    if not sys.stdin.isatty():
        raise SpecError(message, hint="--yes, if that may be; --dry-run shows the plan")
    if not typer.confirm(f"{message}. Go on?", err=True):
        raise SpecError("nothing was sent", hint="--dry-run shows the plan")


def _hosts(settings: Table) -> list[str]:
    """Return the machines that would be asked, other than this one."""
    named = [one["base_url"] or settings["base_url"] for one in settings["judges"]]
    hosts = [urlsplit(str(address)).hostname or "" for address in named or [settings["base_url"]]]
    return [host for host in dict.fromkeys(hosts) if host and not is_this_machine(host)]


def _reasons(expense: Any, hosts: Sequence[str], labels: str) -> Iterator[str]:
    """Yield what somebody should agree to first."""
    if hosts and expense.calls:
        yield f"the texts of {labels} would be sent to {' and '.join(hosts)}"
    if expense.limit is not None:
        return
    if expense.calls > MANY_CALLS:
        yield f"{expense.calls:,} calls would be made"
    if expense.cost is not None and expense.cost[1] > MUCH:
        yield f"it may cost up to {expense.cost[1]:.2f} without a budget"


def is_this_machine(host: str) -> bool:
    """Return whether a host is the machine we are on, by its name or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


EXAMPLES: Mapping[str, str] = {
    "judge": "ketchup judge --aspects quality,informativeness,coherence --dry-run"
}
