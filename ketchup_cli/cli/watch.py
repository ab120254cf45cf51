"""`ketchup watch`: a training run as a table and curves, while it goes on or afterwards."""

import math
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, final

import typer

from ketchup_cli.cli import options as o
from ketchup_cli.cli.console import clean, print_json, print_result
from ketchup_cli.cli.request import SCHEMA_VERSION

if TYPE_CHECKING:
    from ketchup_cli.watching.follow import Line
    from ketchup_cli.watching.runs import State, Watched

DEAD = 3
"""Exit code where a run ended without an artifact."""
LOOK_S = 0.5
"""Longest time between two looks at the log."""
EVERY_S = 30.0
"""Time between two lines of updates where there is no terminal."""

NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="A run under way by name, stage or id, or a trained model; none means the one at work.",
    ),
]
OnceOption = Annotated[bool, typer.Option("--once", help="Print one table and end.")]
AllOption = Annotated[bool, typer.Option("--all", help="Show every figure of the log.")]
EveryOption = Annotated[
    float,
    typer.Option(
        "--every",
        metavar="SECONDS",
        min=0.0,
        help="Time between two lines of updates off a terminal; 0 prints every update.",
    ),
]


def watch(
    name: NameArgument = None,
    once: OnceOption = False,
    every_figure: AllOption = False,
    every: EveryOption = EVERY_S,
    config: o.ConfigOption = None,
    store: o.StoreOption = None,
    json: o.InspectJsonOption = False,
) -> int:
    """Watch a training run: figures, curves, time left.

    Reads the log of `train` and `distill`; changes nothing and opens no port. Ends with the run: 0
    where it finished, 3 where nobody works on it any more. --json prints how it stands now.
    """
    from ketchup_cli.cli.figures import ending
    from ketchup_cli.cli.project import load_project
    from ketchup_cli.store.layout import Store
    from ketchup_cli.watching.runs import Watched, find_run

    place = Store.open(load_project(config, store=store).store, create=False)
    watched = Watched(place, find_run(place, name))
    try:
        if json or once:
            state = watched.look()
            _print_once(watched, state, json=json, every_figure=every_figure)
        else:
            state = (
                _draw(watched, every_figure=every_figure)
                if _on_a_terminal()
                else _tell(watched, every=every)
            )
            _say(ending(watched, state))
    finally:
        watched.close()
    return DEAD if state == "dead" else 0


def _on_a_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _print_once(watched: "Watched", state: "State", *, json: bool, every_figure: bool) -> None:
    from ketchup_cli.cli.figures import document, ending, table

    if json:
        print_json({"schema_version": SCHEMA_VERSION, **document(watched, state)})
        return
    end = ending(watched, state)
    for line in (*table(watched, state, every_figure=every_figure), *(["", end] if end else [])):
        _say(line)


def _draw(watched: "Watched", *, every_figure: bool) -> "State":
    """Redraw the table until the run ends; the last one stays on the screen."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ketchup_cli.cli.figures import table

    console = Console(file=sys.stdout, highlight=False)

    def drawn(state: "State") -> Text:
        # as text, so that nothing in a name is taken for markup
        lines = table(watched, state, every_figure=every_figure, columns=console.width)
        lines = [clean(line) for line in lines]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    state = watched.look()
    with Live(drawn(state), console=console, auto_refresh=False) as live:
        while state in {"waiting", "running"}:
            time.sleep(LOOK_S)
            state = watched.look()
            live.update(drawn(state), refresh=True)
    return state


def _tell(watched: "Watched", *, every: float) -> "State":
    """Print plain lines until the run ends."""
    from ketchup_cli.cli.figures import headline

    state = watched.look()
    _say(headline(watched, state))
    teller = _Teller(watched, every=every)
    while state in {"waiting", "running"}:
        teller.tell(over=False)
        time.sleep(LOOK_S)
        state = watched.look()
    teller.tell(over=True)
    return state


@final
class _Teller:
    """Prints rows of the log: events at once, updates as often as they are asked for.

    Invariant: the newest update is told at the end, whenever it was found.
    """

    def __init__(self, watched: "Watched", *, every: float) -> None:
        self._watched = watched
        self._every = every
        self._told_s = -math.inf
        self._newest: Line | None = None

    def tell(self, *, over: bool) -> None:
        """Print what the last look found, as far as it is due."""
        for line in self._watched.new_lines:
            if line.get("event") is None and self._every:
                self._newest = line
            else:
                self._tell_newest(over=False)
                _say_row(self._watched, line)
        self._tell_newest(over=over)

    def _tell_newest(self, *, over: bool) -> None:
        now_s = time.monotonic()
        if self._newest is not None and (over or now_s - self._told_s >= self._every):
            _say_row(self._watched, self._newest)
            self._told_s, self._newest = now_s, None


def _say_row(watched: "Watched", line: "Line") -> None:
    from ketchup_cli.cli.figures import line_text

    if line.get("event") != "begin":
        _say(line_text(watched, line))


def _say(text: str) -> None:
    print_result(clean(text))


COMMANDS: o.Commands = (("watch", watch, "ketchup watch kl-student --once"),)
