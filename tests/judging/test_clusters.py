import msgspec
import pytest
from judged import FORM, judged
from judged import items as made

from ketchup_cli.judging.agreeing import agreements
from ketchup_cli.judging.calls import Item
from ketchup_cli.judging.clusters import Clusters, clusters_of, told_of
from ketchup_cli.judging.human import Label, human_figures
from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.probe import Abilities
from ketchup_cli.judging.ranking import rankings
from ketchup_cli.judging.report import Report, Terms, make_report
from ketchup_cli.judging.report_lines import lines
from ketchup_cli.judging.tally import Judgment, figures

VERDICTS = [(word, word) for word in ("x", "y", "tie", "x", "x", "y", "x") * 6]
ONCE = Resampling(resamples=1000, seed=0)


def item(id: str, source: str, document: str = "") -> Item:
    return Item(id=id, source=source, reference="", texts={}, document=document)


def test_items_of_one_document_belong_together_and_else_those_of_one_source() -> None:
    several = [
        item("a", "one", "d"),
        item("b", "two"),
        item("c", "three", "d"),
        item("e", "two"),
        item("f", "one"),
        item("g", "d"),
    ]

    found = clusters_of(several)

    assert found == {"a": "a", "c": "a", "b": "b", "e": "b"}
    assert told_of([one.id for one in several], found) == Clusters(count=4, shared=4, largest=2)


def test_items_of_sources_of_their_own_stand_alone() -> None:
    assert clusters_of(made(5)) == {}


def twice(rows: list[Judgment]) -> tuple[list[Judgment], Resampling]:
    """Return every verdict for a second item too, and that the two belong together."""
    copies = [msgspec.structs.replace(row, item=f"{row.item}'") for row in rows]
    clusters = {name: row.item for row in rows for name in (row.item, f"{row.item}'")}
    return [*rows, *copies], Resampling(resamples=1000, seed=0, clusters=clusters)


def test_what_is_said_twice_of_a_document_is_no_more_evidence_for_a_win_rate() -> None:
    rows, how = twice(judged(VERDICTS))

    (found,) = figures(rows, how=how)

    (once,) = figures(judged(VERDICTS), how=ONCE)
    assert (found.units, found.clusters) == (84, 42)
    assert (found.interval, found.p) == (once.interval, once.p)


def test_nor_for_a_ranking() -> None:
    one = [*judged(VERDICTS), *judged(VERDICTS, y="c"), *judged(VERDICTS, x="b", y="c")]
    rows, how = twice(one)

    (found,) = rankings(rows, (), ("",), how=how)

    (once,) = rankings(one, (), ("",), how=ONCE)
    for place, before in zip(found.systems, once.systems, strict=True):
        assert place.places == before.places
        # the ridge weighs half as much where there is twice as much
        assert place.interval == pytest.approx(before.interval, abs=0.01)


def test_nor_for_the_agreement_of_judges() -> None:
    other = [*VERDICTS[3:], *VERDICTS[:3]]
    one = [*judged(VERDICTS, judge="m"), *judged(other, judge="n")]
    rows, how = twice(one)

    (found,) = agreements(rows, how=how)

    (once,) = agreements(one, how=ONCE)
    assert found.pairs[0].interval == once.pairs[0].interval
    # alpha alone counts a pair of labels less for the one it is taken from
    assert found.interval == pytest.approx(once.interval, abs=0.01)


def test_nor_for_a_rate_that_people_correct() -> None:
    said = [word if n % 6 else "y" for n, (word, _) in enumerate(VERDICTS)]
    people = [
        Label(item=str(n), aspect="quality", x="a", y="b", verdict=word)
        for n, word in enumerate(said)
    ]
    copies = [msgspec.structs.replace(label, item=f"{label.item}'") for label in people]
    rows, how = twice(judged(VERDICTS))

    (found,) = human_figures(rows, [*people, *copies], how=how)

    (once,) = human_figures(judged(VERDICTS), people, how=ONCE)
    (alone,) = human_figures(rows, [*people, *copies], how=ONCE)
    assert found.kappa_interval == once.kappa_interval
    # smoothing adds as much to twice the labels
    assert width(found.corrected_interval) == pytest.approx(width(once.corrected_interval), rel=0.1)
    assert width(alone.corrected_interval) < 0.85 * width(once.corrected_interval)


def width(interval: tuple[float, float] | None) -> float:
    assert interval
    return interval[1] - interval[0]


def report(clusters: dict[str, str]) -> Report:
    terms = Terms(
        judges={"m": Abilities(protocol="text")},
        task=FORM.task,
        aspects=FORM.aspects,
        systems=("a", "b"),
        how=Resampling(resamples=1000, seed=0, clusters=clusters),
    )
    return make_report(judged([("x", "x")] * 60, judge="m"), terms)


def test_sixty_items_of_six_documents_are_too_few_for_a_claim() -> None:
    found = report({str(n): str(n % 6) for n in range(60)})

    assert found.clusters == Clusters(count=6, shared=60, largest=10)
    assert found.figures[0].claim == (
        "no difference of a and b in quality can be claimed: 6 of 30 independent items"
    )
    assert ("items", "60 share a document or a source: 6 independent ones") in lines(found)


def test_items_that_stand_alone_are_not_spoken_of() -> None:
    assert "items" not in dict(lines(report({})))
