"""What is said of a judgement at the terminal."""

from __future__ import annotations

from ketchup_cli.judging.agreeing import JudgesAgreement
from ketchup_cli.judging.human import HumanFigure
from ketchup_cli.judging.ranking import Ranking
from ketchup_cli.judging.rating_figures import RatingDifference, RatingFigure
from ketchup_cli.judging.report import Report
from ketchup_cli.judging.stability import Stability
from ketchup_cli.judging.tally import Figure


def lines(report: Report) -> list[tuple[str, str]]:
    """Return what a person reads: a line a figure, then the claims, then the judges themselves."""
    several = len(report.judges) > 1

    def by(judge: str) -> str:
        return f"{judge}: " if several else ""

    told = list(report.clusters.line)
    told += [(one.aspect, by(one.judge) + _figure_line(one)) for one in report.figures]
    told += [(one.aspect, by(one.judge) + _rating_line(one)) for one in report.ratings]
    told += [(one.aspect, by(one.judge) + _difference_line(one)) for one in report.differences]
    claimed = [by(one.judge) + one.claim for one in report.figures]
    claimed += [by(one.judge) + one.claim for one in report.differences]
    told += [
        ("" if number else "claim", claim) for number, claim in enumerate(dict.fromkeys(claimed))
    ]
    told += [line for one in report.ranking for line in _ranking_lines(one)]
    told += [line for one in report.agreement for line in _agreement_lines(one)]
    told += [("repeats", by(one.judge) + _stability_line(one)) for one in report.stability]
    told += [("people", by(one.judge) + _human_line(one)) for one in report.human]
    for judge in report.judges:
        controls = judge.controls
        if controls.asked:
            kinds = ", ".join(f"{kind} {count}" for kind, count in controls.by_kind.items())
            right = f"{controls.right} of {controls.asked} right ({kinds})"
            told.append(("controls", by(judge.name) + right))
        if judge.unjudged:
            reasons = ", ".join(f"{count} {reason}" for reason, count in judge.unjudged.items())
            told.append(("unjudged", by(judge.name) + reasons))
    return told


def _ranking_lines(found: Ranking) -> list[tuple[str, str]]:
    """Return a line a system, the strongest first: its place, its strength, whom it beat how often."""
    told: list[tuple[str, str]] = []
    for one in found.systems:
        best, worst = one.places
        parts = [
            f"{one.place} {one.system}" + ("" if best == worst else f" [{best} to {worst}]"),
            f"{one.strength:+.2f} [{one.interval[0]:+.2f}, {one.interval[1]:+.2f}]",
            "won " + ", ".join(f"{n} over {other}" for other, n in found.wins[one.system].items()),
        ]
        label = "ranking" if one.place == 1 else ""
        told.append((label, f"{found.aspect}: {', '.join(parts)}"))
    if found.decided:
        round_ = f"{found.circular} of {found.decided} times three verdicts on an item go round"
        told.append(("", f"{found.aspect}: {round_}; by chance a quarter"))
    return told


def _agreement_lines(found: JudgesAgreement) -> list[tuple[str, str]]:
    told = [("agreement", f"{found.aspect}: alpha {_coefficient(found.alpha, found.interval)}")]
    for pair in found.pairs:
        same = "" if pair.same is None else f", the same on {pair.same:.0%} of {pair.units}"
        kappa = _coefficient(pair.kappa, pair.interval)
        told.append(("", f"{found.aspect}: {pair.one} and {pair.other}, kappa {kappa}{same}"))
    return told


def _stability_line(found: Stability) -> str:
    if found.same is None:
        return f"{found.aspect}: no question was answered twice"
    told = f"{found.aspect}: asked again, the same answer {found.same:.0%}"
    if found.interval is not None:
        told += f" [{found.interval[0]:.0%}, {found.interval[1]:.0%}]"
    return f"{told} of the time, over {found.questions:,} questions"


def _human_line(found: HumanFigure) -> str:
    parts = [
        f"{found.aspect}, {found.x} against {found.y}: corrected"
        f" {_rate(found.corrected, found.corrected_interval)}",
        f"{found.units} labelled",
        f"kappa {_coefficient(found.kappa, found.kappa_interval)}",
    ]
    parts += [] if found.same is None else [f"the same on {found.same:.0%}"]
    return ", ".join(parts)


def _rate(rate: float | None, interval: tuple[float, float] | None) -> str:
    if rate is None or interval is None:
        return (
            "not possible: this judge tells people's wins from their losses no better than a coin"
        )
    return f"{rate:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"


def _coefficient(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "does not exist: nothing was labelled twice, or all alike"
    return f"{value:.2f}" + ("" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]")


def _rating_line(figure: RatingFigure) -> str:
    if figure.mean is None:
        return f"{figure.system}: nothing rated"
    parts = [f"{figure.system}: {figure.mean:.2f}"]
    if figure.interval is not None:
        parts[0] += f" [{figure.interval[0]:.2f}, {figure.interval[1]:.2f}]"
    parts.append(" ".join(f"{rating}:{count}" for rating, count in figure.ratings.items()))
    return ", ".join(parts)


def _difference_line(apart: RatingDifference) -> str:
    if apart.difference is None or apart.interval is None:
        return f"{apart.x} less {apart.y}: nothing rated in both"
    low, high = apart.interval
    told = f"{apart.x} less {apart.y}: {apart.difference:+.2f} [{low:+.2f}, {high:+.2f}]"
    return told if apart.p_holm is None else f"{told}, p {apart.p_holm:.2g}"


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
        f"{figure.length_ratio:.2f} times as long",
        _length_line(figure),
        _unjudged_line(figure),
        "" if figure.detectable is None else f"finds {figure.detectable:.1%} or more",
    ]
    return ", ".join(filter(None, parts))


def _length_line(figure: Figure) -> str:
    if figure.length_adjusted is None:
        return ""
    return f"at equal length {figure.length_adjusted:.1%}"


def _unjudged_line(figure: Figure) -> str:
    if not figure.unjudged:
        return ""
    worst, best = figure.bounds
    return f"{figure.unjudged} unjudged: {worst:.1%} if lost, {best:.1%} if won"
