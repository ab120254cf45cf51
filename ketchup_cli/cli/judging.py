"""`ketchup judge`: the command, and the question before texts leave this machine."""

import ipaddress
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.project import load_project
from ketchup_cli.cli.request import Common, Request, System
from ketchup_cli.cli.settings import Layer
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import Table, read_toml

NEXT = "ketchup show {name}"
RESPONSES = Path("judge", "responses.sqlite")

AspectsOption = Annotated[
    str | None,
    typer.Option("--aspects", metavar="A,B,C", help="What is judged, one question each."),
]
AspectsFileOption = Annotated[
    Path | None,
    typer.Option("--aspects-file", metavar="FILE", help="A task of your own: line, [aspects]."),
]
ModeOption = Annotated[
    str | None,
    typer.Option("--mode", metavar="NAME", help="pairwise, or rating: each text alone, 1 to 5."),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option("--protocol", metavar="NAME", help="Form of an answer; logprob reads one token."),
]
BaseUrlOption = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="Server; usually ends in /v1.")
]
JudgeModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="The judge, as its server calls it.")
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", metavar="N", min=0, help="Most that may be spent; never exceeded."),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--api-key-file", metavar="FILE", help="Key; else KETCHUP_API_KEY is read."),
]
CacheOnlyOption = Annotated[
    bool, typer.Option("--cache-only", help="Ask nobody: answer from what is kept.")
]
RefreshOption = Annotated[bool, typer.Option("--refresh", help="Ask again what is kept.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Send the texts to another machine without asking.")
]


def judge(
    systems: o.JudgedSystemsArgument = None,
    mode: ModeOption = None,
    aspects: AspectsOption = None,
    aspects_file: AspectsFileOption = None,
    base_url: BaseUrlOption = None,
    model: JudgeModelOption = None,
    protocol: ProtocolOption = None,
    corpus: o.CorpusOption = None,
    split: o.ComparedSplitOption = None,
    budget: BudgetOption = None,
    api_key_file: KeyFileOption = None,
    cache_only: CacheOnlyOption = False,
    refresh: RefreshOption = False,
    yes: YesOption = False,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Ask a language model which of two texts is better.

    Every pair in both orders, an aspect at a time, with controls whose answer is known. What was
    answered is kept: the same command goes on, and asks nothing twice.
    """
    from ketchup_cli.cli.execute import execute
    from ketchup_cli.cli.systems import parse_systems

    common = o.common(config, sets, store, name, dry_run, json)
    flags: Table = {
        "mode": mode,
        "protocol": protocol,
        "aspects": None if aspects is None else tuple(filter(None, aspects.split(","))),
        "own_task": None if aspects_file is None else read_toml(aspects_file),
        "base_url": base_url,
        "model": model,
        "split": split,
        "budget": budget,
        "api_key_file": None if api_key_file is None else str(api_key_file),
        "cache_only": cache_only or None,
        "refresh": refresh or None,
    }
    # one system can be rated; how many the mode takes is the stage's to say
    parsed = parse_systems(_typed(systems, common), seeds=None, least=1)
    if any(len(system.runs) > 1 for system in parsed):
        raise SpecError("a judge reads one run of each system", hint="ketchup judge kl-s0 k4-s0")
    request = Request(
        stage="judge",
        common=common,
        roles={"corpus": corpus},
        flags=tuple(_layers(parsed, common, flags)),
        systems=parsed,
        next=NEXT,
    )
    _ask_before_sending(request, yes=yes)
    execute(request)


def _typed(systems: Sequence[str] | None, common: Common) -> Sequence[str]:
    """Return the systems of the command line, or else those of the project file."""
    if systems:
        return systems
    project = load_project(common.config, store=common.store)
    named = project.tables.get("judge", {}).get("systems", ())
    if not named:
        raise SpecError(
            "no systems are named",
            hint='ketchup judge ONE OTHER, or [judge] systems = ["ONE", "OTHER"] in ketchup.toml',
        )
    return list(named)


def _layers(systems: Sequence[System], common: Common, flags: Table) -> Iterator[Layer]:
    project = load_project(common.config, store=common.store)
    named = project.tables.get("judge", {})
    if "responses" not in named:
        yield Layer(origin="the store", table={"responses": str(project.store / RESPONSES)})
    yield Layer(
        origin="the command line", table={"systems": tuple(system.name for system in systems)}
    )
    given = {key: value for key, value in flags.items() if value is not None}
    yield Layer(origin="a flag", table=given)


def _ask_before_sending(request: Request, *, yes: bool) -> None:
    """Ask whether texts may leave this machine, where they would.

    Raises:
        SpecError: nobody is there to be asked, or the answer is no.
    """
    from ketchup_cli.cli.execute import prepare
    from ketchup_cli.store import find

    job = prepare(request)
    base_url = str(job.settings.table["base_url"])
    host = urlsplit(base_url).hostname or ""
    quiet = yes or request.common.dry_run or job.settings.table["cache_only"] or not host
    if quiet or is_this_machine(host) or find.lookup(job.store, job.stage.kind, job.id):
        return
    texts = " and ".join(item.input.label for item in job.resolution.inputs)
    told = f"the texts of {texts} would be sent to {host}"
    if not sys.stdin.isatty():
        raise SpecError(told, hint="--yes, if they may be; --dry-run shows the plan")
    if not typer.confirm(f"{told}. Send them?", err=True):
        raise SpecError(f"nothing was sent to {host}", hint="--dry-run shows the plan")


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
