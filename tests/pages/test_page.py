"""What stands on a page, section by section, for a store of a few artifacts."""

import pytest
import reports

from ketchup_cli.errors import Damaged
from ketchup_cli.pages.compared import comparison
from ketchup_cli.pages.laboratory import laboratory
from ketchup_cli.pages.models import models, tradeoff
from ketchup_cli.pages.overview import asked, cost, lineage
from ketchup_cli.pages.page import make_page
from ketchup_cli.pages.parts import Figures, Samples, Section, Table, Words
from ketchup_cli.pages.samples import samples
from ketchup_cli.pages.scored import scores
from ketchup_cli.pages.sources import gather
from ketchup_cli.pages.systems import systems
from ketchup_cli.pages.training import MOST_POINTS, curves
from ketchup_cli.store import find
from ketchup_cli.store.artifact import as_input


def tables(section: Section | None) -> list[Table]:
    blocks = section.blocks if section else ()
    direct = [block for block in blocks if isinstance(block, Table)]
    return [*direct, *(block.table for block in blocks if isinstance(block, Figures))]


# sections


def test_every_score_stands_with_its_interval_and_its_signature(store):
    shown, signatures = sorted(
        tables(scores(gather(store, ["one", "two"]))), key=lambda t: t.header
    )
    rows = [tuple(cell.replace("\u00a0", " ") for cell in row) for row in shown.rows]

    assert shown.header == ("metric", "items", "one", "two")
    assert rows[0] == ("BLEU", "6 of test", "30.00 [22.00, 38.00]", "20.00 [12.00, 28.00]")
    assert signatures.rows == (("BLEU", "bleu|nrefs:1"), ("TER", "ter|nrefs:1"))


def test_a_metric_of_which_less_is_better_says_so(store):
    section = scores(gather(store, ["one"]))
    titles = [
        f.title for block in section.blocks if isinstance(block, Figures) for f in block.figures
    ]

    assert titles == ["BLEU, test", "TER, test (lower is better)"]


def test_a_comparison_shows_differences_tests_and_values(store):
    section = comparison(gather(store, ["versus"]))
    differences, values = tables(section)[2], tables(section)[0]
    rows = [tuple(cell.replace("\u00a0", " ") for cell in row) for row in differences.rows]

    assert rows[0][1:5] == ("one", "two", "-3.00 [-5.00, -1.00]", "< 0.0001 (0.02)")
    assert [row[6] for row in rows] == ["two is lower", "not shown"]
    assert values.rows[0][1].replace("\u00a0", " ") == "20.00 [18.00, 22.00], 2 runs"
    assert any(block.paragraphs == ("mind the gap",) for block in section.blocks[:1])


def test_models_show_size_and_speed_and_a_plain_folder_is_one_too(store):
    (shown,) = tables(models(gather(store, ["one"])))

    assert [row[0] for row in shown.rows] == ["plain folder", "start", "one"]
    assert shown.rows[2][2:5] == ("600 k", "500 B", "12.5")


def test_quality_against_size_takes_two_systems(store):
    assert tradeoff(gather(store, ["one"])) is None
    assert len(tables(tradeoff(gather(store, ["one", "two"])))[0].rows) == 2


def test_every_curve_of_the_log_is_drawn_with_its_numbers(store):
    section = curves(gather(store, ["one"]))
    (block,) = section.blocks
    titles = [figure.title for figure in block.figures]

    assert titles == [
        "loss",
        "return",
        "variance of the return",
        "variance of the advantage",
        "gradient norm",
        "entropy",
        "length",
        "dev BLEU",
    ]
    assert block.table.header[:3] == ("update", "loss", "return")
    assert block.table.rows[1][:3] == ("1", "4.00", "\u221219.00")
    assert "Kept update 4" in block.caption


def test_a_long_log_is_averaged_in_equal_parts(tmp_path):
    made = reports.make_store(tmp_path, students=[], values=[])
    log = [{"update": n, "loss": float(n % 2)} for n in range(1, 241)]
    reports.publish(made, "model", {"a": b"x"}, name="m", log=log, summary={"best_update": 240})
    (block,) = curves(gather(made, ["m"])).blocks

    assert len(block.table.rows) == MOST_POINTS
    assert {row[1] for row in block.table.rows} == {"0.50"}
    assert "the mean of 4 updates" in block.caption


