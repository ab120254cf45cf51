import pytest
import reports

from ketchup_cli.errors import Damaged
from ketchup_cli.pages.judged import verdicts
from ketchup_cli.pages.parts import Figures, Table, Words
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
    "length_adjusted": 0.66,
    "length_ratio": 1.25,
    "detectable": 0.72,
    "claim": "one is preferred",
}
DOCUMENT = {
    "judges": [
        {"name": "a judge", "controls": {"right": 19, "asked": 20, "by_kind": {"cut": "4/5"}}}
    ],
    "figures": [FIGURE],
    "warnings": ["few items"],
}


@pytest.fixture
def store(tmp_path):
    made = Store.open(tmp_path / "runs")
    reports.publish(made, "verdicts", {"judge.json": DOCUMENT}, name="v")
    return made


def test_verdicts_stand_with_their_rate_their_bounds_and_the_controls(store):
    said, drawn, columns = verdicts(gather(store, ["v"])).blocks
    assert isinstance(said, Words)
    assert isinstance(drawn, Figures)
    assert isinstance(columns, Table)
    row = [cell.replace("\u00a0", " ") for cell in drawn.table.rows[0]]

    assert said.paragraphs == (
        "Judge a judge: 19 of 20 controls answered rightly (cut 4/5).",
        "one is preferred",
        "few items",
    )
    assert row[3:9] == ["5", "3", "1", "1", "0.700 [0.550, 0.800]", "0.600, 0.750"]
    assert row[9:] == ["0.0300", "0.72", "0.80", "\u2013", "0.66", "1.25"]
    assert [figure.title for figure in drawn.figures] == [
        "quality: won, tied, lost by the first",
        "quality: win rate of the first",
    ]
    assert not any("<b>two" in figure.drawing for figure in drawn.figures)


def test_every_column_of_the_pairs_is_explained_in_a_line(store):
    _, drawn, columns = verdicts(gather(store, ["v"])).blocks

    told = ", ".join(name for name, _ in columns.rows)
    assert all(name in told for name in drawn.table.header[3:])


def table_of(store, name, title, **parts):
    """Publish a judgement with these parts; return the rows of the table whose caption begins so."""
    reports.publish(store, "verdicts", {"judge.json": DOCUMENT | parts}, name=name, spec=parts)
    blocks = verdicts(gather(store, [name])).blocks
    tables = [block for block in blocks if isinstance(block, Table)]
    (found,) = [one for one in tables if (one.caption or one.folded).startswith(title)]
    return [[cell.replace("\u00a0", " ") for cell in row] for row in found.rows]


def test_judges_stand_with_alpha_and_with_kappa_for_every_two(store):
    pair = {"one": "m", "other": "<b>n", "units": 40, "same": 0.8, "kappa": 0.61}
    found = {"aspect": "quality", "units": 41, "alpha": 0.5, "interval": [0.25, 0.75]}

    rows = table_of(
        store,
        "g",
        "How far the judges",
        agreement=[found | {"pairs": [pair, pair | {"kappa": None}]}],
    )

    assert rows == [
        ["quality", "all", "41", "\u2013", "alpha", "0.50 [0.25, 0.75]"],
        ["quality", "m, <b>n", "40", "80 %", "kappa", "0.61"],
        ["quality", "m, <b>n", "40", "80 %", "kappa", "\u2013"],
    ]


def test_a_judge_that_was_asked_again_stands_beside_itself(store):
    found = {"judge": "<b>m", "aspect": "quality", "questions": 1200}

    rows = table_of(
        store,
        "s",
        "Asked again",
        stability=[found | {"same": 0.9, "interval": [0.85, 0.95]}, found | {"questions": 0}],
    )

    assert rows == [
        ["<b>m", "quality", "1,200", "0.90 [0.85, 0.95]"],
        ["<b>m", "quality", "0", "\u2013"],
    ]


