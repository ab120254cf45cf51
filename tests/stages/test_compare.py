import json
from dataclasses import replace
from pathlib import Path

import pytest
from comparing import (
    EXAMPLES,
    GOOD,
    GOOD_TOO,
    POOR,
    POOR_TOO,
    build_comparison,
    generations,
    inputs_of,
    make_inputs,
    spec,
)

from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.stages import compare
from ketchup_cli.stages.comparison import read
from ketchup_cli.store.layout import Store


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, [POOR], [GOOD])

    first, second = (build_comparison(tmp_path / name, inputs, spec()) for name in ("x", "y"))

    assert first.digest == second.digest


def test_what_texts_are_called_changes_no_byte(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    beam = generations(store, POOR, decoding={"method": "beam"})
    inputs = make_inputs(tmp_path, [generations(store, GOOD)], [beam])
    others = {role: replace(item, label="another") for role, item in inputs.items()}

    first, second = (
        build_comparison(tmp_path / name, given, spec())
        for name, given in (("x", inputs), ("y", others))
    )

    assert first.digest == second.digest


def test_the_items_hold_every_run_s_value(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, [POOR, POOR_TOO], [GOOD])
    made = build_comparison(tmp_path, inputs, spec(metrics=("exact",)))

    rows = [json.loads(line) for line in (made.path / "items.jsonl").read_bytes().splitlines()]
    assert [row["id"] for row in rows] == [example.id for example in EXAMPLES]
    right = [100.0 * (text == e.references[0]) for text, e in zip(GOOD, EXAMPLES, strict=True)]
    assert [row["values"]["other"]["exact"] for row in rows] == [[value] for value in right]
    assert all(len(row["values"]["one"]["exact"]) == 2 for row in rows)


def test_runs_that_wrote_the_same_texts_are_no_two_seeds(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    twice = [generations(store, GOOD, seed=seed) for seed in (0, 1)]
    inputs = make_inputs(tmp_path, twice, [generations(store, POOR)])

    with pytest.raises(DataError, match="runs 1 and 2 of `one` wrote the same texts"):
        build_comparison(tmp_path, inputs, spec())


def test_texts_of_another_split_are_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    other = generations(store, POOR, split="dev")
    inputs = make_inputs(tmp_path, [generations(store, GOOD)], [other])

    with pytest.raises(MismatchError, match="`texts-2-1` answer split `dev`, not `test`"):
        compare.plan(spec(), inputs)


def test_other_examples_of_the_split_are_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    few = generations(store, POOR[:40], examples=40)
    inputs = make_inputs(tmp_path, [generations(store, GOOD)], [few])

    with pytest.raises(
        MismatchError, match="answers all examples of test, `texts-2-1` the first 40"
    ):
        compare.plan(spec(), inputs)


def test_texts_that_were_decoded_in_another_way_are_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    beam = generations(store, POOR, decoding={"method": "beam"})
    inputs = make_inputs(tmp_path, [generations(store, GOOD)], [beam])

    found = read(build_comparison(tmp_path, inputs, spec()).path)

    assert found.warnings == (
        "texts of `one` and `other` were not all decoded alike, so decoding may explain a"
        " difference",
    )


def test_a_single_system_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="1 systems are named"):
        compare.plan(spec("one"), inputs_of(tmp_path, [GOOD]))


def test_systems_that_are_not_the_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="are not those of the inputs"):
        compare.plan(spec("one", "other", "third"), inputs_of(tmp_path, [GOOD], [POOR]))


def test_the_plan_counts_runs_and_tests(tmp_path: Path) -> None:
    plan = dict(compare.plan(spec(), inputs_of(tmp_path, [GOOD, GOOD_TOO], [POOR])))

    assert plan["systems"] == "one (2 runs), other (1 run)"
    assert plan["tests"] == "2, Holm-corrected; 95% intervals, 1,000 resamples"


def test_a_metric_that_needs_a_model_is_refused(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, [GOOD], [POOR])

    with pytest.raises(SpecError, match="`bertscore` is not a metric"):
        compare.plan(spec(metrics=("bertscore",)), inputs)


def test_a_metric_that_cannot_be_resampled_is_refused(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, [GOOD], [POOR])

    with pytest.raises(SpecError, match="no function of sums over examples"):
        build_comparison(tmp_path, inputs, spec(metrics=("diversity",)))
