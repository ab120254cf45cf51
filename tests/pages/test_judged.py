import pytest
import reports

from ketchup_cli.errors import Damaged
from ketchup_cli.pages.judged import verdicts
from ketchup_cli.pages.parts import Figures, Words
from ketchup_cli.pages.sources import gather
from ketchup_cli.store import find
from ketchup_cli.store.layout import Store

FIGURE = {
    "x": "one",
    "y": "<b>two",
    "aspect": "quality",
    "units": 10,
    "unjudged": 1,
    "wins": 5,
    "ties": 3,
    "losses": 1,
    "win_rate": 0.7,
    "interval": [0.55, 0.8],
    "bounds": [0.6, 0.75],
    "p_holm": 0.03,
    "consistency": 0.8,
    "first_slot": None,
    "length_ratio": 1.0,
    "claim": "one is preferred",
}
DOCUMENT = {
    "judges": [{"name": "a judge", "controls": {"right": 19, "asked": 20, "by_kind": {}}}],
    "figures": [FIGURE],
    "warnings": ["few items"],
}


@pytest.fixture
def store(tmp_path):
    made = Store.open(tmp_path / "runs")
    reports.publish(made, "verdicts", {"judge.json": DOCUMENT}, name="v")
    return made


def test_verdicts_stand_with_their_rate_their_bounds_and_the_controls(store):
    said, drawn = verdicts(gather(store, ["v"])).blocks
    assert isinstance(said, Words)
    assert isinstance(drawn, Figures)
    row = [cell.replace("\u00a0", " ") for cell in drawn.table.rows[0]]

    assert said.paragraphs == (
        "Judge a judge: 19 of 20 controls answered rightly.",
        "one is preferred",
        "few items",
    )
    assert row[3:9] == ["5", "3", "1", "1", "0.700 [0.550, 0.800]", "0.600, 0.750"]
    assert [figure.title for figure in drawn.figures] == [
        "won, tied, lost by the first",
        "win rate of the first",
    ]
    assert not any("<b>two" in figure.drawing for figure in drawn.figures)


def test_ratings_stand_with_their_mean_their_bounds_and_their_counts(store):
    rating = {
        "system": "<i>one",
        "aspect": "quality",
        "items": 10,
        "unjudged": 1,
        "mean": 3.5,
        "interval": [3.1, 3.9],
        "bounds": [3.2, 3.7],
        "ratings": {"1": 0, "2": 1, "3": 4, "4": 3, "5": 1},
    }
    told = DOCUMENT | {"figures": [], "ratings": [rating], "differences": [{"claim": "above"}]}
    reports.publish(store, "verdicts", {"judge.json": told}, name="r", spec={"mode": "rating"})

    said, drawn = verdicts(gather(store, ["r"])).blocks
    row = [cell.replace("\u00a0", " ") for cell in drawn.table.rows[0]]

    assert said.paragraphs[1:] == ("above", "few items")
    assert row[2:] == ["10", "1", "3.50 [3.10, 3.90]", "3.20, 3.70", "0", "1", "4", "3", "1"]
    assert "<i>one" not in drawn.figures[0].drawing


def test_a_ranking_stands_with_its_places_and_the_wins_of_each_over_each(store):
    def place(system, number, places, strength):
        interval = [strength - 0.5, strength + 0.5]
        return {
            "system": system,
            "place": number,
            "places": places,
            "strength": strength,
            "interval": interval,
        }

    ranking = {
        "aspect": "quality",
        "systems": [place("<b>a", 1, [1, 1], 1.0), place("b", 2, [2, 3], 0.25)],
        "wins": {"<b>a": {"b": 9}, "b": {"<b>a": 4}},
        "circular": 1,
        "decided": 8,
    }
    told = DOCUMENT | {"ranking": [ranking]}
    reports.publish(store, "verdicts", {"judge.json": told}, name="k", spec={"against": "b"})

    drawn = verdicts(gather(store, ["k"])).blocks[2]
    rows = [[cell.replace("\u00a0", " ") for cell in row] for row in drawn.table.rows]

    assert rows == [
        ["quality", "<b>a", "1", "1.00 [0.50, 1.50]", "\u2013", "9"],
        ["quality", "b", "2 [2 to 3]", "0.25 [-0.25, 0.75]", "4", "\u2013"],
    ]
    assert "1 of 8 times" in drawn.table.caption
    assert "<b>a" not in drawn.figures[0].drawing


def test_verdicts_that_were_changed_are_not_shown(store):
    path = find.find(store, "v").path / "judge.json"
    path.write_bytes(path.read_bytes().replace(b"19", b"20"))

    with pytest.raises(Damaged):
        verdicts(gather(store, ["v"]))
