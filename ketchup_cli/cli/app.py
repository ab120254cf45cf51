"""The command table, and the one place where errors become exit codes."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ketchup_cli import __version__
from ketchup_cli.cli import (
    about,
    axioms,
    caches,
    collect,
    comparisons,
    doctor,
    inspect,
    judging,
    report,
    stages,
    watch,
)
from ketchup_cli.cli.console import Console, print_json, print_result
from ketchup_cli.cli.options import Commands
from ketchup_cli.cli.request import SCHEMA_VERSION
from ketchup_cli.errors import KetchupError

INTERRUPTED = 130
NO_PERMISSION = 13
NO_SPACE = 28
USAGE = 2
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

# typer brings its own click from 0.26 on; the base of its usage errors has no public name
_CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]

EXIT_CODES = (
    "Exit codes: 0 done or already there, 1 error, 2 usage or settings, 3 a check failed,"
    " 4 key or quota refused, 5 too many unjudged, 6 busy, 7 not finite, 8 budget reached,"
    " 13 no permission, 28 no space, 75 try again later, 130 and 143 interrupted."
)

EXAMPLES = {
    **stages.EXAMPLES,
    **comparisons.EXAMPLES,
    **judging.EXAMPLES,
}
"""A line for each stage that runs as printed in examples/en-nl, once its pipeline has."""

STAGE_COMMANDS: Commands = tuple(
    (name, function, EXAMPLES[name])
    for name, function in (
        ("corpus", stages.corpus),
        ("reverse", stages.reverse),
        ("reversal-probe", stages.reversal_probe),
        ("new-model", stages.new_model),
        ("shrink", stages.shrink),
        ("train", stages.train),
        ("cache-teacher", stages.cache_teacher),
        ("seqkd", stages.seqkd),
        ("distill", stages.distill),
        ("merge-teacher", stages.merge_teacher),
        ("lab", stages.lab),
        ("angles", stages.angles),
        ("generate", stages.generate),
        ("rollout", stages.rollout),
        ("score", stages.score),
        ("rare-words", stages.rare_words),
        ("judge", judging.judge),
        ("compare", comparisons.compare),
    )
)


def build_app() -> typer.Typer:
    """Return the application with every command."""
    app = typer.Typer(
        name="ketchup",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog=EXIT_CODES,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for name, function, example in (
        *STAGE_COMMANDS,
        *report.COMMANDS,
        *inspect.COMMANDS,
        *collect.COMMANDS,
        *doctor.COMMANDS,
        *axioms.COMMANDS,
        *watch.COMMANDS,
        *about.COMMANDS,
    ):
        app.command(name, epilog=f"Example: {example}")(function)
    config = typer.Typer(help="Write or show ketchup.toml.", rich_markup_mode=None)
    for name, function, example in about.CONFIG_COMMANDS:
        config.command(name, epilog=f"Example: {example}")(function)
    app.add_typer(config, name="config", epilog="Example: ketchup config show distill")
    cache = typer.Typer(help="Look into teacher caches, or import them.", rich_markup_mode=None)
    for name, function, example in caches.CACHE_COMMANDS:
        cache.command(name, epilog=f"Example: {example}")(function)
    app.add_typer(cache, name="cache", epilog="Example: ketchup cache inspect en-nl-cache")
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Distil text-generation models in stages."""
    if version:
        print_result(__version__)
    elif context.invoked_subcommand is None:
        print_result(context.get_help())


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; unknown exceptions keep their traceback."""
    as_json = "--json" in arguments
    try:
        code = build_app()(list(arguments), prog_name="ketchup", standalone_mode=False)
    except KetchupError as error:
        name, code = _dashed(type(error).__name__), error.exit_code
        if getattr(error.__cause__, "errno", None) in REFUSED:
            name, code = "no-permission", NO_PERMISSION
        return _fail(code, name, error.message, error.hint, as_json=as_json)
    except _CLICK_ERROR as error:
        return _fail(USAGE, "usage", *_usage(error), as_json=as_json)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # whoever read stdout has gone; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        known = _system_error(error)
        if known is None:
            raise
        return _fail(*known, as_json=as_json)
    except SystemExit as stop:
        code = stop.code
    if code in {INTERRUPTED, 143}:
        Console(plain=True).line("interrupted; the same command goes on from here")
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> tuple[str, str]:
    message = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ketchup"
    return message[:1].lower() + message[1:].rstrip("."), f"{path} --help"


def _system_error(error: OSError) -> tuple[int, str, str, str] | None:
    where = f" at `{error.filename}`" if error.filename else ""
    if error.errno in FULL:
        return NO_SPACE, "no-space", f"the disk is full{where}", "free space, run the same command"
    if error.errno in REFUSED:
        message = f"no permission{where}: {error.strerror}"
        return NO_PERMISSION, "no-permission", message, "change its owner or mode, or use --store"
    return None


def _fail(code: int, name: str, message: str, hint: str | None, *, as_json: bool) -> int:
    console = Console(plain=True)
    console.line(f"error: {message}")
    if hint:
        console.line(f"hint: {hint}")
    if as_json:
        document = {"code": name, "message": message, "hint": hint, "exit": code}
        print_json({"schema_version": SCHEMA_VERSION, "error": document})
    return code


def _dashed(name: str) -> str:
    words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.lstrip("-")
