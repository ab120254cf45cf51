"""Which artifacts a page is about, and the sentences at its top."""

import pytest
import reports

from ketchup_cli.errors import NotFound
from ketchup_cli.pages.compared import claims, comparison
from ketchup_cli.pages.finding import findings
from ketchup_cli.pages.page import make_page
from ketchup_cli.pages.sources import Sources, gather
from ketchup_cli.pages.systems import comparable, systems
from ketchup_cli.store import find
from ketchup_cli.store.artifact import as_input


def names(sources: Sources) -> list[str]:
    return [source.name for source in sources]


# sources


def test_a_model_brings_its_texts_their_scores_and_all_it_was_made_from(store):
    found = gather(store, ["one"])

    assert names(found) == [
        "plain folder",
        "start@1",
        "words@1",
        "one@1",
        "one-test@1",
        "one-scores@1",
    ]
    assert [source.name for source in found if source.asked] == ["one@1"]


def test_scores_bring_what_they_were_made_from_and_nothing_else(store):
    assert set(names(gather(store, ["one-scores"]))) == {
        "plain folder",
        "start@1",
        "words@1",
        "one@1",
        "one-test@1",
        "one-scores@1",
    }
    assert "two@1" not in names(gather(store, ["one-scores"]))


def test_what_was_read_stands_before_what_reads_it(store):
    found = list(gather(store, ["two", "one"]))
    seen: set[str] = set()
    for source in found:
        assert {key for _, key in source.reads} <= seen
        seen.add(source.key)


def test_an_unknown_name_is_an_error_that_names_the_nearest(store):
    with pytest.raises(NotFound, match=r"`oned`.*`one`"):
        gather(store, ["oned"])


def test_other_artifacts_of_the_store_change_nothing(tmp_path):
    made = reports.make_store(tmp_path)
    before = make_page(gather(made, ["one"]), commands={}, items=3, version="1")
    reports.publish(made, "model", {"a": b"x"}, name="other")

    assert make_page(gather(made, ["one"]), commands={}, items=3, version="1") == before


def test_scores_that_were_made_anew_under_their_name_stand_once(tmp_path):
    made = reports.make_store(tmp_path, students=["one"], values=[30.0])
    corpus, texts = find.find(made, "words"), find.find(made, "one-test")
    reports.publish(
        made,
        "scores",
        {"scores.json": []},
        name="one-scores",
        inputs=[as_input(texts, "generations"), as_input(corpus, "corpus")],
    )

    assert [name for name in names(gather(made, ["one"])) if "scores" in name] == ["one-scores@2"]
    assert "one-scores@1" in names(gather(made, ["one-scores@1"]))


# systems and sentences


def test_a_system_is_called_by_its_model(store):
    assert [system.label for system in systems(gather(store, ["one", "two"]))] == ["one", "two"]


def test_two_texts_of_one_model_are_told_apart(tmp_path):
    made = reports.make_store(tmp_path)
    corpus, model = find.find(made, "words"), find.find(made, "one")
    reports.publish(
        made,
        "generations",
        {"generations.jsonl": [{"id": "x"}]},
        name="again",
        inputs=[as_input(model, "model"), as_input(corpus, "corpus")],
        spec={"split": "dev"},
    )

    # in the order they were made, which within one second nobody knows
    assert {system.label for system in systems(gather(made, ["one"]))} == {"one-test@1", "again@1"}


def test_intervals_that_overlap_rank_nobody(store):
    told = findings(gather(store, ["one", "two"]))

    assert told[0].replace("\u00a0", " ") == (
        "BLEU on 6 items of test: one 30.0 [22.0, 38.0] and two 20.0 [12.0, 28.0]."
    )
    assert told[1].startswith("The intervals of one and two overlap: these scores alone do not say")
    assert not any("better than" in sentence for sentence in told)


def test_intervals_that_do_not_touch_are_told_so(tmp_path):
    made = reports.make_store(tmp_path, half=4.0)
    told = findings(gather(made, ["one", "two"]))

    assert told[1] == "The interval of one lies above that of two."
    assert told[-1].startswith("One run of each")


def test_scores_of_other_signatures_are_not_compared(tmp_path):
    made = reports.make_store(tmp_path, students=["one"], values=[30.0])
    corpus, texts = find.find(made, "words"), find.find(made, "one-test")
    figure = {"metric": "bleu", "value": 9.0, "interval": None, "count": 6, "signature": "other"}
    reports.publish(
        made,
        "scores",
        {"scores.json": [figure]},
        name="others",
        inputs=[as_input(texts, "generations"), as_input(corpus, "corpus")],
    )
    found = systems(gather(made, ["one"]))

    assert [len(group) for group in comparable(found, "bleu")] == [1, 1]
    assert len(findings(gather(made, ["one"]))) == 2


def test_paired_tests_speak_in_place_of_intervals(store):
    sources = gather(store, ["one", "two", "versus"])
    told = findings(sources, claims=claims(sources))

    assert told[1] == "You may say: two is worse than one in BLEU ."
    assert not any("interval" in sentence for sentence in told)


def test_a_comparison_that_was_not_named_says_nothing(store):
    sources = gather(store, ["one", "two"])

    assert claims(sources) == ()
    assert comparison(sources) is None


def test_without_scores_the_run_speaks(tmp_path):
    made = reports.make_store(tmp_path, students=[], values=[])
    reports.publish(made, "model", {"a": b"x"}, name="m", summary={"sentence": "kept update 3"})

    assert findings(gather(made, ["m"])) == ("m@1: kept update 3.",)


def test_without_anything_the_page_says_so(tmp_path):
    made = reports.make_store(tmp_path, students=[], values=[])

    assert findings(gather(made, ["words"])) == ("Nothing here has been scored or trained yet.",)
