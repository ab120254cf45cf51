from pathlib import Path
from typing import Any

import pytest
from comparing import (
    EXAMPLES,
    GOOD,
    GOOD_THREE,
    GOOD_TOO,
    POOR,
    POOR_THREE,
    POOR_TOO,
    build_comparison,
    compared,
    generations,
    make_inputs,
    only,
    spec,
)

from ketchup_cli.scoring import corpus_metric
from ketchup_cli.stages.comparison import read
from ketchup_cli.store.layout import Store


def test_a_difference_is_that_of_the_corpus_values(tmp_path: Path) -> None:
    pair = only(compared(tmp_path, [POOR], [GOOD]), "bleu")

    references = [example.references for example in EXAMPLES]
    expected = corpus_metric("bleu", GOOD, references) - corpus_metric("bleu", POOR, references)
    assert pair.difference == pytest.approx(expected, abs=1e-6)
    assert pair.interval is not None
    assert pair.interval[0] < pair.difference < pair.interval[1]


def test_a_clear_difference_may_be_claimed_of_these_runs(tmp_path: Path) -> None:
    found = compared(tmp_path, [POOR], [GOOD])

    assert {pair.claim for pair in found.pairs} == {"higher"}
    first, second, _ = found.sentences
    assert first.startswith(
        "You may say: on these 60 examples of test, this run of other is better than this run of one"
        " in BLEU (+"
    )
    assert "paired bootstrap over items, 95%, Holm-corrected p < 0.05" in first
    assert second == "One run each: seeds are not covered, and other seeds may give another answer."


def test_the_order_of_the_systems_turns_every_sign(tmp_path: Path) -> None:
    pair = only(compared(tmp_path / "a", [POOR], [GOOD]), "bleu")
    turned = only(compared(tmp_path / "b", [GOOD], [POOR]), "bleu")

    assert turned.difference == -pair.difference
    assert turned.claim == "lower"
    assert turned.interval is not None
    # the percentiles are symmetric, up to rounding
    assert [-bound for bound in reversed(turned.interval)] == pytest.approx(pair.interval, abs=1e-5)


def test_a_metric_that_is_better_below_says_better_below(tmp_path: Path) -> None:
    found = compared(tmp_path, [POOR], [GOOD], metrics=("ter",))

    assert only(found, "ter").claim == "lower"
    assert "other is better than this run of one in TER (-" in found.sentences[0]


def test_where_nothing_is_shown_nothing_is_claimed(tmp_path: Path) -> None:
    found = compared(tmp_path, [GOOD], [GOOD_TOO])

    assert {pair.claim for pair in found.pairs} == {"not shown"}
    assert found.sentences[0] == (
        "You may not say that other and one differ: no difference was shown in BLEU or chrF"
        " (paired bootstrap over items); that does not make them equal."
    )


def test_the_smallest_detectable_difference_is_told(tmp_path: Path) -> None:
    found = compared(tmp_path, [GOOD], [GOOD_TOO], metrics=("chrf",))

    pair = only(found, "chrf")
    # one test: 2.8 standard errors, a little more for 59 degrees of freedom
    assert pair.detectable == pytest.approx(2.85 * pair.error, rel=0.01)
    assert found.sentences[-1] == (
        "The smallest difference that this could have shown with 80% power:"
        f" {pair.detectable:.1f} chrF."
    )


