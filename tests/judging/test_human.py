import json
from pathlib import Path

import numpy
import pytest
from judged import judged

from ketchup_cli.errors import DataError
from ketchup_cli.judging.human import Label, human_figures, read_labels, unused_labels
from ketchup_cli.judging.measures import Resampling
from ketchup_cli.statistics.corrected import corrected_rate

HOW = Resampling(resamples=1000, seed=0)
WORDS = {"x": ("x", "x"), "y": ("y", "y"), "t": ("x", "y")}
JUDGED = [WORDS[letter] for letter in "xxxxyyyytt" * 4]
"""Verdicts of the judge on forty items: 16 won, 8 tied, 16 lost."""


def labels(verdicts: str, **changes: str) -> list[Label]:
    words = {"x": "x", "y": "y", "t": "tie"}
    return [
        Label(**{
            "item": str(item),
            "aspect": "quality",
            "x": "a",
            "y": "b",
            "verdict": words[letter],
            **changes,
        })
        for item, letter in enumerate(verdicts)
    ]


def test_a_judge_stands_beside_people_with_its_confusion_and_its_corrected_rate() -> None:
    people = "xxxyyyyxtt"

    (found,) = human_figures(judged(JUDGED, judge="m"), labels(people), how=HOW)

    values = numpy.array([{"x": 1.0, "y": 0.0}.get(pair[0], 0.5) for pair in JUDGED])
    values[[n for n, pair in enumerate(JUDGED) if pair == ("x", "y")]] = 0.5
    human = numpy.array([{"x": 1.0, "y": 0.0, "t": 0.5}[letter] for letter in people])
    rate = corrected_rate(values, values[:10], human)
    assert (found.corrected, found.corrected_interval) == (rate.rate, rate.interval)
    assert found.confusion == {
        "tie": {"tie": 2, "x": 0, "y": 0},
        "x": {"tie": 0, "x": 3, "y": 1},
        "y": {"tie": 0, "x": 1, "y": 3},
    }
    assert (found.units, found.same, found.human_rate) == (10, 0.8, 0.5)


def test_labels_that_name_the_systems_the_other_way_round_say_the_same() -> None:
    rows = judged(JUDGED, judge="m")
    turned = labels("yyyxxxxytt", x="b", y="a")

    assert human_figures(rows, turned, how=HOW) == human_figures(
        rows, labels("xxxyyyyxtt"), how=HOW
    )


def test_several_people_on_one_pair_are_averaged() -> None:
    people = [*labels("xxyy", person="p"), *labels("xyyy", person="q")]

    (found,) = human_figures(judged(JUDGED, judge="m"), people, how=HOW)

    assert (found.units, found.human_rate) == (4, pytest.approx(1.5 / 4))


def test_labels_of_nothing_that_was_judged_are_counted_and_all_of_them_refused() -> None:
    rows = judged(JUDGED, judge="m")
    strange = labels("xx", aspect="beauty")

    assert unused_labels(rows, [*labels("xy"), *strange]) == 2
    with pytest.raises(DataError, match="none of 2 labels is of what was judged"):
        human_figures(rows, strange, how=HOW)


ROW = {"item": "1", "aspect": "quality", "x": "a", "y": "b", "verdict": "x"}
BROKEN = {
    "verdict": ([ROW | {"verdict": "1"}], "line 1 of"),
    "field": ([ROW, ROW | {"item": "2", "score": 3}], "line 2 of"),
    "twice": ([ROW, ROW | {"x": "b", "y": "a"}], "lines 1 and 2 of"),
    "empty": ([], "holds no label"),
}


@pytest.mark.parametrize(("rows", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_label_is_said_with_its_line(
    tmp_path: Path, rows: list[dict[str, str]], message: str
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    with pytest.raises(DataError, match=message):
        read_labels(path)
