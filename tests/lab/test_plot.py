import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from ketchup_cli.lab.moments import Figure
from ketchup_cli.lab.plot import svg
from ketchup_cli.lab.report import Line, interval_words, number_words, table

FIGURES = ("trace", "relative_trace", "signal_to_noise", "cosine", "plain_cosine", "bias", "norm")


def line(label: str, value: float | None, *, k: int | None = None) -> Line:
    told = Figure(value=value, low=None, high=None)
    if value is not None:
        told = Figure(value=value, low=0.9 * value, high=1.1 * value)
    objective = {"name": "llmr"} if k is None else {"name": "ketchup", "k": k}
    return Line(
        label=label, objective=objective, reference=label, figures=dict.fromkeys(FIGURES, told)
    )


LINES = (
    line("K=1 max sampled", 1.0, k=1),
    line("K=4 max sampled", 0.25, k=4),
    line("K=all max sampled", None, k=64),
    line("llmr value=max", 0.75),
)


def texts(document: bytes) -> str:
    return " ".join(ET.fromstring(document).itertext())


def test_the_plot_names_panels_families_others_and_every_k():
    found = texts(svg(LINES))

    for word in ("trace of the covariance", "max sampled", "llmr value=max", "all", "4"):
        assert word in found


def test_two_processes_draw_the_same_bytes():
    code = (
        "import sys; sys.path[:0] = ['tests', 'tests/lab'];"
        "import test_plot as t; sys.stdout.buffer.write(t.svg(t.LINES))"
    )
    run = [sys.executable, "-c", code]
    other = subprocess.run(run, capture_output=True, check=True).stdout

    assert other == svg(LINES)


def test_the_plot_has_no_date():
    assert b"dc:date" not in svg(LINES)


def test_a_plot_without_any_k_is_a_plot():
    assert "llmr value=max" in texts(svg(LINES[3:]))


def test_matplotlib_is_not_imported_with_the_module():
    code = "import sys, ketchup_cli.lab.plot; sys.exit('matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# the table


def test_the_table_has_a_heading_and_columns_that_begin_alike():
    heading, *rows = table(LINES, {"K=1 max sampled": 0.1234})

    assert heading.split() == ["estimator", "trace", "signal/noise", "cosine", "bias", "|g|", "ms"]
    assert rows[0].endswith("123")
    assert rows[1].endswith("-")
    assert {row.index("[") for row in rows[:2]} == {rows[0].index("[")}


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "-"), (0.0, "0.000"), (0.12345, "0.123"), (0.0012345, "0.0012"), (-0.002, "-0.002")],
    ids=str,
)
def test_a_number_keeps_the_digits_that_tell(value: float | None, words: str):
    assert number_words(value) == words


def test_a_figure_without_an_interval_is_a_number():
    assert interval_words(Figure(value=0.5, low=None, high=None)) == "0.500"