def test_judges_together_speak_first_and_each_alone_below_a_fold(store):
    several = [FIGURE | {"judge": name, "claim": f"{name} says"} for name in ("m", "n", "panel")]
    judges = [one | {"name": name} for name in ("m", "n") for one in DOCUMENT["judges"]]

    rows = table_of(store, "t", "what each judge", figures=several, judges=judges)

    said = verdicts(gather(store, ["t"])).blocks[0].paragraphs
    assert "panel: panel says" in said
    assert not any("m says" in paragraph for paragraph in said)
    assert rows == [["m", "m says"], ["n", "n says"]]


HUMAN = {
    "judge": "m",
    "x": "one",
    "y": "<b>two",
    "aspect": "quality",
    "units": 40,
    "same": 0.75,
    "kappa": 0.5,
    "kappa_interval": [0.25, 0.75],
    "confusion": {"tie": {"tie": 2, "x": 0, "y": 1}, "x": {"tie": 3, "x": 20, "y": 4}},
    "human_rate": 0.6,
    "sensitivity": 0.9,
    "specificity": 0.7,
    "corrected": 0.625,
    "corrected_interval": [0.5, 0.75],
}


def test_people_stand_beside_the_judge_with_the_corrected_rate_and_who_said_what(store):
    rows = table_of(store, "h", "Beside people", human=[HUMAN])
    said = table_of(store, "s", "verdicts of people", human=[HUMAN | {"units": 41}])

    assert rows == [
        [
            *("m", "quality", "one", "<b>two", "40", "75 %", "0.50 [0.25, 0.75]"),
            *("60 %", "0.625 [0.500, 0.750]", "90 %", "70 %"),
        ]
    ]
    assert said == [
        ["m", "quality: one, <b>two", "tie", "0", "2", "1"],
        ["m", "quality: one, <b>two", "one", "20", "3", "4"],
    ]


def test_examples_that_belong_together_are_spoken_of(store):
    told = DOCUMENT | {"clusters": {"count": 12, "shared": 50, "largest": 9}}
    reports.publish(store, "verdicts", {"judge.json": told}, name="c", spec={"documents": 12})

    said = verdicts(gather(store, ["c"])).blocks[0]

    assert "drawn together: 12 independent ones" in " ".join(said.paragraphs)


def test_ratings_stand_with_their_mean_their_bounds_and_their_counts(store):
    rating = {
        "system": "<i>one",
        "aspect": "quality",
        "items": 10,
        "unjudged": 1,
        "mean": 3.5,
        "interval": [3.1, 3.9],
        "bounds": [3.2, 3.7],
        "deviation": 0.8,
        "characters": 120.0,
        "ratings": {"1": 0, "2": 1, "3": 4, "4": 3, "5": 1},
    }
    apart = {
        "x": "<i>one",
        "y": "two",
        "aspect": "quality",
        "items": 10,
        "unjudged": 2,
        "difference": -0.5,
        "interval": [-1.0, 0.25],
        "bounds": [-1.2, 0.4],
        "p_holm": 0.2,
        "detectable": 0.9,
        "claim": "above",
    }
    told = DOCUMENT | {"figures": [], "ratings": [rating], "differences": [apart]}
    reports.publish(store, "verdicts", {"judge.json": told}, name="r", spec={"mode": "rating"})

    said, drawn, difference = verdicts(gather(store, ["r"])).blocks
    row, between = (
        [cell.replace("\u00a0", " ") for cell in block.table.rows[0]]
        for block in (drawn, difference)
    )

    assert said.paragraphs[1:] == ("above", "few items")
    assert row[2:6] == ["10", "1", "3.50 [3.10, 3.90]", "3.20, 3.70"]
    assert row[6:] == ["0.80", "120.0", "0", "1", "4", "3", "1"]
    assert between[3:7] == ["10", "2", "-0.50 [-1.00, 0.25]", "-1.20, 0.40"]
    assert between[7:] == ["0.20", "0.90"]
    assert not any("<i>one" in block.figures[0].drawing for block in (drawn, difference))


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

    drawn = verdicts(gather(store, ["k"])).blocks[3]
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
