"""The whole result of a judgement: `judge.json`, and what is said of it at the terminal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ketchup_cli.judging.probe import Abilities
from ketchup_cli.judging.prompts import FORM
from ketchup_cli.judging.ranking import cycles, davidson
from ketchup_cli.judging.tally import (
    BELIEVED,
    TRUSTED,
    Figure,
    Judgment,
    control_accuracy,
    figures,
    unjudged,
)


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """How the judge did on questions whose answer is known."""

    right: int
    asked: int
    by_kind: dict[str, str]

    @property
    def accuracy(self) -> float | None:
        """Share answered rightly; None where none was asked."""
        return self.right / self.asked if self.asked else None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a judgement came to."""

    form: str
    """Version of the prompt's wording."""
    task: str
    aspects: dict[str, str]
    abilities: Abilities
    model: str
    answered_by: tuple[str, ...]
    """Names and fingerprints the server gave itself; several are a warning."""
    items: int
    figures: tuple[Figure, ...]
    controls: Controls
    unjudged: dict[str, int]
    suspicious: int
    """Questions with a text that talks to the judge."""
    ranking: dict[str, dict[str, float]]
    """Strengths by aspect (log odds), for three systems or more and a judge that is believed."""
    warnings: tuple[str, ...]


def make_report(
    judgments: Sequence[Judgment],
    *,
    abilities: Abilities,
    model: str,
    asked: Mapping[str, Any],
    resamples: int,
    seed: int,
) -> Report:
    """Return the report of all judgements.

    Args:
        judgments: every call, controls among them.
        abilities: how the judge was asked.
        model: the judge.
        asked: `task` and `aspects`, as they were shown.
        resamples: bootstrap samples and sign flips.
        seed: decides them.
    """
    found = figures(judgments, resamples=resamples, seed=seed)
    right, count, by_kind = control_accuracy(judgments)
    controls = Controls(right=right, asked=count, by_kind=by_kind)
    accuracy = controls.accuracy
    believed = accuracy is None or accuracy >= BELIEVED
    if not believed:
        told = (
            f"nothing is claimed: the judge answered {right} of {count} controls rightly, which is"
            f" below {BELIEVED:.0%}"
        )
        found = tuple(msgspec.structs.replace(figure, claim=told) for figure in found)
    real = [row for row in judgments if row.control is None]
    return Report(
        form=FORM,
        task=asked["task"],
        aspects=dict(asked["aspects"]),
        abilities=abilities,
        model=model,
        answered_by=tuple(sorted({f"{row.model} {row.fingerprint}".strip() for row in real})),
        items=len({row.item for row in real}),
        figures=found,
        controls=controls,
        unjudged=unjudged(judgments),
        suspicious=sum(row.suspicious for row in real),
        ranking=_ranking(found) if believed else {},
        warnings=tuple(_warnings(real, found, controls)),
    )


def lines(report: Report) -> list[tuple[str, str]]:
    """Return what a person reads: a line a figure, then the claims, then the judge itself."""
    told: list[tuple[str, str]] = []
    for figure in report.figures:
        told.append((figure.aspect, _figure_line(figure)))
    seen: set[str] = set()
    for figure in report.figures:
        if figure.claim not in seen:
            told.append(("" if seen else "claim", figure.claim))
            seen.add(figure.claim)
    controls = report.controls
    if controls.asked:
        kinds = ", ".join(f"{kind} {count}" for kind, count in controls.by_kind.items())
        told.append(("controls", f"{controls.right} of {controls.asked} right ({kinds})"))
    if report.unjudged:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.unjudged.items())
        told.append(("unjudged", reasons))
    return told


def _figure_line(figure: Figure) -> str:
    counts = f"{figure.wins} won, {figure.ties} tied, {figure.losses} lost"
    if figure.win_rate is None or figure.interval is None:
        return f"{figure.x} against {figure.y}: {counts}"
    low, high = figure.interval
    parts = [
        f"{figure.x} against {figure.y}: {figure.win_rate:.1%} [{low:.1%}, {high:.1%}]",
        f"p {figure.p_holm:.2g}" if figure.p_holm is not None else "",
        counts,
        f"orders agree {figure.consistency:.0%}" if figure.consistency is not None else "",
        f"first slot {figure.first_slot:.0%}" if figure.first_slot is not None else "",
        f"at equal length {figure.length_adjusted:.1%}" if figure.length_adjusted else "",
    ]
    return ", ".join(filter(None, parts))


def _ranking(found: Sequence[Figure]) -> dict[str, dict[str, float]]:
    by_aspect: dict[str, dict[tuple[str, str], tuple[float, float, float]]] = defaultdict(dict)
    for figure in found:
        by_aspect[figure.aspect][figure.x, figure.y] = (figure.wins, figure.ties, figure.losses)
    return {
        aspect: davidson(counts)
        for aspect, counts in by_aspect.items()
        if len({name for pair in counts for name in pair}) > 2
    }


def _warnings(rows: Sequence[Judgment], found: Sequence[Figure], controls: Controls) -> list[str]:
    warnings: list[str] = []
    accuracy = controls.accuracy
    if accuracy is None:
        warnings.append("no control was asked: what this judge is worth is not known")
    elif accuracy < TRUSTED:
        warnings.append(
            f"the judge answered {controls.right} of {controls.asked} controls rightly; below"
            f" {TRUSTED:.0%} its preferences are in doubt, below {BELIEVED:.0%} none is claimed"
        )
    names = {(row.model, row.fingerprint) for row in rows if row.outcome == "ok"}
    if len(names) > 1:
        warnings.append(f"the server answered under {len(names)} names or fingerprints")
    for figure in found:
        slot = figure.first_slot
        sure = figure.units >= 10 and slot is not None
        if sure and slot is not None and abs(slot - 0.5) > 2 / math.sqrt(figure.units):
            warnings.append(
                f"{figure.aspect}: {slot:.0%} of decisive answers chose what was shown first; both"
                " orders were asked, so rates stand, but ties hide much"
            )
    rates: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for figure in found:
        if figure.win_rate is not None:
            rates[figure.aspect][figure.x, figure.y] = figure.win_rate
    for aspect, of_pairs in rates.items():
        warnings += [
            f"{aspect}: {a} is preferred to {b}, {b} to {c}, and {c} to {a}"
            for a, b, c in cycles(of_pairs)
        ]
    return warnings
