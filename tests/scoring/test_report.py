import dataclasses
import subprocess
import sys

import pytest

from ketchup_cli.errors import NonFiniteError, SpecError
from ketchup_cli.scoring import NAMES as EVERY
from ketchup_cli.scoring import bleu, bleu_details, corpus_metric, exact, rouge
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import mean_measurement
from ketchup_cli.scoring.report import Settings, make_report
from ketchup_cli.scoring.settings import Frequencies

NAMES = (*bleu.NAMES, *rouge.NAMES, *exact.NAMES)
"""Metrics that are one figure each."""
ITEMS = Items(
    ids=("a", "b", "c"),
    hypotheses=("the old house now #### 3", "a green bird #### 4", "x"),
    references=(("the old house here #### 3",), ("a green bird #### 5",), ("yes #### 1",)),
    prompts=("p", "q", "x"),
    unfinished=(False, True, False),
)
COUNTED = Frequencies(texts=("the old bird",), source="three words", pairs=(("p", "the old bird"),))


def test_every_figure_of_every_metric_has_a_signature() -> None:
    report = make_report(EVERY, ITEMS, Settings(resamples=100, frequencies=COUNTED))

    assert {"words[0]", "self-bleu", "length", *NAMES} <= {one.metric for one in report.scores}
    assert all(one.signature and one.count == 3 for one in report.scores)


def test_every_metric_has_a_value_an_interval_a_count_and_a_signature() -> None:
    report = make_report(NAMES, ITEMS, Settings(resamples=100))

    assert tuple(score.metric for score in report.scores) == NAMES
    for score in report.scores:
        assert score.count == 3
        assert score.signature
        assert score.interval is not None
        assert score.interval[0] <= score.value <= score.interval[1]


def test_every_item_has_a_value_of_every_metric() -> None:
    report = make_report(NAMES, ITEMS, Settings(resamples=100))

    assert [row.id for row in report.items] == ["a", "b", "c"]
    assert all(tuple(row.values) == NAMES for row in report.items)


def test_items_keep_the_answers_that_were_read() -> None:
    report = make_report(["gsm8k-strict", "exact"], ITEMS, Settings(resamples=100))

    assert [row.extracted for row in report.items] == [
        {"gsm8k-strict": "3"},
        {"gsm8k-strict": "4"},
        {"gsm8k-strict": None},
    ]


def test_a_metric_asked_for_twice_is_reported_once_in_the_order_asked() -> None:
    report = make_report(["exact", "bleu", "exact"], ITEMS, Settings(resamples=100))

    assert [score.metric for score in report.scores] == ["exact", "bleu"]


def test_details_carry_the_name_of_their_metric() -> None:
    report = make_report(["bleu", "gsm8k-flexible"], ITEMS, Settings(resamples=100))

    assert set(report.details) == {
        "bleu.brevity_penalty",
        "bleu.length_ratio",
        "gsm8k-flexible.no_answer",
    }
    details = bleu_details(ITEMS.hypotheses, ITEMS.references)
    assert report.details["bleu.brevity_penalty"] == details.brevity_penalty


@pytest.mark.parametrize("name", NAMES)
def test_the_light_metric_is_the_reports_value(name: str) -> None:
    report = make_report([name], ITEMS, Settings(resamples=100))

    assert corpus_metric(name, ITEMS.hypotheses, ITEMS.references) == report.scores[0].value


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="`rougel` is not a metric; nearest: `rougeL`"):
        corpus_metric("rougel", ["a"], [["a"]])


def test_the_declared_language_decides_what_13a_may_score() -> None:
    with pytest.raises(SpecError, match="does not find words in `ja`"):
        make_report(["bleu"], ITEMS, Settings(languages=("en", "ja"), tokenize="13a"))


def test_the_declared_language_chooses_the_tokenizer() -> None:
    report = make_report(["bleu"], ITEMS, Settings(languages=("en", "zh"), resamples=100))

    assert "|tok:zh|" in report.scores[0].signature


def test_a_metric_computed_elsewhere_stands_where_it_was_asked_for() -> None:
    other = mean_measurement("other", [1.0, 2.0, 6.0], "other|v1")

    report = make_report(
        ["exact", "other", "chrf"], ITEMS, Settings(resamples=100), extra={"other": (other,)}
    )

    assert [one.metric for one in report.scores] == ["exact", "other", "chrf"]
    assert report.scores[1].value == 3.0
    assert [row.values["other"] for row in report.items] == [1.0, 2.0, 6.0]


def test_a_value_that_is_no_number_is_refused_with_its_item() -> None:
    other = mean_measurement("other", [1.0, float("nan"), 2.0], "other|v1")
    other = dataclasses.replace(other, value=1.0)

    with pytest.raises(NonFiniteError, match="other of `b` came out as nan"):
        make_report(["other"], ITEMS, Settings(resamples=100), extra={"other": (other,)})


def test_details_stand_beside_the_value_they_explain() -> None:
    (score,) = make_report(["bleu"], ITEMS, Settings(resamples=100)).scores

    assert set(score.details) == {"brevity_penalty", "length_ratio"}


def test_chrf_of_an_unspaced_language_needs_no_tokenizer() -> None:
    report = make_report(["chrf"], ITEMS, Settings(languages=("en", "ja"), resamples=100))

    assert report.warnings == ()


def test_ter_of_an_unspaced_language_is_warned_of() -> None:
    report = make_report(["ter"], ITEMS, Settings(languages=("en", "ja"), resamples=100))

    assert "ter takes what stands between spaces" in report.warnings[0]


def test_rouge_of_other_letters_is_warned_of() -> None:
    items = Items(ids=("a",), hypotheses=("привет",), references=(("привет",),))

    report = make_report(["rouge1"], items, Settings(resamples=100))

    assert "use chrf" in report.warnings[0]
    assert report.scores[0].interval is None


def test_scoring_loads_no_torch() -> None:
    code = (
        "import sys; from ketchup_cli.scoring import corpus_metric; heavy = "
        "{'sacrebleu', 'rouge_score', 'numpy'} & set(sys.modules); "
        "corpus_metric('bleu', ['a'], [['a']]); corpus_metric('rougeL', ['a'], [['a']]); "
        "print(sorted(heavy), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[] False"
