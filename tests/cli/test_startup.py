import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "numpy", "scipy", "openai", "rich", "pydantic")
LIMIT_S = 0.2
BARE = ["-c", "import typer.main, msgspec"]
BARE_TIMES = 3
"""200 ms are asked of a machine that starts the bare libraries in 66 ms; a slower one has as many times."""
COMMANDS = (["--help"], ["distill", "--help"])


def heavy_after(arguments: list[str]) -> str:
    code = (
        "import sys\n"
        "from ketchup_cli.cli.app import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def cpu_seconds(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    assert heavy_after(arguments) == "loaded:"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_help_takes_at_most_200_ms_of_cpu(arguments):
    asked = ["-m", "ketchup_cli", *arguments]
    cpu_seconds(asked)  # byte code is compiled once, not at every start

    # what disturbs a process from beside can only add to its time, so the least is what it takes
    turns = [(cpu_seconds(asked), cpu_seconds(BARE)) for _ in range(9)]
    least, bare = (min(times) for times in zip(*turns, strict=True))
    assert least <= max(LIMIT_S, BARE_TIMES * bare)
