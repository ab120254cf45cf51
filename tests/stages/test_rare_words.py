"""What pseudo-targets keep of rare words, from artifacts on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import storing

from ketchup_cli import corpora
from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.records import Example, Generation, ItemScores, Score
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.specs import RareWordsSpec
from ketchup_cli.stages import rare_words
from ketchup_cli.store.find import Input, as_input
from ketchup_cli.store.layout import Store

EXAMPLES = [
    Example(id="a", prompt="the old house", references=("het oude huis",)),
    Example(id="b", prompt="the bird", references=("het beest",)),
    Example(id="c", prompt="the table", references=("het meubel",)),
    Example(id="d", prompt="the", references=()),
]
SPEC = RareWordsSpec(rare=1, resamples=100)


def lines(rows: list[Any]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def text(id: str, words: str) -> Generation:
    return Generation(id=id, text=words, tokens=(1,), stop="eos", logp=-1.0)


FORWARD = [text("a", "het huis"), text("b", "het dier")]
BACK = [text("b", "the beast")]


def make_inputs(
    folder: Path, files: Mapping[str, list[Generation]], *, spec: Mapping[str, Any]
) -> dict[str, Input]:
    store = Store.open(folder / "runs")
    corpus = storing.publish(store, {"train.jsonl": lines(EXAMPLES)})
    told = {name: lines(rows) for name, rows in files.items()}
    texts = storing.publish(store, told, kind="pseudo-targets", spec=spec)
    return {
        "corpus": as_input(corpus, "corpus"),
        "pseudo-targets": as_input(texts, "pseudo-targets"),
    }


def measured(folder: Path, files: Mapping[str, list[Generation]]) -> tuple[dict[str, Any], Path]:
    inputs = make_inputs(folder, files, spec={"split": "train"})
    with storing.building(Store.open(folder / "runs"), kind="scores") as build:
        summary = rare_words.run(SPEC, inputs, build, SilentReporter())
        return summary, storing.commit(build, summary=summary).path


def test_text_of_both_directions_is_measured_apart_and_together(tmp_path: Path) -> None:
    files = {corpora.PSEUDO_TARGETS: FORWARD, corpora.PSEUDO_PROMPTS: BACK}
    summary, path = measured(tmp_path, files)
    scores = {name: one["value"] for name, one in summary["scores"].items()}

    # of `oude`, `huis` and `beest` the teacher wrote one; example c has no text and counts nowhere
    assert scores["rare-kept[forward]"] == pytest.approx(100 / 3)
    assert scores["rare-kept[reverse]"] == pytest.approx(100 / 3)
    assert scores["rare-kept[both]"] == pytest.approx(200 / 3)
    assert scores["rare-tokens[raw]"] == pytest.approx(100 * 3 / 5)
    assert summary["examples"] == 2
    rows = msgspec.json.decode((path / "scores.json").read_bytes(), type=list[Score])
    assert {row.unit for row in rows if "entropy" in row.metric} == {"nats"}
    assert all("rare:1-1 in train of corpus " in row.signature for row in rows)


def test_text_of_one_direction_is_held_against_the_references_alone(tmp_path: Path) -> None:
    summary, path = measured(tmp_path, {corpora.PSEUDO_TARGETS: FORWARD})

    assert {name.partition("[")[2] for name in summary["scores"]} == {"raw]", "forward]"}
    items = [
        msgspec.json.decode(line, type=ItemScores)
        for line in (path / "items.jsonl").read_bytes().splitlines()
    ]
    assert [(row.id, row.values["rare-kept[forward]"]) for row in items] == [
        ("a", 50.0),
        ("b", 0.0),
    ]


def test_the_plan_names_split_and_rare_words(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, {corpora.PSEUDO_TARGETS: FORWARD}, spec={"split": "train"})
    plan = dict(rare_words.plan(SPEC, inputs))

    assert plan["split"] == "train"
    assert plan["rare"] == "words that stand at most 1 times in it"


def test_pseudo_targets_that_do_not_tell_their_split_are_refused(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, {corpora.PSEUDO_TARGETS: FORWARD}, spec={})

    with pytest.raises(SpecError, match="do not tell which split they answer"):
        rare_words.plan(SPEC, inputs)


@pytest.mark.parametrize(
    ("id", "error", "told"),
    [("z", MismatchError, "belongs to no example"), ("d", DataError, "has no reference")],
)
def test_a_text_without_its_example_or_reference_is_refused(
    tmp_path: Path, id: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        measured(tmp_path, {corpora.PSEUDO_TARGETS: [*FORWARD, text(id, "het")]})
