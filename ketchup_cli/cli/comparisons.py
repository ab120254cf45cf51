"""`ketchup compare`: the command, its table, and the gate it can be."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ketchup_cli.cli import options as o
from ketchup_cli.cli.commands import stage_command
from ketchup_cli.cli.console import table_lines
from ketchup_cli.cli.request import Common, Request, System
from ketchup_cli.cli.settings import Layer, typed
from ketchup_cli.reporting import Reporter
from ketchup_cli.spec import Table

if TYPE_CHECKING:
    from ketchup_cli.cli.gate import Gate
    from ketchup_cli.stages.comparison import Comparison, Figure, Pair
    from ketchup_cli.store.find import Artifact

EXAMPLES: Mapping[str, str] = {"compare": "ketchup compare kl-student ketchup-student"}
FAILED = 3
"""Exit code of a gate that is shut."""
SMALLEST_P = 0.0001


@stage_command
def compare(
    shared: Common,
    systems: o.SystemsArgument,
    corpus: o.CorpusOption = None,
    split: o.ComparedSplitOption = None,
    seeds: o.SeedsOption = None,
    min_delta: o.MinDeltaOption = None,
    fail_if_worse: o.FailIfWorseOption = False,
) -> None:
    """Test whether systems differ, and say what may be claimed.

    Paired tests on the texts they wrote for one split, Holm-corrected, with the smallest difference
    that could have been shown. Two runs or more of each make seeds a random factor.
    """
    from ketchup_cli.cli.execute import execute
    from ketchup_cli.cli.gate import Gate, judge
    from ketchup_cli.cli.systems import parse_systems
    from ketchup_cli.stages.comparison import read

    parsed = parse_systems(systems, seeds=seeds)
    gate = Gate(min_delta=min_delta, fail_if_worse=fail_if_worse)
    artifact = execute(
        Request(
            stage="compare",
            common=shared,
            roles={"corpus": corpus},
            flags=tuple(_layers(parsed, split)),
            systems=parsed,
            show=lambda made, console: _show(made, console, gate),
        )
    )
    if artifact is not None and not shared.dry_run and judge(read(artifact.path), gate).failures:
        raise SystemExit(FAILED)


def _layers(systems: Sequence[System], split: str | None) -> Iterator[Layer]:
    table: Table = {"systems": tuple(system.name for system in systems)}
    yield Layer(origin="the command line", table=table)
    yield from typed("--split", {"split": split})


def _show(artifact: "Artifact", console: Reporter, gate: "Gate") -> Mapping[str, Any]:
    """Print table, sentences, signatures and the gate's verdict; return the verdict."""
    from ketchup_cli.cli.gate import judge
    from ketchup_cli.stages.comparison import read

    found = read(artifact.path)
    for line in _table(found):
        console.note("", line)
    for number, sentence in enumerate(found.sentences):
        console.note("" if number else "claim", sentence)
    for metric in found.metrics:
        console.note("signature", f"{metric.name} {metric.signature}")
    if not gate.asked:
        return {}
    verdict = judge(found, gate)
    for reason in verdict.failures:
        console.note("gate", f"shut: {reason}")
    if not verdict.failures:
        console.note("gate", "open")
    return {"gate": {"passed": not verdict.failures, "failures": list(verdict.failures)}}


def _table(found: "Comparison") -> list[str]:
    metrics = [metric.metric for metric in found.metrics]
    header = [_scope(found), *(metric.name for metric in found.metrics)]
    rows = [
        [system.name, *(_figure(system.figures[metric]) for metric in metrics)]
        for system in found.systems
    ]
    for couple in dict.fromkeys((pair.one, pair.other) for pair in found.pairs):
        own = [pair for pair in found.pairs if (pair.one, pair.other) == couple]
        label = "difference" if len(found.systems) == 2 else f"{couple[1]} - {couple[0]}"
        tests = {pair.test for pair in own}
        # no p without its test: beside the row where all are one test, else in every cell
        named = f"p of {own[0].test}" if len(tests) == 1 else ""
        rows.append([label, *map(_difference, own)])
        rows.append([named, *(_p(pair) if named else f"{pair.test}: {_p(pair)}" for pair in own)])
    return table_lines(header, rows)


def _scope(found: "Comparison") -> str:
    runs = sorted({len(system.generations) for system in found.systems})
    words = f"{runs[0]} run" if runs == [1] else f"{' to '.join(map(str, runs))} runs"
    return f"n {found.examples:,}, {words} each"


def _figure(figure: "Figure") -> str:
    if figure.deviation is not None:
        return f"{figure.value:.1f} ± {figure.deviation:.1f}"
    if figure.interval is None:
        return f"{figure.value:.1f}"
    low, high = figure.interval
    return f"{figure.value:.1f} [{low:.1f}, {high:.1f}]"


def _difference(pair: "Pair") -> str:
    if pair.interval is None:
        return f"{pair.difference:+.1f}"
    low, high = pair.interval
    return f"{pair.difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def _p(pair: "Pair") -> str:
    return f"{_probability(pair.p)} (Holm {_probability(pair.p_holm)})"


def _probability(value: float) -> str:
    if value < SMALLEST_P:
        return f"< {SMALLEST_P}"
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}"
