"""`ketchup distill --objective circuits` as typed."""

import itertools
import json
from pathlib import Path

import pytest

from ketchup_cli.circuits.netlist import evaluate

COMMAND = ("distill", "--objective", "circuits", "--decisions", "decisions.csv")


@pytest.fixture
def decisions(folder):
    """Rows a, b, c with the decision a and not b, every row three times."""
    rows = [
        f"{a},{b},{c},{'yes' if a and not b else 'no'}\n"
        for a, b, c in itertools.product((0, 1), repeat=3)
    ]
    (folder / "decisions.csv").write_text("a,b,c,decision\n" + "".join(rows * 3), encoding="utf-8")


@pytest.mark.usefixtures("decisions")
def test_decisions_become_gates_that_decide_alike(ketchup):
    result = ketchup(*COMMAND, "--set", "held_out=0.3", "--set", "orders=3", "--json")

    assert result.code == 0, result.err
    folder = Path(result.json["path"])
    netlist = json.loads((folder / "netlist.json").read_text(encoding="utf-8"))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert [item["name"] for item in netlist["inputs"]] == ["a", "b", "c"]
    assert [evaluate(netlist, x) for x in range(8)] == [0, 1, 0, 0, 0, 1, 0, 0]
    assert (report["fidelity"], report["orders"]["least"]) == (1.0, 1.0)
    assert report["baselines"]["majority a cell"] == 1.0


@pytest.mark.usefixtures("decisions")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("distill", "--objective", "circuits"), "`--decisions FILE` is missing"),
        (("distill", "--decisions", "decisions.csv"), "`--objective circuits` is missing"),
        ((*COMMAND, "--student", "x"), "`--student` belongs to a training"),
        ((*COMMAND, "--set", "decision=verdict"), "`verdict` is not a field of"),
        ((*COMMAND, "--set", 'features=["a", "decision"]'), "field `decision` is no number"),
    ],
    ids=["no file", "no objective", "a student", "no such field", "no number"],
)
def test_what_does_not_go_with_circuits_is_refused(ketchup, arguments, message):
    result = ketchup(*arguments)

    assert result.code in {1, 2}
    assert message in result.err
