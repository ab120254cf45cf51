"""That every benchmark still starts: its imports, its parser, its help."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "argparse" in path.read_text(encoding="utf-8")
)


def load(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    # dataclasses look their module up
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def test_there_are_benchmarks() -> None:
    assert {"cache", "gradients", "judge", "losses", "memory", "okd", "step"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_prints_its_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        load(name).main()
    told = capsys.readouterr().out

    assert ended.value.code == 0
    assert any(option in told for option in ("--repeats", "--updates", "--simulations"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_refuses_what_it_does_not_know(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--no-such-setting"])
    with pytest.raises(SystemExit) as ended:
        load(name).main()

    assert ended.value.code == 2
    assert "--no-such-setting" in capsys.readouterr().err


def test_a_library_that_is_not_there_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = load("others")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert others.missing("liger") == (
        "liger-kernel is not installed: pip install -c constraints.txt liger-kernel"
    )


def test_a_judgement_is_measured_from_questions_to_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = "--calls 40 --latency-ms 1 --verdicts 200 --repeats 1"
    monkeypatch.setattr(sys, "argv", ["judge", *sizes.split()])
    load("judge").main()
    told = capsys.readouterr().out

    assert "40 calls, 32 at once, 1 ms each" in told
    assert re.search(r"^share +\d", told, re.M)
    assert "replay of 200 verdicts" in told


TINY = {
    "cache": "--examples 8 --vocabulary 60 --top 4",
    "step": "--prompts 2 --samples 2 --tokens 3 --vocabulary 60",
}


@pytest.mark.parametrize(("name", "sizes"), TINY.items(), ids=TINY)
def test_a_benchmark_of_two_sides_ends_with_their_ratio(
    name: str, sizes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *sizes.split(), "--repeats", "1"])
    load(name).main()
    ratio = re.search(r"^ratio +([\d.]+)", capsys.readouterr().out, re.M)

    assert ratio is not None
    assert float(ratio[1]) > 0