def test_an_update_without_a_figure_leaves_a_gap_and_no_zero(tmp_path):
    made = reports.make_store(tmp_path, students=[], values=[])
    log = [{"update": 1, "loss": 1.0}, {"update": 2, "loss": None}, {"update": 3, "loss": 3.0}]
    reports.publish(made, "model", {"a": b"x"}, name="m", log=log, summary={"best_update": 3})
    (block,) = curves(gather(made, ["m"])).blocks

    assert [row[0] for row in block.table.rows] == ["1", "3"]


def test_the_laboratory_is_drawn_by_family_and_told_as_a_table(store):
    section = laboratory(gather(store, ["lab"]))
    (block,) = section.blocks

    assert [label for label, _ in block.legend] == ["max sampled", "max exact"]
    assert [figure.title for figure in block.figures] == [
        "trace of the covariance",
        "signal to noise",
        "bias",
    ]
    assert block.table.rows[2][:2] == ("K=all max sampled", "0.33 [0.10, 1.20]")


def test_items_are_those_all_systems_answered_side_by_side(store):
    section = samples(gather(store, ["one", "two"]), count=4)
    (block,) = section.blocks
    assert isinstance(block, Samples)

    assert len(block.items) == 4
    assert [side.label for side in block.items[0].sides] == ["one", "two"]
    assert "4 of the 6 items of test" in section.lead
    for item in block.items:
        text = item.references[0]
        side = item.sides[0]
        assert "".join(t for m, t in side.pieces if m == "same").strip() == text


def test_the_same_items_are_drawn_whatever_else_is_shown(store):
    few = samples(gather(store, ["one"]), count=2).blocks[0].items
    more = samples(gather(store, ["one", "two"]), count=4).blocks[0].items

    assert [item.id for item in few] == [item.id for item in more][:2]


def test_a_cut_text_and_the_figure_of_an_item_are_told(store):
    items = samples(gather(store, ["one"]), count=6).blocks[0].items

    assert sorted(item.sides[0].note for item in items)[:2] == ["0.0, cut", "10.0"]


def test_without_the_corpus_no_item_is_shown_and_it_is_said(tmp_path):
    made = reports.make_store(tmp_path, students=["one"], values=[1.0])
    corpus = find.find(made, "words")
    corpus.path.rename(tmp_path / "away")
    section = samples(gather(made, ["one"]), count=2)

    assert section.blocks == (
        Words(paragraphs=("The corpus is not in the store, so the items cannot be shown.",)),
    )
    told = [b.paragraphs for b in lineage(gather(made, ["one"])).blocks if isinstance(b, Words)]
    assert told == [("words@1 (corpus) is no longer in the store.",)]


def test_costs_add_up(store):
    (shown,) = tables(cost(gather(store, ["one"])))

    assert shown.rows[-1][2] == "10 s"


def test_every_setting_can_be_unfolded(store):
    opened, folded = tables(asked(gather(store, ["one"])))

    assert opened.rows[0][0] == "one@1"
    assert ("setting", "objective.0.name", "kl") in folded.rows


# damage


@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("scores", "one-scores", "scores.json"),
        ("generations", "one-test", "generations.jsonl"),
        ("corpus", "words", "test.jsonl"),
        ("model", "one", "logs/metrics.jsonl"),
        ("lab", "lab", "lab.json"),
        ("comparison", "versus", "comparison.json"),
    ],
)
def test_a_figure_that_was_changed_on_disk_is_not_shown(tmp_path, kind, name, file):
    made = reports.make_store(tmp_path)
    reports.make_lab(made)
    reports.make_comparison(made)
    path = find.find(made, name, kind=kind).path / file
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1", b"2"))

    with pytest.raises(Damaged, match="differs from its manifest"):
        make_page(gather(made, ["one", "lab", "versus"]), commands={}, items=2, version="1")


def test_scores_that_are_no_scores_are_damaged(tmp_path):
    made = reports.make_store(tmp_path, students=["one"], values=[1.0])
    texts = as_input(find.find(made, "one-test"), "generations")
    files = {"scores.json": [{"metric": "bleu"}]}
    reports.publish(made, "scores", files, name="no", inputs=[texts])

    with pytest.raises(Damaged, match="holds no scores"):
        systems(gather(made, ["no"]))


def test_a_path_of_this_machine_stands_nowhere(store):
    page = make_page(gather(store, ["one", "two", "lab"]), commands={}, items=2, version="1")

    assert str(store.root) not in repr(page)