def test_equal_texts_are_no_difference_to_test(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    both = [[generations(store, GOOD, seed=seed)] for seed in (0, 1)]

    found = read(build_comparison(tmp_path, make_inputs(tmp_path, *both), spec()).path)

    assert {(pair.claim, pair.p, pair.same_texts) for pair in found.pairs} == {
        ("no difference", 1.0, 1.0)
    }
    assert {pair.detectable for pair in found.pairs} == {None}
    assert found.sentences == (
        "other and one wrote the same text for every one of the 60 examples: there is no difference"
        " to test.",
    )


def test_few_examples_carry_no_claim(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    both = [[generations(store, texts[:20], examples=20)] for texts in (POOR, GOOD)]

    found = read(build_comparison(tmp_path, make_inputs(tmp_path, *both), spec()).path)

    assert found.examples == 20
    assert {pair.claim for pair in found.pairs} == {"too few items"}
    assert found.sentences == (
        "You may not say anything of other against one yet: 20 examples are too few for a claim,"
        " 30 are asked.",
    )


def test_three_seeds_each_carry_a_claim_about_the_systems(tmp_path: Path) -> None:
    found = compared(tmp_path, [POOR, POOR_TOO, POOR_THREE], [GOOD, GOOD_TOO, GOOD_THREE])

    assert {(pair.covers, pair.claim) for pair in found.pairs} == {("items and seeds", "higher")}
    assert found.sentences[0].startswith(
        "You may say: on these 60 examples of test, other is better than one in BLEU"
    )
    assert "(t over items and seeds, 95%" in found.sentences[0]
    assert not any("seeds are not covered" in sentence for sentence in found.sentences)


def test_several_seeds_are_shown_by_mean_and_deviation(tmp_path: Path) -> None:
    found = compared(tmp_path, [POOR, POOR_TOO], [GOOD])

    figure = found.systems[0].figures["bleu"]
    assert figure.value == pytest.approx(sum(figure.runs) / 2, abs=1e-6)
    assert figure.deviation == pytest.approx(
        abs(figure.runs[0] - figure.runs[1]) / 2**0.5, abs=1e-5
    )


def test_seeds_of_one_side_alone_are_not_covered(tmp_path: Path) -> None:
    found = compared(tmp_path, [POOR, POOR_TOO, POOR_THREE], [GOOD])

    assert {pair.covers for pair in found.pairs} == {"items"}
    assert "other has one run and one 3: seeds are not covered" in " ".join(found.sentences)


def test_two_seeds_are_too_few_for_a_claim_about_methods(tmp_path: Path) -> None:
    found = compared(tmp_path, [POOR, POOR_TOO], [GOOD, GOOD_TOO], metrics=("chrf",))

    assert not any("other is better" in sentence for sentence in found.sentences)
    assert any(
        sentence.startswith("2 runs of a system are too few for a claim about methods; 3 are asked")
        and "only 91 times in 100" in sentence
        for sentence in found.sentences
    )


@pytest.mark.parametrize(
    ("metric", "changes", "test"),
    [
        ("bleu", {}, "paired bootstrap"),
        ("bleu", {"test": "randomisation"}, "approximate randomisation"),
        ("rouge1", {}, "sign-flip permutation"),
        ("exact", {}, "exact McNemar"),
    ],
)
def test_the_test_fits_the_metric(
    tmp_path: Path, metric: str, changes: dict[str, Any], test: str
) -> None:
    found = compared(tmp_path, [POOR], [GOOD], metrics=(metric,), **changes)

    assert only(found, metric).test == test
    assert only(found, metric).p < 0.05
    assert f"({test} over items, 95%" in found.sentences[0]


def test_p_values_are_corrected_for_all_tests_of_the_comparison(tmp_path: Path) -> None:
    found = compared(tmp_path, [GOOD], [GOOD_TOO], [GOOD_THREE])

    ordered = sorted(found.pairs, key=lambda pair: pair.p)
    assert found.tests == len(found.pairs) == 4
    assert ordered[0].p_holm == pytest.approx(min(1.0, 4 * ordered[0].p), abs=1e-6)


def test_all_pairs_are_tested_where_asked(tmp_path: Path) -> None:
    found = compared(tmp_path, [GOOD], [GOOD_TOO], [POOR], pairs="all", metrics=("chrf",))

    assert [(pair.one, pair.other) for pair in found.pairs] == [
        ("one", "other"),
        ("one", "third"),
        ("other", "third"),
    ]
