"""What the laboratory found, as one document and as the lines of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from ketchup_cli.lab.estimators import Estimator
from ketchup_cli.lab.moments import Figure, Moments, figures
from ketchup_cli.spec import Table

LEVEL = 0.95
"""Share of intervals that hold the true figure, where errors are normal."""

COLUMNS = (
    ("relative_trace", "trace"),
    ("signal_to_noise", "signal/noise"),
    ("cosine", "cosine"),
    ("bias", "bias"),
)
"""Figures of the table, and their headings."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One estimator with its figures."""

    label: str
    objective: Table
    reference: str
    figures: Mapping[str, Figure]


def lines(estimators: Sequence[Estimator], moments: Mapping[str, Moments]) -> tuple[Line, ...]:
    """Return the figures of every estimator, in the order they were asked for.

    Traces are in units of the first estimator's reference.
    """
    unit = moments[estimators[0].reference]
    quantile = t_quantile(len(unit.sizes_G) - 1)
    return tuple(
        Line(
            label=item.label,
            objective=item.table,
            reference=item.reference,
            figures=figures(
                moments[item.label], moments[item.reference], unit=unit, quantile=quantile
            ),
        )
        for item in estimators
    )


def t_quantile(freedom: int) -> float:
    """Return how many standard errors an interval reaches to each side, by Student's t."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def table(found: Sequence[Line], seconds: Mapping[str, float]) -> list[str]:
    """Return a heading and a line for every estimator, in columns."""
    rows = [["estimator", *(heading for _, heading in COLUMNS), "|g|", "ms"]]
    for line in found:
        told = [interval_words(line.figures[name]) for name, _ in COLUMNS]
        took = f"{1000 * seconds[line.label]:.0f}" if line.label in seconds else "-"
        rows.append([line.label, *told, number_words(line.figures["norm"].value), took])
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def legend(found: Sequence[Line], *, groups: int) -> tuple[str, ...]:
    """Return what the figures of the table and of the plot mean, line by line."""
    references = ", ".join(f"`{label}`" for label in dict.fromkeys(x.reference for x in found))
    against = references if "," not in references else f"each its own of {references}"
    return (
        f"trace: of the covariance of a batch's gradient, in units of that of `{found[0].reference}`",
        "signal/noise: squared length of the mean over the trace, the mean's own noise taken off",
        f"cosine, bias: of the mean against that of the reference ({against}); the bias in lengths"
        " of the reference's mean",
        "both are estimates without bias, so a cosine may pass 1; `-`: a mean, the reference's or its"
        " own, is lost in the noise",
        f"[low, high], upright lines: {LEVEL:.0%} jackknife intervals over {groups} groups of batches;"
        " they say nothing of other prompts or students",
    )


def interval_words(figure: Figure) -> str:
    """Return `0.295 [0.271, 0.321]`."""
    if figure.low is None or figure.high is None:
        return number_words(figure.value)
    ends = f"{number_words(figure.low)}, {number_words(figure.high)}"
    return f"{number_words(figure.value)} [{ends}]"


def number_words(value: float | None) -> str:
    """Return a number to three places, or to two digits where it is smaller than those show."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"
