"""The whole result of a judgement: `judge.json`, and what is said of it at the terminal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, final

import msgspec

from ketchup_cli.judging.agreeing import JudgesAgreement, agreements
from ketchup_cli.judging.clusters import Clusters, told_of
from ketchup_cli.judging.controls import BELIEVED, LEFT, TRUSTED, Controls
from ketchup_cli.judging.human import HumanFigure, Label, human_figures, unused_labels
from ketchup_cli.judging.measures import PANEL, Resampling
from ketchup_cli.judging.probe import Abilities
from ketchup_cli.judging.prompts import (
    FORM,
    JOINT_FORM,
    JOINT_RATING_FORM,
    RATING_FORM,
    prompt_sha256,
)
from ketchup_cli.judging.ranking import Ranking, cycles, rankings
from ketchup_cli.judging.rating import Rated
from ketchup_cli.judging.rating_figures import (
    RatingDifference,
    RatingFigure,
    rating_controls_of,
    rating_differences,
    rating_figures,
)
from ketchup_cli.judging.stability import Stability, stabilities
from ketchup_cli.judging.tally import Figure, Judgment, controls_of, figures, unjudged

AnyRow = TypeVar("AnyRow", Judgment, Rated)


class JudgeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One judge: how it was asked, and what it is worth."""

    name: str
    """As its server is asked for it."""
    abilities: Abilities
    answered_by: tuple[str, ...]
    """Names and fingerprints the server gave itself; several are a warning."""
    prompts: dict[str, str]
    """SHA-256 of the wording of its questions, by aspect; joint ones are of one wording."""
    controls: Controls
    planned: int
    """Answers that were asked for, one an aspect; controls are not counted."""
    judged: int
    unjudged: dict[str, int]
    """Answers that came to nothing, by reason."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a judgement came to."""

    mode: Literal["pairwise", "rating"]
    aspect_mode: Literal["separate", "joint"]
    """Whether each aspect was asked about in a call of its own, or all in one."""
    form: str
    """Version of the prompt's wording."""
    task: str
    aspects: dict[str, str]
    items: int
    judges: tuple[JudgeFacts, ...]
    figures: tuple[Figure, ...]
    """Of every pair; none where texts were rated."""
    ratings: tuple[RatingFigure, ...]
    differences: tuple[RatingDifference, ...]
    agreement: tuple[JudgesAgreement, ...]
    """Of several judges, by aspect."""
    stability: tuple[Stability, ...]
    """Of every judge and aspect, where questions were repeated."""
    human: tuple[HumanFigure, ...]
    """Every judge beside people, where these labelled some items."""
    clusters: Clusters
    """How the items hang together; all intervals and tests go over clusters."""
    suspicious: int
    """Questions with a text that talks to the judge."""
    ranking: tuple[Ranking, ...]
    """By aspect, of three systems or more, by all judges that are believed together; else empty."""
    resamples: int
    """Bootstrap samples behind an interval, and sign flips behind a p."""
    seed: int
    warnings: tuple[str, ...]

    @property
    def claims(self) -> tuple[str, ...]:
        """What may be said of every pair: by the judges together, where there are several, first."""
        found: tuple[Figure | RatingDifference, ...] = (*self.figures, *self.differences)
        return tuple(one.claim for one in sorted(found, key=lambda one: one.judge != PANEL))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was asked, of whom, and how its answers are counted."""

    judges: Mapping[str, Abilities]
    """How each was asked, by name."""
    task: str
    aspects: Mapping[str, str]
    systems: tuple[str, ...]
    how: Resampling
    joint: bool = False
    """Whether one call asked about all aspects."""

    @property
    def aspect_mode(self) -> Literal["separate", "joint"]:
        """The same as it is set."""
        return "joint" if self.joint else "separate"


def make_report(rows: Sequence[Judgment], terms: Terms, *, labels: Sequence[Label] = ()) -> Report:
    """Return the report of verdicts, controls among them, beside what people said.

    Raises:
        DataError: there are labels, and none is of what was judged.
    """
    judges = _judges(rows, terms, controls_of, alone=False)
    silent = _silent(judges)
    believed = [name for name in terms.judges if name not in silent]
    found = tuple(
        msgspec.structs.replace(one, claim=silent.get(one.judge, one.claim))
        for one in figures(rows, panel=believed, how=terms.how)
    )
    return Report(
        mode="pairwise",
        aspect_mode=terms.aspect_mode,
        form=JOINT_FORM if terms.joint else FORM,
        judges=judges,
        figures=found,
        ratings=(),
        differences=(),
        human=human_figures(rows, labels, how=terms.how) if labels else (),
        ranking=rankings(rows, found, believed, how=terms.how),
        warnings=(*_doubts(judges), *_leanings(found), *_lost(rows, labels)),
        **_asked(rows, terms),
    )


def make_rating_report(rows: Sequence[Rated], terms: Terms) -> Report:
    """Return the report of ratings, controls among them."""
    judges = _judges(rows, terms, rating_controls_of, alone=True)
    silent = _silent(judges)
    believed = [name for name in terms.judges if name not in silent]
    return Report(
        mode="rating",
        aspect_mode=terms.aspect_mode,
        form=JOINT_RATING_FORM if terms.joint else RATING_FORM,
        judges=judges,
        figures=(),
        ratings=rating_figures(rows, panel=believed, how=terms.how),
        differences=tuple(
            msgspec.structs.replace(one, claim=silent.get(one.judge, one.claim))
            for one in rating_differences(rows, terms.systems, panel=believed, how=terms.how)
        ),
        human=(),
        ranking=(),
        warnings=_doubts(judges),
        **_asked(rows, terms),
    )


def _asked(rows: Sequence[Judgment] | Sequence[Rated], terms: Terms) -> dict[str, Any]:
    """Return what a report says of any kind of questions."""
    real = [row for row in rows if row.control is None]
    items = list(dict.fromkeys(row.item for row in real))
    return {
        "task": terms.task,
        "aspects": dict(terms.aspects),
        "items": len(items),
        "agreement": agreements(rows, how=terms.how),
        "stability": stabilities(rows, how=terms.how),
        "clusters": told_of(items, terms.how.clusters),
        "suspicious": sum(row.suspicious for row in real),
        "resamples": terms.how.resamples,
        "seed": terms.how.seed,
    }


def _judges(
    rows: Sequence[AnyRow],
    terms: Terms,
    controls: Callable[[Sequence[AnyRow]], Controls],
    *,
    alone: bool,
) -> tuple[JudgeFacts, ...]:
    found: list[JudgeFacts] = []
    for name, abilities in terms.judges.items():
        own = [row for row in rows if row.judge == name]
        real = [row for row in own if row.control is None]
        answered = [row for row in real if row.outcome == "ok"]
        names = {(row.model, row.fingerprint) for row in answered}
        found.append(
            JudgeFacts(
                name=name,
                abilities=abilities,
                answered_by=tuple(sorted(" ".join(filter(None, both)) for both in names)),
                prompts=_prompts(terms, abilities, alone=alone),
                controls=controls(own),
                planned=len(real),
                judged=len(answered),
                unjudged=unjudged(own),
            )
        )
    return tuple(found)


def _prompts(terms: Terms, abilities: Abilities, *, alone: bool) -> dict[str, str]:
    def hashed(aspects: Mapping[str, str]) -> str:
        return prompt_sha256(terms.task, aspects, protocol=abilities.protocol, alone=alone)

    if terms.joint:
        return dict.fromkeys(terms.aspects, hashed(terms.aspects))
    return {aspect: hashed({aspect: definition}) for aspect, definition in terms.aspects.items()}


def _silent(judges: Sequence[JudgeFacts]) -> dict[str, str]:
    """Return what stands in place of every claim of a judge that is not believed."""
    return {
        judge.name: f"nothing is claimed: {_failed(judge)}"
        for judge in judges
        if not judge.controls.believed
    }


def _failed(judge: JudgeFacts) -> str:
    controls = judge.controls
    if controls.mute and controls.asked < LEFT:
        return f"only {controls.asked} controls of {judge.name} could tell anything of it"
    return (
        f"{judge.name} answered {controls.right} of {controls.asked} controls rightly,"
        f" which is below {BELIEVED:.0%}"
    )


def _doubts(judges: Sequence[JudgeFacts]) -> tuple[str, ...]:
    """Return what speaks against a judge itself."""
    found: list[str] = []
    for judge in judges:
        controls, accuracy = judge.controls, judge.controls.accuracy
        if controls.mute:
            found.append(
                f"{controls.mute} of the controls of {judge.name} told nothing: the text itself has the"
                " lowest rating, and nothing can be rated below it"
            )
        if accuracy is None and not controls.mute:
            found.append(f"no control was asked: what the judge {judge.name} is worth is not known")
        if accuracy is not None and accuracy < TRUSTED:
            found.append(
                f"{judge.name} answered {controls.right} of {controls.asked} controls rightly;"
                f" below {TRUSTED:.0%} its preferences are in doubt, below {BELIEVED:.0%} none is"
                " claimed, and nothing ranked"
            )
        if len(judge.answered_by) > 1:
            found.append(
                f"the server of {judge.name} answered under {len(judge.answered_by)} names or"
                " fingerprints"
            )
    return tuple(found)


def _lost(rows: Sequence[Judgment], labels: Sequence[Label]) -> tuple[str, ...]:
    lost = unused_labels(rows, labels)
    told = f"{lost:,} of {len(labels):,} labels of people are of nothing that was judged"
    return (told,) if lost else ()


def _leanings(found: Sequence[Figure]) -> tuple[str, ...]:
    """Return where a judge chose by the slot, and where preferences go round in a circle."""
    warnings: list[str] = []
    for figure in found:
        slot = figure.first_slot
        sure = figure.units >= 10 and slot is not None
        if sure and slot is not None and abs(slot - 0.5) > 2 / math.sqrt(figure.units):
            warnings.append(
                f"{figure.judge}, {figure.aspect}, {figure.x} and {figure.y}: {slot:.0%} of decisive"
                " answers chose what was shown first; both orders were asked, so rates stand, but"
                " ties hide much"
            )
    rates: dict[tuple[str, str], dict[tuple[str, str], float]] = defaultdict(dict)
    for figure in found:
        if figure.win_rate is not None:
            rates[figure.judge, figure.aspect][figure.x, figure.y] = figure.win_rate
    for (judge, aspect), of_pairs in rates.items():
        warnings += [
            f"{judge}, {aspect}: {a} is preferred to {b}, {b} to {c}, and {c} to {a}"
            for a, b, c in cycles(of_pairs)
        ]
    return tuple(warnings)
